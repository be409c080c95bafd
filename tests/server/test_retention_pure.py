# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which versions a retention keeps."""

from __future__ import annotations

import datetime
import typing as t

import pytest
from catalog_server.catalog.retention import IN_USE, REQUIRED, TAGGED, Rule, Version, decide

NOW = datetime.datetime(2026, 11, 27, tzinfo=datetime.UTC)


def version(name: str, days: float = 100, architecture: str = "arm64", **fields: t.Any) -> Version:
    """One whose id is its name and architecture."""
    values: dict[str, t.Any] = {"is_pullable": True, **fields}
    return Version(f"{name} {architecture}", name, architecture, NOW - datetime.timedelta(days=days), **values)


def over(
    newest_first: list[Version],
    keep_versions: int | None = None,
    keep_days: int | None = None,
    expire_tags: tuple[str, ...] = (),
    in_use: t.Collection[str] = (),
    required: t.Collection[str] = (),
) -> list[str]:
    decision = decide(Rule(keep_versions, keep_days, expire_tags), newest_first, in_use, required, NOW)
    return [one.id.removesuffix(" arm64") for one in decision.over]


FOUR = [version("4", 1), version("3", 9), version("2", 10), version("1", 30)]


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ({}, []),
        ({"keep_versions": 1}, ["1", "2", "3"]),
        ({"keep_versions": 3}, ["1"]),
        ({"keep_versions": 9}, []),
        # One that is exactly so old is not younger.
        ({"keep_days": 10}, ["1", "2"]),
        ({"keep_days": 1}, ["1", "2", "3", "4"]),
        # Either keeps it.
        ({"keep_versions": 3, "keep_days": 10}, ["1"]),
        ({"keep_versions": 1, "keep_days": 20}, ["1"]),
        ({"keep_versions": 1, "keep_days": 10, "in_use": {"2 arm64"}}, ["1"]),
        ({"keep_versions": 1, "required": {"2 arm64"}}, ["1", "3"]),
    ],
    ids=str,
)
def test_a_rule_keeps_by_number_and_by_age(rule: dict[str, t.Any], wanted: list[str]) -> None:
    assert over(FOUR, **rule) == wanted


def test_each_architecture_has_its_own_newest() -> None:
    both = [version("2"), version("2", architecture="x86_64"), version("1"), version("1", architecture="x86_64")]
    assert over(both, keep_versions=1) == ["1 x86_64", "1"]


def test_versions_that_must_not_be_pulled_take_nobodys_place() -> None:
    bad = [version("4", is_pullable=False), version("3"), version("2", is_pullable=False), version("1")]
    # "4" is newer than the newest good one; "2" is older than it.
    assert over(bad, keep_versions=1) == ["1", "2"]
    assert over(bad, keep_versions=2) == []


def test_tags_hold_a_version_but_those_that_expire() -> None:
    tagged = [
        version("5"),
        version("4", tags=("stable",)),
        version("3", tags=("nightly-3",)),
        version("2", tags=("nightly-2", "kept")),
        version("1"),
    ]
    assert over(tagged, keep_versions=1) == ["1"]
    assert over(tagged, keep_versions=1, expire_tags=("nightly-*",)) == ["1", "3"]
    assert over(tagged, keep_versions=1, expire_tags=("*",)) == ["1", "2", "3", "4"]


def test_what_is_to_be_used_in_place_of_a_kept_version_is_kept() -> None:
    chain = [
        version("6"),
        version("5", superseded_by="4"),
        version("4", superseded_by="3"),
        version("3", superseded_by="5"),
        # Itself over, so it holds nothing; and nothing holds one of another architecture.
        version("2", superseded_by="1"),
        version("1"),
        version("4", architecture="x86_64"),
        version("3", architecture="x86_64", superseded_by="9"),
    ]
    assert over(chain, keep_versions=2) == ["1", "2"]
    assert over(chain, keep_versions=1) == ["3 x86_64", "1", "2", "3", "4", "5"]


def test_the_reasons_are_told() -> None:
    some = [version("4", superseded_by="3"), version("3"), version("2", tags=("x",)), version("1"), version("0")]
    decision = decide(Rule(1, None, ()), some, {"1 arm64"}, {"0 arm64", "1 arm64"}, NOW)
    assert decision.held == {"3 arm64": REQUIRED, "2 arm64": TAGGED, "1 arm64": IN_USE, "0 arm64": REQUIRED}
    assert decision.over == ()
