# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import unicodedata

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import paths
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import PackError, UnsafePath
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import QUICK
from hypothesis import given
from hypothesis import strategies as st

COMPOSED = "caf\u00e9"
DECOMPOSED = "cafe\u0301"


@pytest.mark.parametrize(
    "path",
    [
        "config.pvs",
        "harddisk.hdd/harddisk.hdd.0.{5fbaabe3-6958-40ff-92a7-860e329aab41}.hds",
        COMPOSED,
        "..a/b..",
        "...",
        "a b/ c ",
        "back\\slash",
        "x" * 255,
        "/".join(["x" * 127] * 8),
    ],
)
def test_an_ordinary_path_may_be_used(path: str) -> None:
    paths.check_path(path)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("a\0b", "NUL"),
        (DECOMPOSED, "normal form"),
        ("..", "'..'"),
        ("../a", "'..'"),
        ("a/../b", "'..'"),
        ("a/..", "'..'"),
        (".", "'.'"),
        ("a/./b", "'.'"),
        ("a//b", "''"),
        ("a/", "''"),
        ("x" * 256, "component"),
        ("\u00e9" * 128, "component"),
        ("/".join(["x" * 127] * 8) + "xx", "longer"),
    ],
)
def test_a_path_that_would_lead_elsewhere_is_refused(path: str, reason: str) -> None:
    with pytest.raises(UnsafePath, match=reason):
        paths.check_path(path)


def test_a_path_that_is_far_too_long_is_refused_before_it_is_looked_at() -> None:
    # To put a million marks into order would take a quarter of an hour.
    with pytest.raises(UnsafePath, match="longer than 1024") as refused:
        paths.check_path("a" + "\u0301\u0323" * 500_000)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("A", "a"),
        ("Stra\u00dfe", "STRASSE"),
        (COMPOSED.upper(), COMPOSED),
        ("\u212b", "\u00e5"),  # the sign of the unit angstrom and the letter
        ("a/B", "A/b"),
    ],
)
def test_names_of_one_file_where_case_does_not_count_are_refused(one: str, two: str) -> None:
    with pytest.raises(UnsafePath, match="name one file"):
        paths.check_unique([one, two])


def test_the_two_spellings_of_a_letter_are_one_name() -> None:
    assert paths.folded(COMPOSED) == paths.folded(DECOMPOSED) == paths.folded(COMPOSED.upper())


def test_different_names_are_unique() -> None:
    paths.check_unique(["a", "b", "a.b", "a/b"])


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("link", "config.pvs"),
        ("link", "."),
        ("link", "a/b"),
        ("link", "./a/./b"),
        ("link", "a//b"),
        ("a/link", ".."),
        ("a/link", "../b"),
        ("a/b/link", "../../c/d"),
        ("a/b/link", ".././../c"),
        ("link", "..."),
    ],
)
def test_a_link_into_the_bundle_may_be_used(path: str, target: str) -> None:
    paths.check_link(path, target)


@pytest.mark.parametrize(
    ("path", "target", "reason"),
    [
        ("link", "", "target"),
        ("link", "a\0b", "target"),
        ("link", "/etc/passwd", "absolute"),
        ("link", "..", "leaves"),
        ("link", "../a", "leaves"),
        ("a/link", "../../a", "leaves"),
        ("a/link", ".././../a", "leaves"),
        ("a/link", "b/../c", "behind a component"),
        ("a/b/link", "../c/../d", "behind a component"),
        ("link", "x" * 1025, "longer"),
    ],
)
def test_a_link_that_could_leave_the_bundle_is_refused(path: str, target: str, reason: str) -> None:
    with pytest.raises(UnsafePath, match=reason):
        paths.check_link(path, target)


@QUICK
@given(st.text(max_size=40))
def test_a_path_that_is_accepted_stays_below_its_root(path: str) -> None:
    try:
        paths.check_path(path)
    except PackError:
        return
    assert os.path.normpath(os.path.join("/root", path)) == f"/root/{path}"
    assert unicodedata.is_normalized("NFC", path)


@QUICK
@given(
    st.lists(st.sampled_from(["a", "b", "c"]), max_size=4),
    st.lists(st.sampled_from(["..", ".", "", "a", "b", "/"]), max_size=6),
)
def test_a_link_that_is_accepted_stays_below_its_root(directories: list[str], components: list[str]) -> None:
    path = "/".join([*directories, "link"])
    target = "/".join(components)
    try:
        paths.check_link(path, target)
    except PackError:
        return
    resolved = os.path.normpath(os.path.join("/root", os.path.dirname(path), target))
    assert (resolved + "/").startswith("/root/")
