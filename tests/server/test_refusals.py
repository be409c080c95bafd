# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logins and API keys that are refused: the log says why, and the audit log, and nobody learns what was typed."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable

import httpx
import pytest
from catalog_server.identity import queries
from catalog_server.identity.lockouts import name_subject
from catalog_server.models.audit import AuditEntry
from conftest import StartServer
from running import PASSWORD, Server, command_work, wait_until
from sqlalchemy import select
from test_identity_api import add, edit
from transfer_client import good


def entries(server: Server, **fields: object) -> list[AuditEntry]:
    """The entries about refused logins that have all these fields."""
    with server.services.database.reading() as session:
        found = session.scalars(select(AuditEntry).where(AuditEntry.action == "login.refuse")).all()
        return [one for one in found if all(getattr(one, name) == value for name, value in fields.items())]


def audited(server: Server, **fields: object) -> AuditEntry:
    wait_until(lambda: entries(server, **fields))
    return entries(server, **fields)[0]


def user_id(server: Server, name: str) -> str:
    with server.services.database.reading() as session:
        user = queries.user_called(session, name)
        assert user is not None
        return user.id


def key_of(server: Server, name: str) -> tuple[str, str]:
    """A new API key of a user, and what goes into the header."""
    made = good(server.call("POST", f"/users/{name}/api_keys", "admin", json={"name": "x", "expires_in": 3600}))
    return made["key"], made["secret"]


def wrong_password(server: Server, name: str) -> httpx.Response:
    return server.login(name, "wrong")


def disabled(server: Server, name: str) -> httpx.Response:
    good(edit(server, name, disabled=True))
    return server.login(name)


def no_password(server: Server, name: str) -> httpx.Response:
    with command_work(server.services) as work:
        user = queries.user_called(work.session, name)
        assert user is not None
        user.password_hash = None
    return server.login(name)


def with_key(server: Server, secret: str) -> httpx.Response:
    return server.call("GET", "/me", headers={"X-Api-Key": secret})


def wrong_secret(server: Server, name: str) -> httpx.Response:
    key, _secret = key_of(server, name)
    return with_key(server, base64.b64encode(f"{key}:wrong".encode()).decode())


def revoked_key(server: Server, name: str) -> httpx.Response:
    key, secret = key_of(server, name)
    good(server.call("DELETE", f"/api_keys/{key}", "admin"))
    return with_key(server, secret)


def expired_key(server: Server, name: str) -> httpx.Response:
    key, secret = key_of(server, name)
    with command_work(server.services) as work:
        found = queries.api_key(work.session, key)
        assert found is not None
        found.expires_at = work.now
    return server.call("POST", "/auth/token", json={"api_key": secret})


@pytest.mark.parametrize(
    ("refused", "credential"),
    [
        (wrong_password, "login"),
        (no_password, "login"),
        (disabled, "login"),
        (wrong_secret, "api_key"),
        (revoked_key, "api_key"),
        (expired_key, "api_key"),
    ],
)
def test_it_is_told_why_whose_and_from_where(
    server: Server, refused: Callable[[Server, str], httpx.Response], credential: str
) -> None:
    name = add(server)
    reply = refused(server, name)
    assert reply.status_code == 401
    line = server.line_of(reply)
    assert (line["reason"], line["user"], line["client"]) == (refused.__name__, name, "127.0.0.1")
    assert line["error"] == reply.json()["error"]
    entry = audited(server, subject_id=user_id(server, name))
    assert (entry.subject_kind, entry.credential, entry.actor) == ("user", credential, "")
    assert entry.details == {"reason": refused.__name__, "address": "127.0.0.1", "user": name}
    assert entry.request_id == reply.headers["x-request-id"]


def test_a_disabled_user_with_a_key_is_told_too(server: Server) -> None:
    name = add(server)
    _key, secret = key_of(server, name)
    good(edit(server, name, disabled=True))
    assert server.line_of(with_key(server, secret))["reason"] == "disabled"


def test_a_user_that_is_locked_out_is_told(start_server: StartServer) -> None:
    server = start_server(CATALOG_LOGIN_ATTEMPTS="1")
    server.login("reader", "wrong")
    reply = server.login("reader")
    assert reply.status_code == 429
    line = server.line_of(reply)
    assert (line["error"], line["reason"], line["user"]) == ("locked_out", "locked_out", "reader")
    wait_until(lambda: {entry.details["reason"] for entry in entries(server)} == {"wrong_password", "locked_out"})
    with server.services.database.reading() as session:
        (entry,) = session.scalars(select(AuditEntry).where(AuditEntry.action == "user.lock_out"))
    assert (entry.subject_kind, entry.subject_id) == ("user", user_id(server, "reader"))
    assert entry.details == {"failures": 1, "address": "127.0.0.1", "user": "reader"}


def test_an_address_that_tries_too_often_is_told(start_server: StartServer) -> None:
    server = start_server(CATALOG_LOGIN_BURST="1", CATALOG_LOGINS_PER_MINUTE="1")
    server.login("reader", "wrong")
    line = server.line_of(server.login("reader", "wrong"))
    assert (line["status"], line["error"], line["reason"]) == (429, "locked_out", "too_many_from_address")
    wait_until(lambda: "too_many_from_address" in {entry.details["reason"] for entry in entries(server)})


def test_what_was_typed_as_a_name_is_written_nowhere(start_server: StartServer) -> None:
    """It may be the password of somebody who was in a hurry."""
    server = start_server(CATALOG_LOGIN_ATTEMPTS="1")
    typed = f"{PASSWORD} {secrets.token_hex(4)}"
    line = server.line_of(server.login(typed, "x"))
    assert (line["reason"], "user" in line) == ("unknown_user", False)
    assert server.line_of(server.login(typed, "x"))["reason"] == "locked_out"
    for text in (typed, "a colon: and no key", f"{typed}:{typed}"):
        encoded = base64.b64encode(text.encode()).decode()
        reply = with_key(server, encoded)
        assert (reply.status_code, server.line_of(reply)["status"]) == (401, 401)
        assert encoded not in server.log
    wait_until(lambda: len(entries(server, subject_id="unknown")) >= 3)
    with server.services.database.reading() as session:
        written = [f"{vars(entry)}" for entry in session.scalars(select(AuditEntry))]
    assert not [text for text in written if typed in text or PASSWORD in text]
    assert typed not in server.log
    # Nor in a form from which it could be guessed.
    assert not [text for text in written if name_subject(typed) in text]


def test_the_audit_log_is_not_filled_by_whoever_guesses(start_server: StartServer) -> None:
    server = start_server(CATALOG_LOGIN_ATTEMPTS="1000")
    last = [server.login("reader", "wrong") for _number in range(20)][-1]
    assert server.line_of(last)["reason"] == "wrong_password"
    server.login(secrets.token_hex(8), "wrong")
    for _number in range(20):
        server.login(secrets.token_hex(8), "wrong")
    wait_until(lambda: len(entries(server)) == 2)
    # Whatever is still on its way is written before the process ends.
    server.process.terminate()
    assert server.process.wait(15) == 0
    server.ended = True
    assert sorted(entry.details["reason"] for entry in entries(server)) == ["unknown_user", "wrong_password"]
