# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The list of packages with hashes is one of what the server requires."""

from __future__ import annotations

import pathlib
import re

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FILES = pathlib.Path(__file__).parents[4] / "roles/catalog_server/files"
LOCKED = re.compile(
    r"^([a-z0-9.-]+)==([^ ;]+)(?: ; [^\\]+)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)


def test_every_required_package_is_locked_with_its_hashes() -> None:
    text = (FILES / "requirements.lock").read_text(encoding="utf-8")
    locked = {name: version for name, version, _hashes in LOCKED.findall(text)}
    # Nothing is in it that could not be read here.
    assert len(locked) == len([line for line in text.splitlines() if line and line[0].isalnum()])
    lines = (FILES / "requirements.txt").read_text(encoding="utf-8").splitlines()
    required = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert required
    for requirement in required:
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement
