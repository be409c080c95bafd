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
from ansible_collections.macfleet.parallels.plugins.module_utils._api.tokens import RenewedGrant
from ansible_collections.macfleet.parallels.tests.unit.support.recording import BASE_URL, Recording, refusal


def http(server: Recording) -> Http:
    return Http(BASE_URL, server.send, sleep=lambda seconds: None)


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


class Answers:
    """A server that renews, after ``seconds``; and the times at which it was asked, with which token."""

    def __init__(self, clock: Clock, *answers: t.Union[RenewedGrant, Exception], seconds: float = 0.0) -> None:
        self.asked: list[tuple[float, str]] = []
        self._clock = clock
        self._answers = list(answers)
        self._seconds = seconds

    def __call__(self, token: str) -> RenewedGrant:
        self.asked.append((self._clock.now, token))
        self._clock.now += self._seconds
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def keep(grant: GrantHolder, clock: Clock, until: float) -> None:
    """What the thread beside a transfer does."""
    while clock.now < until:
        pause = grant.keep()
        clock.now += max(pause, 0.001)


def test_a_grant_is_renewed_when_half_of_its_lifetime_has_passed() -> None:
    clock = Clock()
    server = Answers(clock, RenewedGrant("second", 3600.0), RenewedGrant("third", 3600.0))
    grant = GrantHolder("first", 3600.0, server, clock)
    assert grant.keep() == 1800.0
    keep(grant, clock, 1799.0)
    assert (grant.token(), grant.headers()) == ("first", {"Authorization": "Bearer first"})
    keep(grant, clock, 1801.0)
    assert grant.headers() == {"Authorization": "Bearer second"}
    keep(grant, clock, 3700.0)
    assert server.asked == [(1800.0, "first"), (3600.0, "second")]


def test_the_pause_after_a_failure_counts_from_its_end() -> None:
    clock = Clock()
    server = Answers(clock, *[errors.Unreachable("down")] * 3, RenewedGrant("second", 3600.0), seconds=120.0)
    grant = GrantHolder("first", 3600.0, server, clock)
    keep(grant, clock, 2400.0)
    assert [when for when, _token in server.asked] == [1800.0, 1950.0, 2100.0, 2250.0]
    assert grant.token() == "second"


def test_nobody_waits_for_a_renewal() -> None:
    began, release = threading.Event(), threading.Event()

    def renew(token: str) -> RenewedGrant:
        began.set()
        assert release.wait(10)
        return RenewedGrant("second", 3600.0)

    clock = Clock()
    grant = GrantHolder("first", 3600.0, renew, clock)
    clock.now = 1800.0
    keeper = threading.Thread(target=grant.keep)
    keeper.start()
    assert began.wait(10)
    assert grant.token() == "first"
    release.set()
    keeper.join()
    assert grant.token() == "second"


@pytest.mark.parametrize(
    "error",
    [
        errors.Unreachable("down"),
        errors.Throttled("later"),
        errors.BadReply("the page of a proxy"),
        errors.Unauthenticated("too old", code="grant_expired"),
    ],
)
def test_a_grant_that_is_not_renewed_is_used_as_long_as_it_is_good(error: Exception) -> None:
    clock = Clock()
    server = Answers(clock, *[error] * 200)
    grant = GrantHolder("first", 3600.0, server, clock)
    keep(grant, clock, 3590.0)
    assert grant.token() == "first"
    assert len(server.asked) == 60


def test_a_grant_that_has_expired_ends_the_transfer() -> None:
    clock = Clock()
    server = Answers(clock, *[errors.Unauthenticated("too old", code="grant_expired")] * 200)
    with pytest.raises(errors.Unauthenticated):
        keep(GrantHolder("first", 3600.0, server, clock), clock, 4000.0)
    assert 3600.0 <= clock.now < 3631.0


@pytest.mark.parametrize(
    "error",
    [
        errors.Blocked("tainted", code="tainted"),
        errors.Unauthenticated("no", code="grant_revoked"),
        errors.Missing("gone"),
    ],
)
def test_lost_rights_end_the_transfer_at_once(error: Exception) -> None:
    clock = Clock()
    with pytest.raises(type(error)):
        keep(GrantHolder("first", 3600.0, Answers(clock, error), clock), clock, 4000.0)
    assert clock.now == 1800.0


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.0])
def test_a_lifetime_that_is_too_short_does_not_make_a_host_ask_all_the_time(seconds: float) -> None:
    clock = Clock()
    server = Answers(clock, *[RenewedGrant("next", seconds)] * 200)
    keep(GrantHolder("first", seconds, server, clock), clock, 60.0)
    assert len(server.asked) <= 60


def test_where_no_grant_was_given_none_is_kept() -> None:
    assert GrantHolder("", 0.0, lambda token: pytest.fail("asked"), Clock()).keep() > 0
