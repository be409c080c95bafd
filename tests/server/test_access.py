# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Audiences, needs and scopes, as rules."""

from __future__ import annotations

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import InvalidAddress
from catalog_server import access
from catalog_server.access import Audience, Caller, Grant, Needs, Source
from catalog_server.errors import BadRequest, Forbidden, GrantScope, Unauthenticated
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.frozensets(st.sampled_from("ABCD"), max_size=4)
AUDIENCES = st.builds(Audience.of, NAMES, NAMES)


def caller(roles: object = (), claims: object = (), grant: Grant | None = None) -> Caller:
    return Caller("u", "user", frozenset(roles), frozenset(claims), "token", grant)  # type: ignore[call-overload]


def grant(verb: str, manifests: object = (), bases: object = (), **fields: object) -> Grant:
    values: dict[str, object] = {
        "jti": "j",
        "user_id": "u",
        "source": Source("password", 0, 1, 1),
        "verb": verb,
        "catalog_id": "image",
        "manifests": dict.fromkeys(manifests, "d"),  # type: ignore[call-overload]
        "bases": frozenset(bases),  # type: ignore[call-overload]
        "version": None,
        "architecture": None,
        "number": 0,
        "first_minted_at": 0,
        "expires_at": 1,
    }
    return Grant(**{**values, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("roles", "claims", "admitted"),
    [
        ([], [], True),
        (["A"], [], True),
        (["A", "Z"], [], True),
        (["Z"], [], False),
        ([], ["C"], True),
        ([], ["Z"], False),
        (["A"], ["C"], True),
        (["A"], ["Z"], False),
        (["Z"], ["C"], False),
        # Roles are no claims, and claims no roles.
        (["C"], [], False),
        ([], ["A"], False),
    ],
)
def test_any_of_the_roles_and_any_of_the_claims(roles: list[str], claims: list[str], admitted: bool) -> None:
    assert Audience.of(roles, claims).admits(caller(["A", "B"], ["C", "D"])) is admitted


def test_super_users_belong_to_every_audience() -> None:
    assert Audience.of(["Z"], ["Z"]).admits(caller(["SUPER_USER"]))
    # It is a role; a claim of that name is nothing.
    assert not Audience.of(["Z"], ["Z"]).admits(caller([], ["SUPER_USER"]))


@given(AUDIENCES, AUDIENCES, NAMES, NAMES)
def test_a_narrower_audience_admits_nobody_else(
    one: Audience, other: Audience, roles: frozenset[str], claims: frozenset[str]
) -> None:
    who = caller(roles, claims)
    if one.lies_within(other) and one.admits(who):
        assert other.admits(who)


@given(AUDIENCES, AUDIENCES)
def test_whatever_is_not_narrower_admits_somebody_else(one: Audience, other: Audience) -> None:
    if not one.lies_within(other):
        everybody = [caller(set(roles), set(claims)) for roles in _subsets("ABCD") for claims in _subsets("ABCD")]
        assert any(one.admits(who) and not other.admits(who) for who in everybody)


def _subsets(letters: str) -> list[str]:
    return ["".join(c for n, c in enumerate(letters) if mask >> n & 1) for mask in range(1 << len(letters))]


@given(AUDIENCES)
def test_an_audience_is_its_text(audience: Audience) -> None:
    assert Audience.parse(audience.text()) == audience


def test_names_have_one_spelling() -> None:
    assert Audience.of(["my team", "MY_TEAM", " my-team "], []).roles == ("MY-TEAM", "MY_TEAM")
    # The last one would be SUPER_USER in capitals.
    for name in ("", "   ", "x" * 101, "a\nb", "\u017fuper_user"):
        with pytest.raises(InvalidAddress):
            Audience.of([], [name])
    with pytest.raises(BadRequest):
        Audience.of([f"R{number}" for number in range(51)], [])


def test_nobody_is_asked_who_it_is() -> None:
    with pytest.raises(Unauthenticated):
        access.check(None, access.KNOWN)


def test_claims_are_alternatives() -> None:
    needs = Needs(claims=("X", "Y"))
    assert access.check(caller([], ["Y"]), needs)
    assert access.check(caller(["SUPER_USER"]), needs)
    with pytest.raises(Forbidden, match="X or Y"):
        access.check(caller(["ADMIN"], ["Z"]), needs)


def test_the_role_super_user_is_not_to_be_had_by_claims() -> None:
    with pytest.raises(Forbidden, match="SUPER_USER"):
        access.check(caller(["ADMIN"], access.CLAIMS), access.SUPER)


@pytest.mark.parametrize(
    "needs", [access.KNOWN, access.READ, access.EDIT, access.DELETE, access.SUPER, access.MINT_PUSH]
)
@pytest.mark.parametrize("verb", ["pull", "push"])
def test_grants_open_nothing_of_users(needs: Needs, verb: str) -> None:
    who = caller(["SUPER_USER"], access.CLAIMS, grant(verb, ["m"], ["m"]))
    with pytest.raises(GrantScope):
        access.check(who, needs)


def test_what_grants_open() -> None:
    pull = caller([], [access.LIST_MANIFESTS], grant("pull", ["m"]))
    push = caller([], [access.PUSH_MANIFESTS], grant("push", (), ["m"]))
    for who, needs in (
        (pull, access.pulling("m")),
        (pull, access.reading_content_of("m")),
        (push, access.reading_content_of("m")),
        (push, access.TRANSFER_IN),
    ):
        assert access.check(who, needs) is who
    for who, needs in (
        (pull, access.pulling("other")),
        (pull, access.reading_content_of("other")),
        (pull, access.TRANSFER_IN),
        (push, access.pulling("m")),
        (push, access.reading_content_of("other")),
    ):
        with pytest.raises(GrantScope):
            access.check(who, needs)


def test_a_grant_is_worth_no_more_than_its_user() -> None:
    with pytest.raises(Forbidden, match="LIST_CATALOG_MANIFEST"):
        access.check(caller([], [access.PUSH_MANIFESTS], grant("pull", ["m"])), access.pulling("m"))


def test_the_scope_of_a_push() -> None:
    who = caller(grant=grant("push", (), ["a", "b"], version="1.0"))
    access.check_push(who, "image", "1.0", "arm64", ["a"])
    access.check_push(caller(), "any", "thing", "arm64", ["x"])
    for address in (("other", "1.0", "arm64", []), ("image", "1.1", "arm64", []), ("image", "1.0", "arm64", ["c"])):
        with pytest.raises(GrantScope):
            access.check_push(who, *address)  # type: ignore[arg-type]
    narrow = caller(grant=grant("push", version="1.0", architecture="x86_64"))
    with pytest.raises(GrantScope):
        access.check_push(narrow, "image", "1.0", "arm64")
