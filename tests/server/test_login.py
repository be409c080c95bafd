# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Passwords, API keys, login tokens and lockouts."""

from __future__ import annotations

import base64
import statistics
import time

import httpx
import jwt
import pytest
from catalog_server.identity import service as users
from catalog_server.models.audit import AuditEntry
from catalog_server.models.identity import ApiKey, User
from conftest import StartServer
from running import PASSWORD, Server, command_work, wait_until
from sqlalchemy import select


def new_key(server: Server, username: str, seconds: float | None = None) -> str:
    with command_work(server.services) as work:
        expires_at = work.in_seconds(seconds) if seconds is not None else None
        return users.add_key(work, username, "test", expires_at).encoded


def error_of(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]


@pytest.mark.parametrize("prefix", ["/api/v1", "/api"])
@pytest.mark.parametrize(
    "body", [{"email": "reader"}, {"email": "reader@localhost"}, {"email": "READER"}, {"username": "Reader"}]
)
def test_login_in_the_stock_shape(server: Server, prefix: str, body: dict[str, str]) -> None:
    reply = httpx.post(f"{server.url}{prefix}/auth/token", json={**body, "password": PASSWORD}, trust_env=False)
    assert reply.status_code == 200
    assert set(reply.json()) == {"email", "token", "expires_at"}
    assert reply.json()["email"] == "reader@localhost"
    assert 850 < reply.json()["expires_at"] - time.time() <= 901
    shown = jwt.decode(reply.json()["token"], options={"verify_signature": False})
    assert (shown["username"], shown["roles"], shown["exp"]) == ("Reader", ["USER"], reply.json()["expires_at"])
    assert "LIST_CATALOG_MANIFEST" in shown["claims"]


def test_login_by_user_id(server: Server) -> None:
    with server.services.database.reading() as session:
        user_id = session.scalars(select(User.id).where(User.username == "reader")).one()
    assert server.login(user_id).status_code == 200


@pytest.mark.parametrize(
    "body",
    [{}, {"email": "reader"}, {"password": PASSWORD}, {"email": "", "password": PASSWORD}, {"username": 1}],
)
def test_a_login_that_lacks_something(server: Server, body: dict[str, str]) -> None:
    assert error_of(server.call("POST", "/auth/token", json=body)) == (400, "bad_request")


def test_unknown_user_and_wrong_password_look_the_same(start_server: StartServer) -> None:
    server = start_server(CATALOG_LOGIN_ATTEMPTS="1000")
    replies = {name: server.login(name, "wrong password") for name in ("reader", "no-such-user")}
    assert {error_of(reply) for reply in replies.values()} == {(401, "invalid_credentials")}
    assert replies["reader"].json() == replies["no-such-user"].json()
    times: dict[str, list[float]] = {"reader": [], "no-such-user": []}
    for _round in range(15):
        for name, spent in times.items():
            begun = time.perf_counter()
            server.login(name, "wrong password")
            spent.append(time.perf_counter() - begun)
    known, unknown = (statistics.median(spent) for spent in times.values())
    # One hash each: without it, the second would take a tenth of the first.
    assert 0.5 < unknown / known < 2


def test_no_password_never_matches(server: Server) -> None:
    with command_work(server.services) as work:
        users.add(work, "keys-only", None, "", None, [], [])
    assert error_of(server.login("keys-only", "wrong password")) == (401, "invalid_credentials")


def test_another_password_ends_the_logins_of_before(server: Server) -> None:
    with command_work(server.services) as work:
        users.add(work, "changing", None, "", server.services.passwords.hashed(PASSWORD), [], [])
    token = server.token("changing")
    assert server.call("GET", "/manifests", bearer=token).status_code == 200
    with command_work(server.services) as work:
        users.set_password(work, "changing", server.services.passwords.hashed("another password"))
    assert error_of(server.call("GET", "/manifests", bearer=token)) == (401, "token_expired")
    assert server.login("changing").status_code == 401
    assert server.login("changing", "another password").status_code == 200


def test_rights_are_read_anew_each_time(server: Server) -> None:
    with command_work(server.services) as work:
        users.add(work, "promoted", None, "", server.services.passwords.hashed(PASSWORD), [], ["READ_ONLY"])
    token = server.token("promoted")
    assert error_of(server.call("GET", "/manifests", bearer=token)) == (403, "forbidden")
    with command_work(server.services) as work:
        users.set_fields(work, "promoted", claims=["list_catalog_manifest"])
    assert server.call("GET", "/manifests", bearer=token).status_code == 200
    with command_work(server.services) as work:
        users.delete(work, "promoted")
    assert error_of(server.call("GET", "/manifests", bearer=token)) == (401, "unauthenticated")


def test_a_token_expires(start_server: StartServer) -> None:
    server = start_server(CATALOG_TOKEN_SECONDS="1")
    token = server.login("reader").json()["token"]
    wait_until(lambda: server.call("GET", "/manifests", bearer=token).status_code == 401)
    assert error_of(server.call("GET", "/manifests", bearer=token)) == (401, "token_expired")


def _forged() -> dict[str, str]:
    claims = {"typ": "login", "uid": "0" * 32, "pwv": 1, "exp": 2**40}
    return {
        "no token": "rubbish",
        "another key": jwt.encode(claims, "k" * 32, algorithm="HS256"),
        "no signature": jwt.encode(claims, None, algorithm="none"),
        "no type": jwt.encode({"exp": 2**40}, "k" * 32, algorithm="HS256"),
        "another type": jwt.encode({**claims, "typ": ["login"]}, "k" * 32, algorithm="HS256"),
        "too long": "x" * 20000,
    }


@pytest.mark.parametrize("kind", list(_forged()))
def test_tokens_that_are_none_of_ours(server: Server, kind: str) -> None:
    reply = server.call("GET", "/manifests", headers={"Authorization": f"Bearer {_forged()[kind]}"})
    assert error_of(reply) == (401, "unauthenticated")
    assert reply.headers["www-authenticate"] == "Bearer"


def test_a_signed_token_with_a_changed_payload(server: Server) -> None:
    head, payload, signature = server.token("reader").split(".")
    claims = base64.urlsafe_b64decode(payload + "==").replace(b"USER", b"SUPR")
    forged = ".".join((head, base64.urlsafe_b64encode(claims).decode().rstrip("="), signature))
    assert error_of(server.call("GET", "/manifests", bearer=forged)) == (401, "unauthenticated")


@pytest.mark.parametrize("header", ["Basic cmVhZGVyOng=", "Bearer", "reader"])
def test_other_schemes_are_refused(server: Server, header: str) -> None:
    reply = server.call("GET", "/manifests", headers={"Authorization": header})
    assert error_of(reply) == (401, "unauthenticated")


# API keys


def test_an_api_key_acts_as_its_user(server: Server) -> None:
    key = new_key(server, "reader")
    assert server.call("GET", "/manifests", headers={"X-Api-Key": key}).status_code == 200
    refused = server.call("POST", f"/manifests/{'0' * 64}/taint", headers={"X-Api-Key": key})
    assert error_of(refused) == (403, "forbidden")
    login = server.call("POST", "/auth/token", json={"api_key": key})
    assert login.json()["email"] == "reader@localhost"
    assert server.call("GET", "/manifests", bearer=login.json()["token"]).status_code == 200


def test_the_secret_of_a_key_is_not_in_the_database(server: Server) -> None:
    key = new_key(server, "reader")
    name, secret = base64.b64decode(key).decode().split(":")
    with server.services.database.reading() as session:
        stored = session.scalars(select(ApiKey).where(ApiKey.key == name)).one()
    assert secret not in str(vars(stored))
    assert len(base64.urlsafe_b64decode(secret + "==")) * 8 >= 128


def _spoilt(key: str) -> dict[str, str]:
    name, secret = base64.b64decode(key).decode().split(":")
    return {
        "other secret": base64.b64encode(f"{name}:{secret}x".encode()).decode(),
        "other key": base64.b64encode(f"X{name}:{secret}".encode()).decode(),
        "no secret": base64.b64encode(f"{name}:".encode()).decode(),
        "no colon": base64.b64encode(name.encode()).decode(),
        "not base64": f"{name}:{secret}",
        "not text": base64.b64encode(b"\xff\xfe:\xff").decode(),
        "empty": "",
    }


@pytest.mark.parametrize("kind", list(_spoilt(base64.b64encode(b"a:b").decode())))
def test_api_keys_that_are_none(server: Server, kind: str) -> None:
    spoilt = _spoilt(new_key(server, "reader"))[kind]
    assert error_of(server.call("GET", "/manifests", headers={"X-Api-Key": spoilt})) == (401, "invalid_credentials")
    if spoilt:
        login = server.call("POST", "/auth/token", json={"api_key": spoilt})
        assert error_of(login) == (401, "invalid_credentials")


def test_a_key_expires_and_no_token_outlives_it(server: Server) -> None:
    key = new_key(server, "reader", 2)
    assert server.call("POST", "/auth/token", json={"api_key": key}).json()["expires_at"] <= time.time() + 3
    wait_until(lambda: server.call("GET", "/manifests", headers={"X-Api-Key": key}).status_code == 401)
    assert error_of(server.call("GET", "/manifests", headers={"X-Api-Key": key})) == (401, "token_expired")


def test_a_key_is_revoked(server: Server) -> None:
    key = new_key(server, "reader")
    with command_work(server.services) as work:
        assert users.revoke_key(work, base64.b64decode(key).decode().split(":")[0])
    assert error_of(server.call("GET", "/manifests", headers={"X-Api-Key": key})) == (401, "invalid_credentials")


# Lockout


def test_too_many_wrong_passwords_lock_a_user_out_for_a_while(start_server: StartServer) -> None:
    server = start_server(CATALOG_LOGIN_ATTEMPTS="3", CATALOG_LOCKOUT_SECONDS="2")
    key = new_key(server, "reader")
    for name in ("reader", "READER", "reader@localhost"):
        assert error_of(server.login(name, "wrong password")) == (401, "invalid_credentials")
    locked = server.login("reader")
    assert error_of(locked) == (429, "locked_out")
    assert 1 <= int(locked.headers["retry-after"]) <= 3
    assert "reader" not in locked.text
    # Others, and the same user's API key, go on.
    assert server.login("staff").status_code == 200
    assert server.call("GET", "/manifests", headers={"X-Api-Key": key}).status_code == 200
    with server.services.database.reading() as session:
        assert "user.lock_out" in session.scalars(select(AuditEntry.action)).all()
    wait_until(lambda: server.login("reader").status_code == 200)


def test_a_user_that_does_not_exist_is_locked_out_as_well(start_server: StartServer) -> None:
    server = start_server(CATALOG_LOGIN_ATTEMPTS="2")
    replies = [error_of(server.login("no-such-user", "wrong password")) for _attempt in range(3)]
    assert replies == [(401, "invalid_credentials")] * 2 + [(429, "locked_out")]


def test_a_right_password_forgets_the_wrong_ones(start_server: StartServer) -> None:
    server = start_server(CATALOG_LOGIN_ATTEMPTS="2")
    for _round in range(3):
        assert server.login("reader", "wrong password").status_code == 401
        assert server.login("reader").status_code == 200
