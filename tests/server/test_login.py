# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Passwords, API keys, login tokens and lockouts."""

from __future__ import annotations

import base64
import datetime
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import jwt
import pytest
from argon2 import PasswordHasher
from catalog_server.identity import service as users
from catalog_server.identity.login_limits import REFUSAL_SECONDS
from catalog_server.models.audit import AuditEntry
from catalog_server.models.identity import ApiKey, LoginFailure, User
from conftest import StartServer
from running import PASSWORD, Program, Server, command_work, wait_until
from sockets import resident_mib
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
    server = start_server(CATALOG_LOGIN_ATTEMPTS="3", CATALOG_LOCKOUT_SECONDS="600")
    key = new_key(server, "reader")
    for name in ("reader", "READER", "reader@localhost"):
        assert error_of(server.login(name, "wrong password")) == (401, "invalid_credentials")
    locked = server.login("reader")
    assert error_of(locked) == (429, "locked_out")
    assert 1 <= int(locked.headers["retry-after"]) <= 601
    assert "reader" not in locked.text
    # Others, and the same user's API key, go on.
    assert server.login("staff").status_code == 200
    assert server.call("GET", "/manifests", headers={"X-Api-Key": key}).status_code == 200
    with server.services.database.reading() as session:
        assert "user.lock_out" in session.scalars(select(AuditEntry.action)).all()
    with command_work(server.services) as work:
        for row in work.session.scalars(select(LoginFailure)):
            row.last_at -= datetime.timedelta(seconds=600)
    assert server.login("reader").status_code == 200


def test_a_user_that_does_not_exist_is_locked_out_as_well(start_server: StartServer) -> None:
    server = start_server(CATALOG_LOGIN_ATTEMPTS="2")
    replies = [error_of(server.login("no-such-user", "wrong password")) for _attempt in range(3)]
    assert replies == [(401, "invalid_credentials")] * 2 + [(429, "locked_out")]


def test_a_right_password_forgets_the_wrong_ones(start_server: StartServer) -> None:
    server = start_server(CATALOG_LOGIN_ATTEMPTS="2")
    for _round in range(3):
        assert server.login("reader", "wrong password").status_code == 401
        assert server.login("reader").status_code == 200


def test_known_and_unknown_names_are_locked_out_alike(start_server: StartServer) -> None:
    server = start_server(CATALOG_LOGIN_ATTEMPTS="2")
    for name in ("reader", "no-such-user"):
        for _attempt in range(2):
            assert server.login(name, "wrong password").status_code == 401
    names = ("reader", "reader@localhost", "no-such-user", "no-such-user@localhost")
    assert [error_of(server.login(name, "wrong password")) for name in names] == [(429, "locked_out")] * 4


def test_no_password_is_checked_while_attempts_cannot_be_counted(start_server: StartServer) -> None:
    server = start_server()
    with server.services.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE login_failures RENAME TO elsewhere")
    replies = [error_of(server.login("reader", password)) for password in (PASSWORD, "wrong password")]
    assert replies == [(503, "unavailable")] * 2


def from_address(server: Server, address: str, name: str, password: str = PASSWORD) -> int:
    """The status of a login that comes from an address, as a trusted proxy tells."""
    body = {"email": name, "password": password}
    return server.call("POST", "/auth/token", json=body, headers={"X-Forwarded-For": address}).status_code


def test_a_lockout_is_for_one_network(start_server: StartServer) -> None:
    server = start_server(CATALOG_LOGIN_ATTEMPTS="2")
    assert [from_address(server, "192.0.2.1", "admin", "wrong") for _attempt in range(2)] == [401, 401]
    assert from_address(server, "192.0.2.99", "admin") == 429
    assert from_address(server, "198.51.100.1", "admin") == 200
    assert from_address(server, "192.0.2.1", "reader") == 200


def test_nobody_locks_out_a_user_from_everywhere(start_server: StartServer) -> None:
    server = start_server(CATALOG_LOGIN_ATTEMPTS="1")
    assert from_address(server, "192.0.2.1", "admin") == 200
    guessed = [from_address(server, f"10.0.{number}.1", "admin", "wrong") for number in range(12)]
    # Whoever guesses from many networks is stopped …
    assert guessed == [401] * 10 + [429] * 2
    assert from_address(server, "198.51.100.1", "admin") == 429
    # … and whoever comes from where they have logged in before is not.
    assert from_address(server, "192.0.2.1", "admin") == 200


def test_another_password_ends_all_lockouts_of_a_user(start_server: StartServer) -> None:
    server = start_server(CATALOG_LOGIN_ATTEMPTS="1")
    for number in range(3):
        from_address(server, f"10.0.{number}.1", "reader", "wrong")
    assert from_address(server, "10.0.1.1", "reader") == 429
    with command_work(server.services) as work:
        users.set_password(work, "reader", server.services.passwords.hashed("another password"))
    assert from_address(server, "10.0.1.1", "reader", "another password") == 200


def test_right_passwords_at_once_do_not_lock_each_other_out(start_server: StartServer) -> None:
    server = start_server(CATALOG_LOGIN_ATTEMPTS="2")
    with ThreadPoolExecutor(16) as pool:
        assert {reply.status_code for reply in pool.map(lambda _n: server.login("reader"), range(32))} == {200}


def test_a_password_in_an_old_form_is_stored_in_the_new_one(server: Server) -> None:
    old = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)
    with command_work(server.services) as work:
        users.add(work, "oldhash", None, "", old, ["USER"], [])
    token = server.login("oldhash").json()["token"]
    with server.services.database.reading() as session:
        stored = session.scalars(select(User.password_hash).where(User.username == "oldhash")).one()
    assert stored is not None
    assert "$m=19456,t=2,p=1$" in stored
    # It is the same password: what it gave before stays good.
    assert server.call("GET", "/manifests", bearer=token).status_code == 200
    assert server.login("oldhash").status_code == 200


# What logins cost


def test_an_address_that_guesses_is_slowed_down_before_its_bodies_are_read(start_server: StartServer) -> None:
    server = start_server(CATALOG_LOGIN_BURST="3", CATALOG_LOGINS_PER_MINUTE="1")
    # Those that succeed do not count.
    assert [from_address(server, "192.0.2.1", "reader") for _login in range(6)] == [200] * 6
    guesses = [from_address(server, "192.0.2.1", f"user-{number}", "wrong") for number in range(4)]
    assert guesses == [401, 401, 401, 429]
    begun = time.monotonic()
    reply = server.call("POST", "/auth/token", content=b"{", headers={"X-Forwarded-For": "192.0.2.1"})
    assert time.monotonic() - begun >= REFUSAL_SECONDS
    assert error_of(reply) == (429, "locked_out")
    assert 1 <= int(reply.headers["retry-after"]) <= 60
    assert from_address(server, "192.0.2.2", "reader") == 200


def test_logins_at_once_leave_no_memory_behind(start_server: StartServer) -> None:
    server = start_server(Program(), CATALOG_LOGIN_ATTEMPTS="1000", CATALOG_LOG_LEVEL="info")
    assert resident_mib(server) < 120
    people = ("reader", "staff", "editor", "pusher")
    limits = httpx.Limits(max_connections=256, max_keepalive_connections=256)
    with httpx.Client(base_url=f"{server.url}/api/v1", trust_env=False, timeout=60, limits=limits) as client:

        def login(number: int) -> int:
            password = PASSWORD if number % 2 else "wrong password"
            body = {"email": people[number // 2 % len(people)], "password": password}
            for _attempt in range(20):
                status = client.post("/auth/token", json=body).status_code
                # Where a busy machine does not come to all of them in time, a client asks again.
                if status != 503:
                    break
            return status

        with ThreadPoolExecutor(64) as pool:
            assert sorted(pool.map(login, range(64))) == [200] * 32 + [401] * 32
    assert resident_mib(server, "VmHWM") < 200
    assert resident_mib(server) < 150
