# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/settings.md and the role say of every setting what the code says."""

from __future__ import annotations

import pathlib
import re

import yaml
from catalog_server.settings import SECRETS, Settings
from catalog_server.settings_sources import PREFIX

ROOT = pathlib.Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/settings.md"
ROW = re.compile(r"^\| `(CATALOG_\w+)` \| (?:`(.*?)`)? *\| (.*) \|$", re.MULTILINE)


def test_every_setting_stands_in_the_table_with_its_default() -> None:
    written = {name: (default, text) for name, default, text in ROW.findall(DOCUMENT.read_text(encoding="utf-8"))}
    known = {
        f"{PREFIX}{name.upper()}": ("" if field.default is None else str(field.default), field.description)
        for name, field in Settings.model_fields.items()
    }
    assert written == known


def test_the_role_knows_what_is_secret() -> None:
    variables = yaml.safe_load((ROOT / "roles/catalog_server/vars/main/main.yml").read_text(encoding="utf-8"))
    assert set(variables["__catalog_server_secrets"]) == SECRETS
