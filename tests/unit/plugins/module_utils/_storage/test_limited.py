# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import threading
import time
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.cancellation import Cancellation, Cancelled
from ansible_collections.macfleet.parallels.plugins.module_utils._base.signed_url import SignedUrl
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import (
    StorageThrottled,
    StorageUnavailable,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.limited import (
    LEAST,
    MOST,
    Growth,
    LimitedTransfer,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.signed import Buffer

PATIENCE_SECONDS = 10.0
RANGE_BYTES = 8 << 20
URL = SignedUrl("http://storage.invalid/a", 60.0)


def limits(growth: Growth, rate: t.Callable[[int], float], seconds: float) -> list[int]:
    """The limits that are tried over a link of which so many connections carry ``rate`` bytes a second in all."""
    now, found = 0.0, [growth.limit]
    while now < seconds:
        now += RANGE_BYTES / rate(growth.limit)
        growth.finished(RANGE_BYTES, now, others_wait=True)
        if growth.limit != found[-1]:
            found.append(growth.limit)
    return found


def test_where_each_connection_carries_little_there_are_many() -> None:
    assert limits(Growth(), lambda count: count * 200_000.0, 3600) == [4, 6, 9, 13, 16]


def test_where_one_connection_fills_the_link_there_are_few() -> None:
    tried = limits(Growth(), lambda count: 100_000_000.0, 3600)
    assert set(tried) == {4, 6}
    # It looks again once a minute, for a few seconds.
    assert len(tried) <= 2 * 60 + 2


def test_it_stops_where_more_connections_gain_nothing() -> None:
    tried = limits(Growth(), lambda count: min(count, 9) * 1_000_000.0, 600)
    assert tried[:3] == [4, 6, 9] and set(tried[3:]) <= {9, 13}


def test_it_does_not_grow_while_the_limit_is_not_what_limits() -> None:
    growth = Growth()
    for number in range(1000):
        growth.finished(RANGE_BYTES, float(number), others_wait=False)
    assert growth.limit == LEAST


def test_a_storage_that_asks_for_patience_gets_it() -> None:
    growth = Growth(16, 16)
    # All that run are refused together; then those that began after it.
    for now, began_at, limit in ((1.0, 0.0, 8), (1.5, 0.9, 8), (2.5, 2.0, 4), (3.0, 2.0, 4), (4.0, 3.0, 2)):
        growth.throttled(now, began_at)
        assert growth.limit == limit
    for now in (5.0, 6.0, 7.0):
        growth.throttled(now, now)
    assert growth.limit == 1
    assert limits(growth, lambda count: count * 1_000_000.0, 3600)[-1] == 16


def test_a_number_that_is_given_stays() -> None:
    assert limits(Growth(7, 7), lambda count: count * 200_000.0, 600) == [7]


class Slow:
    """A transfer whose requests wait until they are let go on; counts how many run at once."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.most = 0
        self.error: t.Optional[Exception] = None
        self._running = 0
        self._changed = threading.Condition()

    def fetch_into(
        self,
        signed: SignedUrl,
        offset: int,
        buffer: t.Union[bytearray, memoryview],
        cancellation: t.Optional[Cancellation] = None,
    ) -> None:
        self._run()

    def put(self, signed: SignedUrl, data: Buffer, cancellation: t.Optional[Cancellation] = None) -> None:
        self._run()

    def wait_for(self, running: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._running == running, PATIENCE_SECONDS)

    def _run(self) -> None:
        with self._changed:
            self._running += 1
            self.most = max(self.most, self._running)
            self._changed.notify_all()
        try:
            assert self.go_on.wait(PATIENCE_SECONDS)
            if self.error is not None:
                raise self.error
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()


def test_no_more_requests_run_at_once_than_may() -> None:
    slow = Slow()
    limited = LimitedTransfer(slow, Growth(LEAST, LEAST))
    calls: list[t.Callable[[], None]] = [
        lambda: limited.put(URL, b"1"),
        lambda: limited.fetch_into(URL, 0, bytearray(1)),
    ]
    threads = [threading.Thread(target=calls[number % 2]) for number in range(MOST)]
    for thread in threads:
        thread.start()
    slow.wait_for(LEAST)
    slow.go_on.set()
    for thread in threads:
        thread.join()
    assert slow.most == LEAST


def test_whoever_waits_can_be_ended() -> None:
    slow = Slow()

    cancellation = Cancellation()
    limited = LimitedTransfer(slow, Growth(1, 1))
    running = threading.Thread(target=lambda: limited.put(URL, b"1"))
    running.start()
    slow.wait_for(1)
    began_at = time.monotonic()
    cancellation.cancel()
    with pytest.raises(Cancelled):
        limited.put(URL, b"2", cancellation)
    assert time.monotonic() - began_at < PATIENCE_SECONDS
    slow.go_on.set()
    running.join()


@pytest.mark.parametrize(("error", "limit"), [(StorageThrottled("later"), 2), (StorageUnavailable("broken"), 4)])
def test_what_fails_gives_its_place_back(error: Exception, limit: int) -> None:
    slow = Slow()
    slow.go_on.set()
    growth = Growth()
    limited = LimitedTransfer(slow, growth)
    slow.error = error
    with pytest.raises(type(error)):
        limited.put(URL, b"1")
    assert growth.limit == limit
    slow.error = None
    for _time in range(2 * MOST):
        limited.put(URL, b"1")
