# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import InvalidAddress
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("macos-15-runner", "macos-15-runner"),
        ("Win 11", "win_11"),
        ("A/B\\C?d", "a_b_c_d"),
        ("x\n", "x"),
    ],
)
def test_a_catalog_id_has_one_way_to_be_written(text: str, expected: str) -> None:
    assert addresses.normalise_catalog_id(text) == expected


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a\nb", "a\x00b", "a" * 151, "\ud800", "\u202egnp", "grün", "c\u0430t", "a\u00a0b"]
)
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


@pytest.mark.parametrize("text", ["\u017fuper_user", "adm\u0131n"])
def test_a_role_that_passes_for_another_one_is_refused(text: str) -> None:
    assert text.upper() in {"SUPER_USER", "ADMIN"}
    with pytest.raises(InvalidAddress):
        addresses.normalise_right(text)


@pytest.mark.parametrize("text", ["", " ", "a\nb", "\u0410DMIN", "pr\u00fcfer", "a\u00a0b", "x" * 101])
def test_what_is_no_name_of_a_role_is_refused(text: str) -> None:
    with pytest.raises(InvalidAddress):
        addresses.normalise_right(text)


def test_names_of_roles() -> None:
    assert addresses.normalise_right(" team a/b ") == "TEAM_A_B"


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
