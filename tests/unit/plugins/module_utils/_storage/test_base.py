# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.base import ByteRange, check_key
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import InvalidKey
from hypothesis import example, given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    "key", ["a", "packs/0123/abc", "manifest.json", "a.b/c..d", "-", "_", "a" * 200, "/".join(["a"] * 512)]
)
def test_keys(key: str) -> None:
    check_key(key)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/../b",
        "a/.b",
        ".incoming-x",
        "a\\b",
        "a b",
        "a\nb",
        "a\n",
        "ä",
        "a" * 201,
    ]
    + ["/".join(["a"] * 513), "a\0b", "a%2fb", "C:"],
)
def test_names_that_no_object_has(key: str) -> None:
    with pytest.raises(InvalidKey):
        check_key(key)


@given(st.one_of(st.text(), st.text("abAB019._-/\\ \n", max_size=30)))
@example("a/..")
def test_a_key_stays_where_it_is_put(key: str) -> None:
    try:
        check_key(key)
    except InvalidKey:
        return
    root = "/storage"
    assert os.path.normpath(os.path.join(root, key)) == f"{root}/{key}"
    assert all(0 < len(part) < 256 and not part.startswith(".") for part in key.split("/"))
    assert len(key.encode()) <= 1024


@given(st.lists(st.from_regex(re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}", re.ASCII), fullmatch=True), min_size=1))
def test_parts_of_the_grammar_make_a_key(parts: list[str]) -> None:
    key = "/".join(parts)
    if len(key) <= 1024:
        check_key(key)


@given(st.integers(max_value=1 << 40), st.integers(max_value=1 << 40))
def test_a_range_has_bytes(offset: int, length: int) -> None:
    if offset < 0 or length <= 0:
        with pytest.raises(ValueError, match="not a range"):
            ByteRange(offset, length)
    else:
        assert ByteRange(offset, length).end == offset + length
