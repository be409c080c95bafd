# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api import versions
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import InvalidAddress
from ansible_collections.macfleet.parallels.tests.unit.support.version_texts import version_texts
from hypothesis import given
from hypothesis import strategies as st


def parsed(text: str) -> versions.OrderedVersion:
    version = versions.parse_version(text)
    assert version is not None
    return version


@given(st.text())
def test_anything_that_is_asked_for_is_a_name_a_range_or_refused(text: str) -> None:
    try:
        wanted = versions.parse_wanted(text)
    except InvalidAddress:
        return
    assert isinstance(wanted, (str, versions.Range))


# Order

ORDERED = ["0", "0.9", "v1", "1.0.1", "1.4-alpha", "1.4-alpha.1", "1.4-alpha.beta", "1.4-beta.2", "1.4-beta.11"] + [
    "1.4-rc.1",
    "1.4",
    "1.4.1",
    "1.10",
    "2",
    "2026.11.23",
]


def test_order_of_versions() -> None:
    parsed = [versions.parse_version(text) for text in ORDERED]
    assert None not in parsed
    assert sorted(t.cast("list[versions.OrderedVersion]", parsed)) == parsed


@pytest.mark.parametrize("pair", [("1", "1.0"), ("v1.4", "1.4.0"), ("1.4-RC1", "1.4-rc1")])
def test_versions_that_are_equal(pair: tuple[str, str]) -> None:
    assert versions.parse_version(pair[0]) == versions.parse_version(pair[1])


@pytest.mark.parametrize(
    "text", ["", "v", "1.", ".1", "1..2", "1.4-", "1.4-a..b", "sequoia", "1.4_2", "١.٢", "1" * 101]
)
def test_versions_that_have_no_order(text: str) -> None:
    assert versions.parse_version(text) is None


@given(version_texts, version_texts, version_texts)
def test_the_order_is_total(first: str, second: str, third: str) -> None:
    one, two, three = (t.cast(versions.OrderedVersion, versions.parse_version(text)) for text in (first, second, third))
    assert (one < two) + (two < one) + (one == two) == 1
    assert not (one <= two <= three) or one <= three
    if one == two:
        assert hash(one) == hash(two)


@given(version_texts, version_texts)
def test_a_range_means_what_its_operators_say(first: str, second: str) -> None:
    version, bound = parsed(first), parsed(second)
    named = not version.prerelease or (bound.prerelease != () and bound.numbers == version.numbers)
    for operator, truth in {
        ">=": version >= bound,
        ">": version > bound,
        "<=": version <= bound,
        "<": version < bound,
        "==": version == bound,
        "!=": version != bound,
    }.items():
        assert versions.parse_range(operator + second).admits(first) == (truth and named)


# Ranges


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("1.4.*", ["1.4", "1.4.0", "1.4.99", "v1.4.3"], ["1.3.9", "1.5", "1.40", "1.4.1-rc1", "sequoia"]),
        ("1.0.*", ["1", "1.0.7"], ["1.1"]),
        ("*", ["0", "1.4"], ["1.4-rc1", "sequoia"]),
        (">=1.4,<2", ["1.4", "1.99.1"], ["1.3", "2", "2.0-beta", "1.5-beta", "latest"]),
        (" >= 1.4 , < 2 ", ["1.4"], ["2"]),
        (">=1.4-rc.1,<2", ["1.4-rc.1", "1.4-rc.2", "1.4", "1.5"], ["1.4-beta", "1.5-beta", "2.0-beta"]),
        ("1.*,!=1.4.2", ["1.4.1"], ["1.4.2"]),
        ("==1.4", ["1.4.0", "v1.4"], ["1.4.1"]),
    ],
)
def test_what_lies_in_a_range(text: str, inside: list[str], outside: list[str]) -> None:
    versions_in_range = versions.parse_range(text)
    assert [version for version in inside + outside if versions_in_range.admits(version)] == inside


@pytest.mark.parametrize(
    "text",
    [">=", ">=sequoia", "=1.4", "1.4", "1.4*", "*.4", "1.*.2", ">=1.4,", "~1.4", "<>1", ",", ">" * 200],
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(InvalidAddress, match="not a valid range"):
        versions.parse_range(text)


# The tag latest


@pytest.mark.parametrize(
    ("current", "pushed", "moves"),
    [
        (None, "1", True),
        ("1.4", "1.5", True),
        ("1.4", "1.4.0", True),
        ("1.5", "1.4", False),
        ("1.5", "1.5-rc1", False),
        ("1.5", "sequoia", True),
        ("sequoia", "1.0", True),
    ],
)
def test_latest_never_moves_down(current: str | None, pushed: str, moves: bool) -> None:
    assert versions.latest_moves(current, pushed) is moves


def test_a_history_of_pushes_in_any_order_ends_at_the_highest() -> None:
    def push(latest: str | None, version: str) -> str | None:
        return version if versions.latest_moves(latest, version) else latest

    assert functools.reduce(push, ["1.4", "1.10", "1.9", "1.10-rc1"], None) == "1.10"
