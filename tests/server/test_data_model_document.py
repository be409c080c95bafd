# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/data-model.md names every table, and draws every reference between two."""

from __future__ import annotations

import re
from pathlib import Path

from catalog_server.models import Base

DOCUMENT = (Path(__file__).parents[2] / "docs/data-model.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \| (.+) \|$", re.MULTILINE)
LINE = re.compile(r"^    (\w+) [|}o]+--[|{o]+ (\w+) : ", re.MULTILINE)


def test_every_table_has_one_sentence() -> None:
    assert sorted(name for name, _text in ROW.findall(DOCUMENT)) == sorted(Base.metadata.tables)


def test_every_reference_is_drawn() -> None:
    references = {
        (key.column.table.name, table.name) for table in Base.metadata.tables.values() for key in table.foreign_keys
    }
    assert set(LINE.findall(DOCUMENT)) == references
