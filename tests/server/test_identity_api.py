# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Users, roles, claims and API keys over the API: what they answer, and what nobody gets out of them."""

from __future__ import annotations

import base64
import datetime
import secrets
from typing import Any

import pytest
from catalog_server import access
from catalog_server.models.audit import AuditEntry
from packs import make_pack
from rows import moment
from running import PASSWORD, Server, wait_until
from sqlalchemy import select
from transfer_client import FILES, Client, error, good

Json = dict[str, Any]
OTHER_PASSWORD = "quite another password"


def new_name() -> str:
    return f"user-{secrets.token_hex(6)}"


def add(server: Server, *, by: str = "admin", **fields: object) -> str:
    """A user with the password of the tests; its name."""
    body = {"username": new_name(), "password": PASSWORD, **fields}
    answer = server.call("POST", "/users", by, json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["username"])


def edit(server: Server, user: str, by: str = "admin", **fields: object) -> Any:
    return server.call("PATCH", f"/users/{user}", by, json=fields)


def test_a_user_from_add_to_delete(server: Server) -> None:
    name, role = new_name(), f"TEAM_{secrets.token_hex(4).upper()}"
    body = {"username": name, "name": "A B", "roles": ["READER", role.lower()], "claims": ["UPDATE_CATALOG_MANIFEST"]}
    answer = server.call("POST", "/users", "admin", json=body)
    assert answer.status_code == 201
    made = answer.json()
    assert made["created"] == {"roles": [role], "claims": []}
    assert (made["email"], made["name"], made["has_password"]) == (f"{name}@localhost", "A B", False)
    assert made["roles"] == sorted(["READER", role])
    error(server.call("POST", "/users", "admin", json=body), 409, "user_exists")

    read = good(server.call("GET", f"/users/{made['email']}", "admin"))
    assert read == {key: made[key] for key in read}
    same = good(edit(server, name, roles=[role, "reader"], name="A B"))
    assert (same["changed"], same["updated_at"]) == (False, made["updated_at"])
    changed = good(edit(server, name, email="a@b.example", disabled=True, claims=[]))
    assert (changed["changed"], changed["email"], changed["disabled"], changed["claims"]) == (
        True,
        "a@b.example",
        True,
        [],
    )
    assert good(edit(server, name, disabled=False))["disabled_at"] is None
    assert server.call("DELETE", f"/users/{name}", "admin").status_code == 204
    error(server.call("GET", f"/users/{name}", "admin"), 404, "not_found")


def test_users_come_page_by_page(server: Server) -> None:
    names = {add(server, password=None) for _number in range(5)}
    found: list[str] = []
    cursor = None
    while True:
        query = {"limit": 3, **({"cursor": cursor} if cursor else {})}
        page = good(server.call("GET", "/users", "admin", params=query))
        assert len(page["users"]) <= 3
        found += [user["username"] for user in page["users"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == sorted(set(found))
    assert names <= set(found)
    error(server.call("GET", "/users", "admin", params={"cursor": "rubbish"}), 400, "bad_request")


@pytest.mark.parametrize(
    "fields",
    [
        {"username": "a b"},
        {"name": "x" * 151},
        {"name": "\x1b[31m"},
        {"email": "nobody"},
        {"password": " " * 12},
        {"password": "short"},
        {"roles": ["\u017fuper_user"]},
        {"unknown": 1},
        {"disabled": True},
    ],
    ids=str,
)
def test_what_is_not_a_valid_user(server: Server, fields: Json) -> None:
    body = {"username": new_name(), **fields}
    error(server.call("POST", "/users", "admin", json=body), 400, "bad_request")


def test_a_name_that_becomes_super_user_is_treated_as_that_name(server: Server) -> None:
    helper = add(server, roles=["USER", "MANAGE"], claims=[access.MANAGE_USERS])
    for text in ("super user", " Super_User", "super_user"):
        answer = server.call("POST", "/users", helper, json={"username": new_name(), "roles": [text]})
        assert "SUPER_USER" in error(answer, 403, "forbidden")


# Oneself


def test_everybody_knows_oneself(server: Server) -> None:
    name = add(server, roles=["PUBLISHER"])
    me = good(server.call("GET", "/me", name))
    assert (me["username"], me["roles"], me["credential"]) == (name, ["PUBLISHER"], "token")
    assert set(me["claims"]) == set(access.ROLES["PUBLISHER"])
    assert good(server.call("GET", f"/users/{name}", name))["id"] == me["id"]
    # Whether there is such a user, nobody learns who may not know.
    answers = [server.call("GET", f"/users/{other}", name) for other in ("admin", "nobody-at-all")]
    assert answers[0].status_code == 403
    assert answers[0].json() == answers[1].json()


def test_ones_own_password_takes_the_old_one(server: Server) -> None:
    name = add(server)
    token = server.token(name)
    error(edit(server, name, name, password=OTHER_PASSWORD), 403, "forbidden")
    error(edit(server, name, name, password=OTHER_PASSWORD, old_password="a wrong one"), 403, "forbidden")
    error(edit(server, name, name, password=" " * 20, old_password=PASSWORD), 400, "bad_request")
    good(edit(server, name, name, password=OTHER_PASSWORD, old_password=PASSWORD))
    assert server.call("GET", "/me", bearer=token).status_code == 401
    assert server.login(name).status_code == 401
    assert server.login(name, OTHER_PASSWORD).status_code == 200


def test_nobody_gives_oneself_rights_or_another_password_with_them(server: Server) -> None:
    name = add(server)
    error(edit(server, name, name, roles=["SUPER_USER"]), 403, "forbidden")
    mixed = {"password": OTHER_PASSWORD, "old_password": PASSWORD, "claims": [access.MANAGE_USERS]}
    error(edit(server, name, name, **mixed), 403, "forbidden")
    assert server.login(name).status_code == 200


def test_guessing_an_old_password_is_a_failed_login(start_server: Any) -> None:
    server = start_server(CATALOG_LOGIN_ATTEMPTS="2")
    name = add(server)
    for _attempt in range(2):
        error(edit(server, name, name, password=OTHER_PASSWORD, old_password="wrong"), 403, "forbidden")
    error(edit(server, name, name, password=OTHER_PASSWORD, old_password=PASSWORD), 429, "locked_out")


def test_ones_own_api_keys(server: Server) -> None:
    name, other = add(server), add(server)
    path = f"/users/{name}/api_keys"
    made = server.call("POST", path, name, json={"name": "ci", "expires_in": 3600})
    assert made.status_code == 201
    new = made.json()
    header = {"X-Api-Key": new["secret"]}
    assert base64.b64decode(new["secret"]).decode().partition(":")[0] == new["key"]
    assert good(server.call("GET", "/me", headers=header))["credential"] == "api_key"
    listed = good(server.call("GET", path, name))["api_keys"]
    # When it was used last is written behind the requests.
    listed[0]["last_used_at"] = None
    assert listed == [{key: value for key, value in new.items() if key != "secret"}]

    # A key, and a login that was made with it, would outlive their end.
    token = good(server.call("POST", "/auth/token", json={"api_key": new["secret"]}))["token"]
    body = {"name": "next", "expires_in": None}
    error(server.call("POST", path, headers=header, json=body), 403, "forbidden")
    error(server.call("POST", path, bearer=token, json=body), 403, "forbidden")
    error(server.call("DELETE", f"/api_keys/{new['key']}", other), 404, "not_found")
    error(server.call("POST", path, other, json=body), 403, "forbidden")

    assert server.call("DELETE", f"/api_keys/{new['key']}", name).status_code == 204
    assert server.call("GET", "/me", headers=header).status_code == 401
    assert server.call("GET", "/me", bearer=token).status_code == 401
    assert good(server.call("GET", path, name))["api_keys"][0]["revoked_at"]


@pytest.mark.parametrize("use", ["request", "refused request", "login"])
def test_it_is_told_when_a_key_was_used_last(server: Server, use: str) -> None:
    name = add(server)
    path = f"/users/{name}/api_keys"
    new = good(server.call("POST", path, name, json={"name": "ci", "expires_in": 3600}))
    header = {"X-Api-Key": new["secret"]}

    def last_used() -> str | None:
        (key,) = good(server.call("GET", path, name))["api_keys"]
        return key["last_used_at"] and str(key["last_used_at"])

    assert new["last_used_at"] is None and last_used() is None
    if use == "login":
        good(server.call("POST", "/auth/token", json={"api_key": new["secret"]}))
    else:
        found = server.call("GET", "/me" if use == "request" else "/users", headers=header)
        assert found.status_code == (200 if use == "request" else 403)
    wait_until(lambda: last_used() is not None)
    first = last_used()
    assert first is not None
    assert abs((datetime.datetime.now(datetime.UTC) - moment(first)).total_seconds()) < 60
    # Within a minute it is not written again.
    good(server.call("GET", "/me", headers=header))
    other = good(server.call("POST", path, name, json={"name": "other", "expires_in": 3600}))
    server.call("GET", "/me", headers={"X-Api-Key": other["secret"]})

    def keys() -> dict[str, str | None]:
        return {key["name"]: key["last_used_at"] for key in good(server.call("GET", path, name))["api_keys"]}

    wait_until(lambda: keys()["other"])
    assert keys()["ci"] == first


@pytest.mark.parametrize(
    "body", [{"name": "x"}, {"name": "", "expires_in": 60}, {"name": "x", "expires_in": 0}], ids=str
)
def test_an_api_key_says_when_it_ends(server: Server, body: Json) -> None:
    error(server.call("POST", "/users/reader/api_keys", "reader", json=body), 400, "bad_request")


# Managing users without being SUPER_USER


def test_who_manages_users_gives_and_takes_no_more_than_he_has(server: Server) -> None:
    helper = add(server, roles=["READER", "HELP"], claims=[access.MANAGE_USERS])
    user = add(server, by=helper, roles=["READER"])
    assert good(edit(server, user, helper, name="Known", disabled=True))["changed"]
    assert good(edit(server, user, helper, disabled=False, password=OTHER_PASSWORD))["changed"]
    assert server.call("POST", f"/users/{user}/logout", helper).status_code == 204
    assert (
        server.call("POST", f"/users/{user}/api_keys", helper, json={"name": "x", "expires_in": 60}).status_code == 201
    )
    for more in ({"roles": ["SUPER_USER"]}, {"roles": ["PUBLISHER"]}, {"claims": ["PUSH_CATALOG_MANIFEST"]}):
        error(edit(server, user, helper, **more), 403, "forbidden")
        error(server.call("POST", "/users", helper, json={"username": new_name(), **more}), 403, "forbidden")
    # A new name could be what a manifest requires.
    error(edit(server, user, helper, roles=["READER", "STAFF"]), 403, "forbidden")
    assert good(server.call("GET", f"/users/{user}", "admin"))["roles"] == ["READER"]


@pytest.mark.parametrize("use", ["key", "login", "grant"])
@pytest.mark.parametrize("promoted", ["user", "role"])
def test_a_key_that_somebody_else_made_gets_no_right_that_its_maker_had_not(
    server: Server, use: str, promoted: str
) -> None:
    helper = add(server, roles=["READER"], claims=[access.MANAGE_USERS])
    role = f"TEAM_{secrets.token_hex(4).upper()}"
    good(server.call("PUT", f"/roles/{role}", "admin", json={"claims": []}))
    good(edit(server, helper, "admin", roles=["READER", role]))
    user = add(server, roles=["READER", role])
    body = {"name": "x", "expires_in": 600}
    path = f"/users/{user}/api_keys"
    by_helper = good(server.call("POST", path, helper, json=body))
    own = good(server.call("POST", path, user, json=body))
    by_admin = good(server.call("POST", path, "admin", json=body))
    assert [made["limited"] for made in (by_helper, own, by_admin)] == [True, False, False]
    if promoted == "user":
        good(edit(server, user, "admin", roles=["READER", "PUBLISHER"]))
    else:
        good(server.call("PUT", f"/roles/{role}", "admin", json={"claims": ["PUSH_CATALOG_MANIFEST"]}))
    assert [pushes(server, made, use) for made in (by_helper, own, by_admin)] == [False, True, True]
    # Who has lost a right has it by no key.
    good(edit(server, user, "admin", roles=[], claims=["READ_ONLY"]))
    assert [pushes(server, made, use) for made in (by_helper, own, by_admin)] == [False] * 3


def pushes(server: Server, key: Json, use: str) -> bool:
    """Whether one may push by a key, or by what one gets by it."""
    header = {"X-Api-Key": key["secret"]}
    if use == "key":
        return "PUSH_CATALOG_MANIFEST" in good(server.call("GET", "/me", headers=header))["claims"]
    if use == "login":
        token = good(server.call("POST", "/auth/token", json={"api_key": key["secret"]}))["token"]
        return "PUSH_CATALOG_MANIFEST" in good(server.call("GET", "/me", bearer=token))["claims"]
    wanted = {"verb": "push", "catalog_id": new_name(), "version": "1"}
    return server.call("POST", "/grants", headers=header, json=wanted).status_code == 200


def test_a_limited_key_makes_no_key_without_limits(server: Server) -> None:
    helper = add(server, roles=["READER"], claims=[access.MANAGE_USERS])
    body = {"name": "x", "expires_in": 600}
    user = add(server, by=helper, roles=["READER"], claims=[access.MANAGE_USERS])
    limited = good(server.call("POST", f"/users/{user}/api_keys", helper, json=body))
    header = {"X-Api-Key": limited["secret"]}
    second = good(server.call("POST", f"/users/{user}/api_keys", headers=header, json=body))
    good(edit(server, user, "admin", roles=["SUPER_USER"]))
    assert second["limited"] and not pushes(server, second, "key") and not pushes(server, limited, "key")
    error(server.call("POST", f"/users/{user}/api_keys", headers=header, json=body), 403, "forbidden")


PUSH = "PUSH_CATALOG_MANIFEST"


def claims_by(server: Server, user: str, password: str) -> set[str]:
    """The claims that somebody has who logs in with a password."""
    token = good(server.login(user, password))["token"]
    return set(good(server.call("GET", "/me", bearer=token))["claims"])


@pytest.mark.parametrize("how", ["added", "set"])
def test_a_password_that_somebody_else_has_set_gets_no_right_that_he_had_not(server: Server, how: str) -> None:
    helper = add(server, roles=["READER"], claims=[access.MANAGE_USERS])
    if how == "added":
        user = add(server, by=helper, roles=["READER"], password=OTHER_PASSWORD)
    else:
        user = add(server, roles=["READER"])
        assert good(edit(server, user, helper, password=OTHER_PASSWORD))["password_limited"]
    before = claims_by(server, user, OTHER_PASSWORD)
    assert good(edit(server, user, roles=["READER", "PUBLISHER"]))["password_limited"]
    assert claims_by(server, user, OTHER_PASSWORD) == before
    token = good(server.login(user, OTHER_PASSWORD))["token"]
    # No detour leads around it: another password, a key, a grant.
    wanted = {"verb": "push", "catalog_id": new_name(), "version": "1"}
    error(server.call("POST", "/grants", bearer=token, json=wanted), 403, "forbidden")
    key = good(server.call("POST", f"/users/{user}/api_keys", bearer=token, json={"name": "x", "expires_in": None}))
    assert key["limited"] and not pushes(server, key, "key")
    changed = server.call(
        "PATCH", f"/users/{user}", bearer=token, json={"password": PASSWORD, "old_password": OTHER_PASSWORD}
    )
    assert good(changed)["password_limited"]
    assert claims_by(server, user, PASSWORD) == before
    # What he has lost is in nobody's reach, and an administrator lifts the limit.
    assert not good(edit(server, user, password=OTHER_PASSWORD))["password_limited"]
    assert PUSH in claims_by(server, user, OTHER_PASSWORD)
    good(edit(server, user, roles=["READER"]))
    assert claims_by(server, user, OTHER_PASSWORD) == before


@pytest.mark.parametrize("use", ["password", "key"])
def test_a_limited_credential_does_not_read_what_its_user_pushes_for_others(server: Server, use: str) -> None:
    team, catalog_id = f"TEAM_{secrets.token_hex(4).upper()}", new_name()
    helper = add(server, roles=["READER", "PUBLISHER"], claims=[access.MANAGE_USERS])
    user = add(server, by=helper, roles=["READER", "PUBLISHER"])
    new_key = {"name": "x", "expires_in": None}
    by_helper = good(server.call("POST", f"/users/{user}/api_keys", helper, json=new_key))
    by_admin = good(server.call("POST", f"/users/{user}/api_keys", "admin", json=new_key))
    good(edit(server, user, roles=["READER", "PUBLISHER", team]))

    def of_key(key: Json) -> Client:
        return Client(server, good(server.call("POST", "/auth/token", json={"api_key": key["secret"]}))["token"])

    own, limited = of_key(by_admin), of_key(by_helper) if use == "key" else Client.of(server, user)
    wanted = {"required_roles": [team]}
    upload = str(good(own.begin(catalog_id, **wanted))["id"])
    pack = make_pack(upload, FILES)
    own.store(upload, pack)
    resumed = good(own.begin(catalog_id, **wanted))
    assert {segment["sha256"] for segment in resumed["segments"]} == pack.segments.keys()
    for client in (limited, limited.granted(server, "push", catalog_id)):
        assert good(client.http.get(f"/uploads/{upload}"))["segments"] == []
        found = good(client.begin(catalog_id, **wanted))
        assert (found["id"], found["segments"]) == (upload, [])
        for other in ([], ["READER"]):
            error(client.begin(catalog_id, required_roles=other), 403, "forbidden")
    assert good(own.commit(upload, pack.index))["required_roles"] == [team]


def test_ones_own_password_has_no_limit(server: Server) -> None:
    user = add(server, roles=["READER"])
    own = server.call("PATCH", f"/users/{user}", user, json={"password": OTHER_PASSWORD, "old_password": PASSWORD})
    assert not good(own)["password_limited"]
    good(edit(server, user, roles=["PUBLISHER"]))
    assert PUSH in claims_by(server, user, OTHER_PASSWORD)


@pytest.mark.parametrize("target", ["admin", "pusher"])
def test_who_manages_users_does_not_act_on_those_who_may_more(server: Server, target: str) -> None:
    helper = add(server, roles=["USER"], claims=[access.MANAGE_USERS])
    key = server.call("POST", f"/users/{target}/api_keys", "admin", json={"name": "x", "expires_in": 60}).json()["key"]
    refused = [
        edit(server, target, helper, disabled=True),
        edit(server, target, helper, password=OTHER_PASSWORD),
        edit(server, target, helper, roles=[], claims=[]),
        server.call("DELETE", f"/users/{target}", helper),
        server.call("POST", f"/users/{target}/logout", helper),
        server.call("DELETE", f"/grants?user={target}", helper),
        server.call("POST", f"/users/{target}/api_keys", helper, json={"name": "x", "expires_in": 60}),
    ]
    assert [answer.status_code for answer in refused] == [403] * len(refused)
    error(server.call("DELETE", f"/api_keys/{key}", helper), 404, "not_found")
    assert server.login(target).status_code == 200


def test_roles_are_the_administrators(server: Server) -> None:
    helper = add(server, roles=["USER"], claims=[access.MANAGE_USERS])
    assert {role["name"] for role in good(server.call("GET", "/roles", helper))["roles"]} >= set(access.ROLES)
    error(server.call("PUT", "/roles/USER", helper, json={"claims": [access.MANAGE_USERS]}), 403, "forbidden")
    error(server.call("DELETE", "/roles/HELP", helper), 403, "forbidden")


# Roles and claims


def test_a_role_from_put_to_delete(server: Server) -> None:
    role, claim = f"team {secrets.token_hex(4)}", f"SEES_{secrets.token_hex(4).upper()}"
    stored = role.replace(" ", "_").upper()
    made = good(server.call("PUT", f"/roles/{role}", "admin", json={"claims": [claim, "READ_AUDIT"]}))
    assert made == {
        "name": stored,
        "description": "",
        "internal": False,
        "claims": ["READ_AUDIT", claim],
        "changed": True,
        "created": {"roles": [stored], "claims": [claim]},
    }
    again = good(server.call("PUT", f"/roles/{role}", "admin", json={"claims": ["read_audit", claim]}))
    assert (again["changed"], again["created"]) == (False, {"roles": [], "claims": []})
    described = good(server.call("PUT", f"/roles/{role}", "admin", json={"description": "auditors"}))
    assert (described["claims"], described["description"]) == (["READ_AUDIT", claim], "auditors")
    user = add(server, roles=[stored])
    assert server.call("GET", "/audit", user).status_code == 200
    assert claim in {one["name"] for one in good(server.call("GET", "/claims", "admin"))["claims"]}
    assert server.call("DELETE", f"/roles/{role}", "admin").status_code == 204
    assert server.call("GET", "/audit", user).status_code == 403
    error(server.call("GET", f"/roles/{role}", "admin"), 404, "not_found")


@pytest.mark.parametrize("role", sorted(access.ROLES))
def test_a_role_of_the_server_cannot_be_deleted(server: Server, role: str) -> None:
    error(server.call("DELETE", f"/roles/{role}", "admin"), 409, "internal_role")


# The last administrator


def test_the_last_administrator_stays(start_server: Any) -> None:
    server = start_server()
    for fields in ({"disabled": True}, {"roles": ["USER"]}, {"roles": [], "claims": ["LIST"]}):
        error(edit(server, "admin", **fields), 409, "last_administrator")
    error(server.call("DELETE", "/users/admin", "admin"), 409, "last_administrator")
    second = add(server, roles=["SUPER_USER"])
    good(edit(server, second, disabled=True))
    error(edit(server, "admin", disabled=True), 409, "last_administrator")
    good(edit(server, second, disabled=False))
    # One whose password opens less is none.
    helper = add(server, roles=["USER"], claims=[access.MANAGE_USERS])
    limited = add(server, by=helper, roles=["USER"])
    good(edit(server, limited, roles=["SUPER_USER"]))
    good(edit(server, second, roles=["USER"]))
    error(edit(server, "admin", disabled=True), 409, "last_administrator")
    good(edit(server, second, roles=["SUPER_USER"]))
    good(edit(server, "admin", roles=["USER"]))
    assert server.call("GET", "/users", "admin").status_code == 403


# Audit


def test_the_audit_log_tells_who_did_what(server: Server) -> None:
    name = add(server)
    good(edit(server, name, name="Other"))
    server.call("POST", f"/users/{name}/logout", "admin")
    found = good(server.call("GET", "/audit", "admin", params={"subject": f"user:{name}"}))["entries"]
    assert [entry["action"] for entry in found] == ["user.log_out", "user.edit", "user.add"]
    assert {(entry["actor"], entry["credential"]) for entry in found} == {("admin", "token")}
    assert all(entry["request_id"] for entry in found)
    assert found[1]["details"]["after"]["name"] == "Other"

    def of(**filters: object) -> list[Json]:
        query = {"limit": 1000, **filters}
        return list(good(server.call("GET", "/audit", "admin", params=query))["entries"])

    assert {entry["action"] for entry in of(action="user.edit")} == {"user.edit"}
    assert {entry["actor"] for entry in of(actor="admin")} == {"admin"}
    assert {entry["subject_kind"] for entry in of(subject="role")} <= {"role"}
    assert found[0] in of(since=found[0]["at"])
    assert of(since="2199-01-01T00:00:00Z") == []
    error(server.call("GET", "/audit", "admin", params={"since": "yesterday"}), 400, "bad_request")


def test_the_audit_log_comes_page_by_page_the_newest_first(server: Server) -> None:
    name = add(server)
    for number in range(4):
        good(edit(server, name, name=f"Name {number}"))
    query: Json = {"subject": f"user:{name}", "limit": 2}
    numbers: list[int] = []
    while True:
        page = good(server.call("GET", "/audit", "admin", params=query))
        numbers += [entry["id"] for entry in page["entries"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == 5


def test_no_secret_is_audited(server: Server) -> None:
    name = add(server)
    good(edit(server, name, password=OTHER_PASSWORD))
    secret = server.call("POST", f"/users/{name}/api_keys", "admin", json={"name": "x", "expires_in": 60}).json()[
        "secret"
    ]
    with server.services.database.reading() as session:
        texts = [str(entry.details) for entry in session.scalars(select(AuditEntry))]
    for part in (PASSWORD, OTHER_PASSWORD, base64.b64decode(secret).decode().partition(":")[2], "argon2"):
        assert not [text for text in texts if part in text]
    for header in ({"X-Api-Key": secret}, {"Authorization": f"Bearer {secret}"}):
        server.line_of(server.call("GET", "/me", headers=header))
    assert secret not in server.log


# The log


def test_the_line_of_a_request_says_who_and_which_route(server: Server) -> None:
    name = add(server)
    answers = [server.call("GET", f"/users/{other}", name) for other in (name, "admin")]
    answers.append(server.call("GET", f"/users/{name}"))
    found = [server.line_of(answer) for answer in answers]
    assert [line["status"] for line in found] == [200, 403, 401]
    assert [line.get("user") for line in found] == [name, name, None]
    assert [line.get("credential") for line in found] == ["token", "token", None]
    assert all(line["route"].endswith("/users/{user}") for line in found)
