# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import threading
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api import errors
from ansible_collections.macfleet.parallels.plugins.module_utils._api.auth import (
    GrantHolder,
    api_key_header,
    bearer,
    login,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._api.http import Http
from ansible_collections.macfleet.parallels.plugins.module_utils._api.records import Token
from ansible_collections.macfleet.parallels.tests.unit.support.recording import BASE_URL, Recording, refusal


def http(server: Recording) -> Http:
    return Http(BASE_URL, server.send, delays=lambda: [0.0], sleep=lambda seconds: None)


def test_login() -> None:
    server = Recording().expect(
        "POST",
        "auth/token",
        body={"email": "root", "password": "s3cr3t"},
        headers={"Authorization": None},
        reply={"email": "root@localhost", "token": "t0k3n", "expires_at": 1764000000},
    )
    token = login(http(server), "root", "s3cr3t")
    assert (token.token, token.expires_at) == ("t0k3n", 1764000000.0)
    assert "t0k3n" not in repr(token)


def test_a_wrong_password_is_tried_once_and_not_shown() -> None:
    server = Recording().expect(
        "POST",
        "auth/token",
        body={"email": "root", "password": "s3cr3t"},
        **refusal("invalid_credentials", 401, "Invalid user or password."),
    )
    with pytest.raises(errors.Unauthenticated, match="Could not log in as 'root'") as failure:
        login(http(server), "root", "s3cr3t")
    assert failure.value.code == "invalid_credentials"
    assert "s3cr3t" not in str(failure.value)
    server.finished()


def test_an_api_key_in_both_forms() -> None:
    encoded = base64.b64encode(b"KEY:secret").decode()
    assert api_key_header("KEY:secret") == {"X-Api-Key": encoded}
    assert api_key_header(f" {encoded}\n") == {"X-Api-Key": encoded}


@pytest.mark.parametrize("text", ["", "hunter2", "aHVudGVyMg==", "ü"])
def test_what_is_no_api_key_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(errors.BadRequest) as failure:
        api_key_header(text)
    assert not text or text not in str(failure.value)


@pytest.mark.parametrize("text", ["a b", "a\nb", "tökén"])
def test_a_token_that_would_break_the_header(text: str) -> None:
    with pytest.raises(errors.BadRequest):
        bearer(text)


# The grant of a host


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def holder(clock: Clock, answers: list[t.Union[Token, Exception]], asked: list[str]) -> GrantHolder:
    def renew(token: str) -> Token:
        asked.append(token)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return GrantHolder("first", 3600.0, renew, clock)


def test_a_grant_is_renewed_when_it_has_ten_minutes_left() -> None:
    clock, asked = Clock(), t.cast("list[str]", [])
    grant = holder(clock, [Token("second", 7200.0)], asked)
    clock.now = 2999.0
    assert grant.token() == "first"
    clock.now = 3001.0
    assert grant.headers() == {"Authorization": "Bearer second"}
    clock.now = 6000.0
    assert grant.token() == "second"
    assert asked == ["first"]


def test_a_server_that_does_not_answer_is_asked_again_later() -> None:
    clock, asked = Clock(), t.cast("list[str]", [])
    grant = holder(clock, [errors.Unreachable("down"), Token("second", 7200.0)], asked)
    clock.now = 3001.0
    assert grant.token() == "first"
    clock.now = 3002.0
    assert grant.token() == "first"
    clock.now = 3032.0
    assert grant.token() == "second"


def test_a_grant_that_is_too_old_is_used_until_it_expires() -> None:
    clock, asked = Clock(), t.cast("list[str]", [])
    expired = errors.Unauthenticated("too old", code="grant_expired")
    grant = holder(clock, [expired, expired], asked)
    clock.now = 3500.0
    assert grant.token() == "first"
    clock.now = 3601.0
    with pytest.raises(errors.Unauthenticated):
        grant.token()


@pytest.mark.parametrize(
    "error",
    [
        errors.Blocked("tainted", code="tainted"),
        errors.Unauthenticated("no", code="grant_revoked"),
        errors.Missing("gone"),
    ],
)
def test_lost_rights_end_the_transfer_at_once(error: Exception) -> None:
    clock, asked = Clock(), t.cast("list[str]", [])
    grant = holder(clock, [error], asked)
    clock.now = 3001.0
    with pytest.raises(type(error)):
        grant.token()


def test_a_grant_of_a_short_life_is_renewed_after_half_of_it() -> None:
    clock, asked = Clock(), t.cast("list[str]", [])
    grant = holder(clock, [Token("second", 3021.0), Token("third", 3100.0)], asked)
    for clock.now, token in ((3001.0, "second"), (3010.0, "second"), (3011.0, "third"), (3050.0, "third")):
        assert grant.token() == token
    assert asked == ["first", "second"]


def test_a_host_whose_clock_is_wrong_does_not_ask_all_the_time() -> None:
    clock, asked = Clock(), t.cast("list[str]", [])
    grant = holder(clock, [Token("second", 7000.0), Token("third", 7030.0)], asked)
    # It is two hours ahead, so everything seems to be over.
    for clock.now, token in ((7200.0, "second"), (7229.0, "second"), (7230.0, "third"), (7259.0, "third")):
        assert grant.token() == token


def test_progress_keeps_a_grant() -> None:
    clock, asked = Clock(), t.cast("list[str]", [])
    grant = holder(clock, [Token("second", 7200.0)], asked)
    for clock.now in range(0, 3600, 10):
        grant.keep()
    assert asked == ["first"]
    clock.now = 3700.0
    assert grant.token() == "second"


@pytest.mark.parametrize("error", [errors.Unreachable("down"), errors.Unauthenticated("too old", code="grant_expired")])
def test_progress_needs_no_grant(error: Exception) -> None:
    clock, asked = Clock(), t.cast("list[str]", [])
    grant = holder(clock, [error] * 3, asked)
    for clock.now in (3590.0, 3591.0, 3620.0, 3621.0, 3650.0, 3651.0):
        grant.keep()
    assert len(asked) == 3


@pytest.mark.parametrize(
    "error", [errors.Blocked("tainted", code="tainted"), errors.Unauthenticated("no", code="grant_revoked")]
)
def test_lost_rights_end_what_makes_progress(error: Exception) -> None:
    clock, asked = Clock(), t.cast("list[str]", [])
    grant = holder(clock, [error], asked)
    clock.now = 3001.0
    with pytest.raises(type(error)):
        grant.keep()


def test_where_no_grant_was_given_none_is_kept() -> None:
    GrantHolder("", 0.0, lambda token: pytest.fail("asked"), Clock()).keep()


def test_many_threads_renew_once() -> None:
    clock, asked = Clock(), t.cast("list[str]", [])
    grant = holder(clock, [Token("second", 7200.0)], asked)
    clock.now = 3001.0
    tokens: list[str] = []
    threads = [threading.Thread(target=lambda: tokens.append(grant.token())) for _number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tokens == ["second"] * 8
    assert asked == ["first"]
