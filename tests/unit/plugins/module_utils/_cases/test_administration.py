# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Users, roles, API keys and catalog ids as desired state, against a recorded server."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.api_keys import ApiKeyClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog_ids import CatalogIdClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import (
    BadReply,
    Conflict,
    InvalidAddress,
    StockServer,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._api.http import Http
from ansible_collections.macfleet.parallels.plugins.module_utils._api.roles import RoleClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.users import UserClient
from ansible_collections.macfleet.parallels.plugins.module_utils._base.retry import NEVER
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge import options as specs
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.administration import (
    api_keys,
    catalog_ids,
    roles,
    server_info,
    users,
)
from ansible_collections.macfleet.parallels.tests.unit.support.recording import BASE_URL, Recording, refusal

Json = t.Dict[str, t.Any]
NOW = 1_780_000_000.0
NOTHING: Json = {"roles": [], "claims": []}
USER: Json = {
    "id": "a1",
    "username": "ann",
    "email": "ann@localhost",
    "name": "Ann",
    "roles": ["READER"],
    "claims": [],
    "disabled": False,
    "has_password": True,
    "password_limited": True,
}
ROLE: Json = {"name": "AUDITOR", "description": "", "internal": False, "claims": ["READ_AUDIT"]}
ROW: Json = {"name": "runner", "push_roles": ["TEAM"], "native_only": False, "immutable_tags": False}
KEY: Json = {
    "key": "K1",
    "name": "ci",
    "created_at": "2026-05-01T00:00:00Z",
    "expires_at": None,
    "last_used_at": None,
    "revoked_at": None,
    "limited": True,
}


def http(server: Recording) -> Http:
    return Http(BASE_URL, server.send, patience=NEVER)


def options_of(spec: specs.Spec, **given: t.Any) -> Json:
    return {**{name: option.get("default") for name, option in spec.items()}, **given}


def user(server: Recording, *, check_mode: bool = False, **given: t.Any) -> Json:
    wanted = options_of(specs.user_spec(), username="Ann", **given)
    found = users.ensure(UserClient(http(server)), wanted, check_mode=check_mode, diff=True)
    server.finished()
    return found


def role(server: Recording, *, check_mode: bool = False, **given: t.Any) -> Json:
    wanted = options_of(specs.role_spec(), **{"name": "auditor", **given})
    found = roles.ensure(RoleClient(http(server)), wanted, check_mode=check_mode, diff=True)
    server.finished()
    return found


def row(server: Recording, *, check_mode: bool = False, **given: t.Any) -> Json:
    wanted = options_of(specs.catalog_id_spec(), catalog_id="Runner", **given)
    found = catalog_ids.ensure(CatalogIdClient(http(server)), wanted, check_mode=check_mode, diff=True)
    server.finished()
    return found


def key(server: Recording, *, check_mode: bool = False, **given: t.Any) -> Json:
    wanted = options_of(specs.api_key_spec(), username="ann", name="ci", **given)
    found = api_keys.ensure(ApiKeyClient(http(server)), wanted, check_mode=check_mode, diff=True, now=NOW)
    server.finished()
    return found


def there(path: str, reply: Json) -> Recording:
    return Recording().expect("GET", path, reply=reply)


def missing(path: str) -> Recording:
    return Recording().expect("GET", path, **refusal("not_found", 404))


# Users


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"roles": ["reader", "READER"], "claims": []},
        {"email": "Ann@localhost", "name": " Ann "},
        {"disabled": False, "password": "a long password"},
    ],
    ids=str,
)
def test_a_user_that_is_as_wanted_is_left_alone(given: Json) -> None:
    found = user(there("users/ann", USER), **given)
    assert (found["changed"], found["diff"], found["user"]["username"]) == (False, [], "ann")
    assert found["user"]["has_password"] and found["user"]["password_limited"]


@pytest.mark.parametrize(
    ("given", "edits"),
    [
        ({"roles": []}, {"roles": []}),
        ({"roles": ["reader", "team a"]}, {"roles": ["READER", "TEAM_A"]}),
        ({"disabled": True}, {"disabled": True}),
        ({"name": ""}, {"name": ""}),
        ({"password": "a long password", "update_password": "always"}, {"password": "a long password"}),
    ],
    ids=str,
)
def test_of_a_user_is_sent_what_differs(given: Json, edits: Json) -> None:
    server = there("users/ann", USER)
    server.expect("PATCH", "users/ann", body=edits, reply={**USER, "created": {"roles": ["TEAM_A"], "claims": []}})
    found = user(server, **given)
    assert found["changed"]
    assert found["created"]["roles"] == ["TEAM_A"]
    assert "role 'TEAM_A'" in found["warnings"][0]
    assert "a long password" not in repr(found)
    checked = user(there("users/ann", USER), check_mode=True, **given)
    assert (checked["changed"], checked["diff"]) == (True, found["diff"])
    assert "a long password" not in repr(checked)


def test_a_new_user() -> None:
    body = {"username": "ann", "roles": ["READER"], "password": "a long password"}
    server = missing("users/ann").expect("POST", "users", status=201, body=body, reply={**USER, "created": NOTHING})
    server.expect("PATCH", "users/ann", body={"disabled": True}, reply={**USER, "disabled": True})
    found = user(server, roles=["reader"], password="a long password", disabled=True)
    assert (found["changed"], found["user"]["disabled"], found["diff"][0]["before"]) == (True, True, {})
    assert "warnings" not in found
    checked = user(missing("users/ann"), check_mode=True, roles=["reader"], password="a long password")
    assert checked["user"] == {"username": "ann", "roles": ["READER"]}


def test_a_user_that_shall_not_be() -> None:
    assert not user(missing("users/ann"), state="absent")["changed"]
    checked = user(there("users/ann", USER), state="absent", check_mode=True)
    assert (checked["changed"], checked["user"]) == (True, None)
    found = user(there("users/ann", USER).expect("DELETE", "users/ann", status=204), state="absent")
    assert (found["changed"], found["user"], found["diff"]) == (True, None, checked["diff"])


def test_a_stock_server_has_no_users_of_ours() -> None:
    server = Recording().expect("GET", "users/ann", status=404, raw=b"404 page not found\n", content_type="text/plain")
    with pytest.raises((StockServer, BadReply)):
        user(server)


# Roles


def test_a_role() -> None:
    put = {"claims": ["READ_AUDIT"]}
    made = {**ROLE, "created": {"roles": ["AUDITOR"], "claims": []}}
    found = role(missing("roles/AUDITOR").expect("PUT", "roles/AUDITOR", body=put, reply=made), claims=["read_audit"])
    # That a new role is new is no surprise.
    assert (found["changed"], "warnings" in found) == (True, False)
    assert not role(there("roles/AUDITOR", ROLE), claims=["READ_AUDIT"], description=" ")["changed"]
    assert role(there("roles/AUDITOR", ROLE), claims=[], check_mode=True)["role"]["claims"] == []
    deleted = role(there("roles/AUDITOR", ROLE).expect("DELETE", "roles/AUDITOR", status=204), state="absent")
    assert (deleted["changed"], deleted["role"]) == (True, None)
    assert not role(missing("roles/AUDITOR"), state="absent")["changed"]


def test_check_mode_knows_that_a_role_of_the_server_stays() -> None:
    with pytest.raises(Conflict) as caught:
        role(there("roles/AUDITOR", {**ROLE, "internal": True}), state="absent", check_mode=True)
    assert caught.value.code == "internal_role"


@pytest.mark.parametrize("name", ["", "\u017fuper_user"])
def test_a_role_without_a_valid_name(name: str) -> None:
    with pytest.raises(InvalidAddress):
        role(Recording(), name=name)


# Catalog ids


@pytest.mark.parametrize(
    ("before", "given", "edits"),
    [
        ({}, {}, {}),
        ({}, {"push_roles": ["team"], "native_only": False, "quota_bytes": -1, "retention": {}}, {}),
        ({}, {"push_roles": []}, {"push_roles": []}),
        ({}, {"immutable_tags": True, "quota_bytes": 5}, {"immutable_tags": True, "quota_bytes": 5}),
        ({"quota_bytes": 5}, {"quota_bytes": -1}, {"quota_bytes": None}),
        (
            {},
            {"retention": {"keep_versions": 3, "keep_days": None, "expire_tags": None}},
            {"retention": {"keep_versions": 3, "keep_days": None, "expire_tags": []}},
        ),
        (
            {"retention": {"keep_versions": 3, "keep_days": None, "expire_tags": []}},
            {"retention": {"keep_versions": 3}},
            {},
        ),
        (
            {"retention": {"keep_versions": 3, "keep_days": None, "expire_tags": []}},
            {"retention": {"keep_versions": 3, "expire_tags": ["nightly-*"]}},
            {"retention": {"keep_versions": 3, "keep_days": None, "expire_tags": ["nightly-*"]}},
        ),
        (
            {"retention": {"keep_versions": 3, "keep_days": None, "expire_tags": []}},
            {"retention": {}},
            {"retention": None},
        ),
    ],
    ids=str,
)
def test_of_a_catalog_id_is_sent_what_differs(before: Json, given: Json, edits: Json) -> None:
    now = {**ROW, **before}
    server = there("catalog_ids/runner", now)
    if edits:
        server.expect("PUT", "catalog_ids/runner", body=edits, reply={**now, **edits, "created": NOTHING})
    found = row(server, **given)
    assert found["changed"] is bool(edits)
    # Twice is once.
    assert not row(there("catalog_ids/runner", found["settings"]), **given)["changed"]
    checked = row(there("catalog_ids/runner", now), check_mode=True, **given)
    assert (checked["changed"], checked["settings"]) == (found["changed"], found["settings"])


def test_a_catalog_id_comes_and_goes() -> None:
    made = {**ROW, "push_roles": [], "created": NOTHING}
    server = missing("catalog_ids/runner").expect("PUT", "catalog_ids/runner", body={}, reply=made)
    assert row(server)["changed"]
    assert row(missing("catalog_ids/runner"), check_mode=True)["settings"]["push_roles"] == []
    gone = there("catalog_ids/runner", ROW).expect("DELETE", "catalog_ids/runner", status=204)
    assert row(gone, state="absent")["changed"]
    assert not row(missing("catalog_ids/runner"), state="absent")["changed"]


# API keys


@pytest.mark.parametrize(
    ("keys", "good"),
    [
        ([], False),
        ([KEY], True),
        ([{**KEY, "name": "other"}], False),
        ([{**KEY, "revoked_at": "2026-05-02T00:00:00Z"}], False),
        ([{**KEY, "expires_at": "2026-05-02T00:00:00Z"}], False),
        ([{**KEY, "expires_at": "2199-05-02T00:00:00Z"}], True),
        ([{**KEY, "revoked_at": "2026-05-02T00:00:00Z"}, {**KEY, "key": "K2"}], True),
    ],
    ids=str,
)
def test_an_api_key_is_made_if_none_can_be_used(keys: t.List[Json], good: bool) -> None:
    def listed() -> Recording:
        return there("users/ann/api_keys", {"api_keys": keys})

    server = listed()
    if not good:
        body = {"name": "ci", "expires_in": 129600}
        server.expect("POST", "users/ann/api_keys", status=201, body=body, reply={**KEY, "key": "K9", "secret": "s3"})
    found = key(server, expires_days=1.5)
    assert (found["changed"], found.get("secret")) == (not good, None if good else "s3")
    assert "ends" not in found["api_key"] and found["api_key"]["limited"]
    checked = key(listed(), expires_days=1.5, check_mode=True)
    assert (checked["changed"], "secret" in checked, checked["diff"]) == (not good, False, found["diff"])


def test_all_api_keys_of_a_name_are_revoked() -> None:
    keys = [KEY, {**KEY, "key": "K2"}, {**KEY, "key": "K3", "name": "other"}]
    server = there("users/ann/api_keys", {"api_keys": keys})
    for name in ("K2", "K1"):
        server.expect("DELETE", f"api_keys/{name}", status=204)
    found = key(server, state="absent")
    assert (found["changed"], found["api_key"]) == (True, None)
    assert not key(there("users/ann/api_keys", {"api_keys": keys[2:]}), state="absent")["changed"]


# The server


def test_what_is_asked_of_the_server_is_what_is_gathered() -> None:
    info = {"name": "c", "version": "1", "catalog_uuid": "u", "api": 1, "features": ["identity"], "limits": {}}
    me = {"id": "a1", "username": "ann", "roles": ["READER"], "claims": ["LIST"]}

    def server() -> Recording:
        return Recording().expect("GET", "server", reply=info).expect("GET", "me", reply=me)

    assert server_info.query(http(server()), []) == {"changed": False, "server": info, "me": me}
    full = server().expect("GET", "users", query={"limit": "200"}, reply={"users": [USER], "next": "x"})
    full.expect("GET", "users", query={"limit": "200", "cursor": "x"}, reply={"users": [], "next": None})
    full.expect("GET", "roles", reply={"roles": [ROLE]})
    full.expect("GET", "claims", reply={"claims": [{"name": "LIST"}]})
    full.expect("GET", "catalog_ids", query={"limit": "200"}, reply={"catalog_ids": [ROW], "next": None})
    found = server_info.query(http(full), ["users", "roles", "claims", "catalog_ids"])
    full.finished()
    assert [one["username"] for one in found["users"]] == ["ann"]
    assert (found["roles"], found["claims"]) == ([ROLE], ["LIST"])
    assert found["catalog_ids"][0]["push_roles"] == ["TEAM"]


def test_a_server_that_sends_a_page_again() -> None:
    page = {"users": [USER], "next": "x"}
    server = Recording().expect("GET", "users", query={"limit": "200"}, reply=page)
    server.expect("GET", "users", query={"limit": "200", "cursor": "x"}, reply=page)
    with pytest.raises(BadReply):
        UserClient(http(server)).all()
