# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.retry import Patience
from ansible_collections.macfleet.parallels.plugins.module_utils._base.signed_url import SignedUrl
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import (
    StorageDenied,
    StorageMissing,
    StorageThrottled,
    StorageUnavailable,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.retrying import RetryingTransfer
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.signed import SignedTransfer
from ansible_collections.macfleet.parallels.tests.unit.support.storage import (
    StorageServer,
    hang_up,
    short_body,
    stall,
    status,
)

DATA = os.urandom(4 << 20)


# Pauses of at most a second, three of which come to more than two.
PATIENCE = Patience(2.0, 1.0, 1.0)


class Caller:
    """Hands out URLs and remembers what it was asked, and how long it was told to wait; the clock moves by that."""

    def __init__(self, server: StorageServer, transfer: SignedTransfer, patience: Patience = PATIENCE) -> None:
        self.server = server
        self.refused: list[t.Optional[SignedUrl]] = []
        self.given: list[SignedUrl] = []
        self.waits: list[float] = []
        self.retrying: RetryingTransfer[str] = RetryingTransfer(
            transfer, self.urls, patience, sleep=self.waits.append, clock=lambda: sum(self.waits)
        )

    def urls(self, key: str, refused: t.Optional[SignedUrl]) -> SignedUrl:
        self.refused.append(refused)
        self.given.append(self.server.url(key))
        return self.given[-1]


@pytest.fixture(name="caller")
def caller_fixture(server: StorageServer, transfer: SignedTransfer) -> Caller:
    server.objects["/a"] = DATA
    return Caller(server, transfer)


def test_what_works_is_done_once(server: StorageServer, caller: Caller) -> None:
    assert caller.retrying.fetch("a", 1, 5) == DATA[1:6]
    caller.retrying.put("b", DATA)
    assert server.objects["/b"] == DATA
    assert (caller.refused, caller.waits, len(server.seen)) == ([None, None], [], 2)


def test_a_broken_range_is_resumed(server: StorageServer, caller: Caller) -> None:
    server.faults = [short_body((1 << 20) + 5), short_body(1 << 20)]
    assert caller.retrying.fetch("a", 100, 3 << 20) == DATA[100 : 100 + (3 << 20)]
    first = [int(headers["Range"][6:].split("-")[0]) for _method, _path, headers in server.seen]
    assert first[0] == 100
    assert first[1] >= 100 + (1 << 20)
    assert first[2] >= first[1] + (1 << 20)
    assert {headers["Range"].split("-")[1] for _method, _path, headers in server.seen} == {str(99 + (3 << 20))}
    assert len(caller.waits) == 2 and max(caller.waits) <= 1.0


@pytest.mark.parametrize("fault", [hang_up, stall, short_body(0), status(500), status(503)])
def test_attempts_are_bounded(server: StorageServer, caller: Caller, fault: t.Any) -> None:
    server.faults = [fault] * 10
    with pytest.raises(StorageUnavailable) as caught:
        caller.retrying.fetch("a", 0, 1000)
    assert caught.value.hint and "run the task again" in caught.value.hint
    assert len(server.seen) == len(caller.waits) + 1 > 2
    assert sum(caller.waits) <= PATIENCE.seconds


def test_each_attempt_that_receives_something_begins_the_patience_anew(
    server: StorageServer, transfer: SignedTransfer
) -> None:
    caller = Caller(server, transfer)
    server.objects["/a"] = DATA
    server.faults = [short_body(1 << 16)] * 20
    assert caller.retrying.fetch("a", 0, 2 << 20) == DATA[: 2 << 20]
    assert sum(caller.waits) > 2 * PATIENCE.seconds and len(server.seen) == 21


def test_no_patience_no_further_attempt(server: StorageServer, transfer: SignedTransfer) -> None:
    caller = Caller(server, transfer, Patience(0))
    server.faults = [status(500)]
    with pytest.raises(StorageUnavailable):
        caller.retrying.put("a", b"1")
    assert len(server.seen) == 1


def test_the_storage_may_ask_for_a_longer_delay(server: StorageServer, transfer: SignedTransfer) -> None:
    caller = Caller(server, transfer, Patience(240.0, 1.0))
    server.objects["/a"] = DATA
    server.faults = [status(503, Retry_After="7"), status(429, Retry_After="0")]
    assert caller.retrying.fetch("a", 0, 5) == DATA[:5]
    assert caller.waits[0] == 7.0 and 1.0 <= caller.waits[1] <= 2.0


def test_but_not_for_any_delay(server: StorageServer, caller: Caller) -> None:
    server.faults = [status(503, Retry_After="3600")]
    with pytest.raises(StorageThrottled):
        caller.retrying.fetch("a", 0, 5)
    assert caller.waits == []


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_an_expired_url_is_renewed_without_delay(server: StorageServer, caller: Caller, method: str) -> None:
    server.faults = [status(403)]
    if method == "GET":
        assert caller.retrying.fetch("a", 0, 5) == DATA[:5]
    else:
        caller.retrying.put("b", DATA)
        assert server.objects["/b"] == DATA
    assert (caller.refused, caller.waits) == ([None, caller.given[0]], [])


def test_a_url_that_expires_in_the_middle_is_renewed_and_goes_on(server: StorageServer, caller: Caller) -> None:
    server.faults = [short_body((1 << 20) + 5), status(403)]
    assert caller.retrying.fetch("a", 0, 2 << 20) == DATA[: 2 << 20]
    assert caller.refused == [None, None, caller.given[1]]
    assert int(server.seen[-1][2]["Range"][6:].split("-")[0]) >= 1 << 20


def test_a_renewed_url_that_is_refused_is_final(server: StorageServer, caller: Caller) -> None:
    server.faults = [status(403), status(403)]
    with pytest.raises(StorageDenied):
        caller.retrying.fetch("a", 0, 5)
    assert len(server.seen) == 2


def test_what_cannot_help_is_not_tried_again(server: StorageServer, caller: Caller) -> None:
    with pytest.raises(StorageMissing):
        caller.retrying.fetch("nothing", 0, 5)
    assert len(server.seen) == 1


def test_errors_of_the_callback_pass(server: StorageServer, caller: Caller) -> None:
    def refuse(_key: str, _refused: t.Optional[SignedUrl]) -> SignedUrl:
        raise KeyError("revoked")

    retrying: RetryingTransfer[str] = RetryingTransfer(
        SignedTransfer(lambda *_where: pytest.fail("asked")), refuse, PATIENCE, sleep=caller.waits.append
    )
    with pytest.raises(KeyError):
        retrying.fetch("a", 0, 5)
    assert caller.waits == []


def test_a_storage_that_is_away_for_four_minutes_is_waited_for(server: StorageServer, transfer: SignedTransfer) -> None:
    caller = Caller(server, transfer, Patience(240.0))
    server.objects["/a"] = DATA
    # Until the pauses add up to three and a half minutes, nobody is there.
    server.faults = [lambda handler: sum(caller.waits) < 210 and hang_up(handler)] * 100
    assert caller.retrying.fetch("a", 0, 5) == DATA[:5]
    assert 210 <= sum(caller.waits) <= 240
