# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import dataclass

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api import resolution
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Blocked, Missing
from ansible_collections.macfleet.parallels.tests.unit.support.version_texts import releases, version_texts
from hypothesis import given
from hypothesis import strategies as st


@dataclass(frozen=True)
class Image:
    version: str
    tags: tuple[str, ...] = ()
    tainted: bool = False
    revoked: bool = False
    architecture: str = "arm64"


def chosen(images: t.Iterable[Image], wanted: str | None) -> str:
    return resolution.choose(images, wanted, catalog_id="macos-15", architecture="arm64").version


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
    assert resolution.choose_each(images, "1.*", catalog_id="macos-15") == ([images[0], images[2]], [])
    assert resolution.choose_each(images, "1.5", catalog_id="macos-15") == ([images[0]], [images[3]])
    with pytest.raises(Blocked):
        resolution.choose_each(images[3:], "1.5", catalog_id="macos-15")
    with pytest.raises(Missing):
        resolution.choose_each(images, "3", catalog_id="macos-15")


@given(
    st.lists(
        st.builds(Image, version_texts, st.just(()), st.booleans(), st.booleans()),
        max_size=8,
        unique_by=lambda i: i.version,
    ),
    st.one_of(version_texts, version_texts.map(">=".__add__), releases.map(lambda text: text + ".*")),
)
def test_what_is_chosen_is_never_blocked_and_never_depends_on_the_order(images: list[Image], wanted: str) -> None:
    def outcome(order: list[Image]) -> str:
        try:
            found = resolution.choose(order, wanted, catalog_id="macos-15")
        except (Missing, Blocked) as error:
            return error.code
        assert not found.tainted
        assert not found.revoked
        return found.version

    assert outcome(images) == outcome(images[::-1])
