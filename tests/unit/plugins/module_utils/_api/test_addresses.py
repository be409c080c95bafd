# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import typing as t
from dataclasses import dataclass

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Blocked, InvalidAddress, Missing
from hypothesis import given
from hypothesis import strategies as st


@dataclass(frozen=True)
class Image:
    version: str
    tags: tuple[str, ...] = ()
    tainted: bool = False
    revoked: bool = False
    architecture: str = "arm64"


def parsed(text: str) -> addresses.OrderedVersion:
    version = addresses.parse_version(text)
    assert version is not None
    return version


def chosen(images: t.Iterable[Image], wanted: str | None) -> str:
    return addresses.choose(images, wanted, catalog_id="macos-15", architecture="arm64").version


# How things are written


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("macos-15-runner", "macos-15-runner"),
        ("Win 11", "win_11"),
        ("A/B\\C?d", "a_b_c_d"),
        ("Grün", "grün"),
        ("Gru\u0308n", "grün"),
        ("x\n", "x"),
    ],
)
def test_a_catalog_id_has_one_way_to_be_written(text: str, expected: str) -> None:
    assert addresses.normalise_catalog_id(text) == expected


@pytest.mark.parametrize("text", ["", ".", "..", "a\nb", "a\x00b", "a" * 151, "\ud800", "\u202egnp"])
def test_what_is_no_catalog_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidAddress) as failure:
        addresses.normalise_catalog_id(text)
    assert failure.value.code == "bad_request"


@pytest.mark.parametrize(("text", "expected"), [("1.4", "1.4"), ("V1.4-RC1", "v1.4-rc1"), ("Sequoia", "sequoia")])
def test_a_version_has_one_way_to_be_written(text: str, expected: str) -> None:
    assert addresses.normalise_version(text) == expected


@pytest.mark.parametrize("text", ["", "..", "1 4", "1.4*", ">=1", "a/b", "1,2", "1" * 101, "1.0+build"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(InvalidAddress, match="not a valid version"):
        addresses.normalise_version(text)


@pytest.mark.parametrize("value", [1.4, 15, None, ["1"]])
def test_a_number_is_refused_with_a_word_about_quotation_marks(value: t.Any) -> None:
    with pytest.raises(InvalidAddress, match="quotation marks"):
        addresses.normalise_version(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("arm64", "arm64"),
        ("AArch64", "arm64"),
        ("arm", "arm64"),
        ("x86_64", "x86_64"),
        ("amd64", "x86_64"),
        ("x86-64", "x86_64"),
    ],
)
def test_aliases_of_architectures(text: str, expected: str) -> None:
    assert addresses.normalise_architecture(text) == expected


@pytest.mark.parametrize("text", ["", "riscv64", "i386", None])
def test_another_architecture_is_refused(text: t.Any) -> None:
    with pytest.raises(InvalidAddress, match="not a valid architecture"):
        addresses.normalise_architecture(text)


@pytest.mark.parametrize(("text", "expected"), [("Latest", "latest"), ("1.4", "1.4"), ("a_b-c.d", "a_b-c.d")])
def test_tags(text: str, expected: str) -> None:
    assert addresses.normalise_tag(text) == expected


@pytest.mark.parametrize("text", ["", "-x", ".x", "a b", "ü", "a*"])
def test_what_is_no_tag_is_refused(text: str) -> None:
    with pytest.raises(InvalidAddress):
        addresses.normalise_tag(text)


@given(st.text())
def test_normalising_twice_is_normalising_once_and_anything_else_is_refused(text: str) -> None:
    for normalise in (
        addresses.normalise_catalog_id,
        addresses.normalise_version,
        addresses.normalise_tag,
        addresses.normalise_right,
        addresses.normalise_architecture,
    ):
        try:
            once = normalise(text)
        except InvalidAddress:
            continue
        assert normalise(once) == once


@given(st.text())
def test_anything_that_is_asked_for_is_a_name_a_range_or_refused(text: str) -> None:
    try:
        wanted = addresses.parse_wanted(text)
    except InvalidAddress:
        return
    assert isinstance(wanted, (str, addresses.Range))


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
    parsed = [addresses.parse_version(text) for text in ORDERED]
    assert None not in parsed
    assert sorted(t.cast("list[addresses.OrderedVersion]", parsed)) == parsed


@pytest.mark.parametrize("pair", [("1", "1.0"), ("v1.4", "1.4.0"), ("1.4-RC1", "1.4-rc1")])
def test_versions_that_are_equal(pair: tuple[str, str]) -> None:
    assert addresses.parse_version(pair[0]) == addresses.parse_version(pair[1])


@pytest.mark.parametrize(
    "text", ["", "v", "1.", ".1", "1..2", "1.4-", "1.4-a..b", "sequoia", "1.4_2", "١.٢", "1" * 101]
)
def test_versions_that_have_no_order(text: str) -> None:
    assert addresses.parse_version(text) is None


releases = st.lists(st.integers(0, 30), min_size=1, max_size=4).map(lambda numbers: ".".join(map(str, numbers)))
prereleases = st.one_of(st.just(""), st.from_regex(r"-[0-9a-z-]{1,3}(\.[0-9a-z-]{1,3}){0,2}", fullmatch=True))
versions = st.tuples(st.sampled_from(["", "v"]), releases, prereleases).map("".join)


@given(versions, versions, versions)
def test_the_order_is_total(first: str, second: str, third: str) -> None:
    one, two, three = (
        t.cast(addresses.OrderedVersion, addresses.parse_version(text)) for text in (first, second, third)
    )
    assert (one < two) + (two < one) + (one == two) == 1
    assert not (one <= two <= three) or one <= three
    if one == two:
        assert hash(one) == hash(two)


@given(versions, versions)
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
        assert addresses.parse_range(operator + second).admits(first) == (truth and named)


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
    versions_in_range = addresses.parse_range(text)
    assert [version for version in inside + outside if versions_in_range.admits(version)] == inside


@pytest.mark.parametrize(
    "text",
    [">=", ">=sequoia", "=1.4", "1.4", "1.4*", "*.4", "1.*.2", ">=1.4,", "~1.4", "<>1", ",", ">" * 200],
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(InvalidAddress, match="not a valid range"):
        addresses.parse_range(text)


# Choice


def test_a_version_goes_before_a_tag() -> None:
    assert chosen([Image("1.4", tags=("stable",)), Image("stable")], "stable") == "stable"
    assert chosen([Image("1.4", tags=("stable",)), Image("1.5")], "Stable") == "1.4"


@pytest.mark.parametrize("wanted", [None, "", " ", "latest"])
def test_nothing_means_latest(wanted: str | None) -> None:
    assert chosen([Image("1.9"), Image("1.4", tags=("latest",))], wanted) == "1.4"


def test_a_name_is_literal() -> None:
    with pytest.raises(Missing):
        chosen([Image("1.4.0")], "1.4")


def test_a_range_takes_the_highest_that_may_be_pulled() -> None:
    images = [Image("1.4.1"), Image("1.10", tainted=True), Image("1.9", revoked=True), Image("1.5"), Image("2")]
    assert chosen(images, ">=1.4,<2") == "1.5"


@pytest.mark.parametrize("word", ["tainted", "revoked"])
@pytest.mark.parametrize("wanted", ["1.5", "stable", "latest"])
def test_a_name_of_what_is_blocked_fails_and_says_so(word: str, wanted: str) -> None:
    blocked = Image("1.5", tags=("stable", "latest"), tainted=word == "tainted", revoked=word == "revoked")
    with pytest.raises(Blocked, match=f"'1.5'.*{word}") as failure:
        chosen([Image("1.4"), blocked], wanted)
    assert failure.value.code == word


def test_what_is_revoked_for_good_is_not_called_tainted() -> None:
    with pytest.raises(Blocked) as failure:
        chosen([Image("1.5", tainted=True, revoked=True)], "1.5")
    assert failure.value.code == "revoked"
    assert "untaint" not in str(failure.value)


def test_a_range_of_which_all_are_blocked_is_unknown() -> None:
    with pytest.raises(Missing) as failure:
        chosen([Image("1.5", tainted=True)], "1.*")
    assert failure.value.code == "unknown_manifest"


def test_each_architecture_has_its_own_choice() -> None:
    images = [
        Image("1.5"),
        Image("1.4"),
        Image("1.4", architecture="x86_64"),
        Image("1.5", architecture="x86_64", tainted=True),
    ]
    assert addresses.choose_each(images, "1.*", catalog_id="macos-15") == ([images[0], images[2]], [])
    assert addresses.choose_each(images, "1.5", catalog_id="macos-15") == ([images[0]], [images[3]])
    with pytest.raises(Blocked):
        addresses.choose_each(images[3:], "1.5", catalog_id="macos-15")
    with pytest.raises(Missing):
        addresses.choose_each(images, "3", catalog_id="macos-15")


@given(
    st.lists(
        st.builds(Image, versions, st.just(()), st.booleans(), st.booleans()), max_size=8, unique_by=lambda i: i.version
    ),
    st.one_of(versions, versions.map(">=".__add__), releases.map(lambda text: text + ".*")),
)
def test_what_is_chosen_is_never_blocked_and_never_depends_on_the_order(images: list[Image], wanted: str) -> None:
    def outcome(order: list[Image]) -> str:
        try:
            found = addresses.choose(order, wanted, catalog_id="macos-15")
        except (Missing, Blocked) as error:
            return error.code
        assert not found.tainted
        assert not found.revoked
        return found.version

    assert outcome(images) == outcome(images[::-1])


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
    assert addresses.latest_moves(current, pushed) is moves


def test_a_history_of_pushes_in_any_order_ends_at_the_highest() -> None:
    def push(latest: str | None, version: str) -> str | None:
        return version if addresses.latest_moves(latest, version) else latest

    assert functools.reduce(push, ["1.4", "1.10", "1.9", "1.10-rc1"], None) == "1.10"
