# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Docstrings tell; they do not ask or wonder."""

from __future__ import annotations

import ast
import re
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).absolute().parents[3]
FILES = sorted((ROOT / "plugins").rglob("*.py"))
# "Returns True if …" in place of "Whether …" and of "Did it …?"
WONDERS = re.compile(r"\AWhether\b|[;,] whether\b[^.]*\Z|\?\Z|\?\s")


def docstrings(text: str) -> t.Iterator[tuple[int, str]]:
    """Line and first paragraph of each docstring."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            docstring = ast.get_docstring(node)
            if docstring:
                yield getattr(node, "lineno", 1), docstring.split("\n\n")[0].rstrip(".")


def test_there_is_something_to_check() -> None:
    assert len(FILES) > 50


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_docstring_wonders(path: Path) -> None:
    assert [(line, text) for line, text in docstrings(path.read_text("utf-8")) if WONDERS.search(text)] == []


@pytest.mark.parametrize("text", ["Whether it is", "Start it; whether it ran", "Does it exist now?", "Is it? Yes"])
def test_what_wonders(text: str) -> None:
    assert WONDERS.search(text)


@pytest.mark.parametrize(
    "text", ["Returns True if it is", "The place, whether it is full or not, of a thing. It stays"]
)
def test_what_tells(text: str) -> None:
    assert not WONDERS.search(text)
