# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The house of module_utils: a file imports storeys below its own, and rooms know nothing of one another."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).absolute().parents[3]
HOUSE = ROOT / "plugins/module_utils"
PREFIX = "ansible_collections.macfleet.parallels.plugins.module_utils."
STOREYS = {"_base": 1, "_pack": 2, "_storage": 2, "_host": 2, "_api": 2, "_cases": 3, "_bridge": 4}
# The plain records of a pack are what the rooms have in common.
SHARED = {"_pack.index"}
FILES = sorted(HOUSE.rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Modules that a file imports, those of the house below it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


def room_of(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0]


def forbidden(path: Path) -> list[str]:
    """Imports that lead up, or into another room."""
    own = room_of(path)
    wrong = []
    for name in sorted(imports_of(path)):
        if not name.startswith(PREFIX):
            continue
        inside = name[len(PREFIX) :]
        room = inside.partition(".")[0]
        is_shared = any(inside == shared or inside.startswith(shared + ".") for shared in SHARED)
        if room != own and STOREYS[room] >= STOREYS[own] and not is_shared and inside not in STOREYS:
            wrong.append(inside)
    return wrong


def test_every_file_lies_in_a_room() -> None:
    assert {room_of(path) for path in FILES} == set(STOREYS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(HOUSE).as_posix())
def test_arrows_point_down(path: Path) -> None:
    assert forbidden(path) == []


@pytest.mark.parametrize(
    "path", [path for path in FILES if room_of(path) != "_bridge"], ids=lambda path: path.relative_to(HOUSE).as_posix()
)
def test_nothing_below_the_bridge_knows_ansible(path: Path) -> None:
    assert [name for name in imports_of(path) if name.partition(".")[0] == "ansible"] == []


def test_an_arrow_that_points_up_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_storeys.HOUSE", tmp_path)
    wrong = tmp_path / "_pack/wrong.py"
    wrong.parent.mkdir()
    wrong.write_text(f"from {PREFIX}_host import clone\nfrom {PREFIX}_base import files\n")
    assert forbidden(wrong) == ["_host.clone"]
