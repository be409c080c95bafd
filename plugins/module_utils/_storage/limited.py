# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""How many requests run at once: a number that grows while that moves more bytes.

One connection over a long or lossy way carries little (100 ms and 1 % of loss: about 0.2 MB/s, after Mathis et al.,
"The Macroscopic Behavior of the TCP Congestion Avoidance Algorithm", 1997), and many over a short one gain nothing.
"""

from __future__ import annotations

import contextlib
import threading
import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.cancellation import Cancellation
from ansible_collections.macfleet.parallels.plugins.module_utils._base.signed_url import SignedUrl
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import StorageThrottled
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.retrying import Transfer
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.signed import Buffer

LEAST = 4
MOST = 16
# A rate is measured over at least this long.
_EPOCH_SECONDS = 2.0
# More connections are kept if they move this much more.
_WORTH = 1.1
# How long no step is tried after one that gained nothing.
_HOLD_SECONDS = 60.0
# A request that waits for its turn checks this often that the transfer need not end.
_LOOK_SECONDS = 1.0


class Growth:
    """Chooses ``limit``, the number of requests at once, by trial. Pure: the clock is handed in.

    It grows by half as long as that moves more bytes in total. A step that gains nothing is taken back. When the
    storage asks for a pause, the limit is halved, once for all requests that run at that time.
    """

    def __init__(self, least: int = LEAST, most: int = MOST) -> None:
        self.limit = least
        self._most = most
        self._before: t.Optional[int] = None
        self._rate = 0.0
        self._hold_until = float("-inf")
        self._halved_at = float("-inf")
        self._begin: t.Optional[float] = None
        self._bytes = 0
        self._requests = 0

    def finished(self, byte_count: int, now: float, *, others_wait: bool) -> None:
        """Take note of a request that moved ``byte_count`` bytes; ``others_wait`` is True if more could run."""
        if self._begin is None or not others_wait:
            # A rate says something about the limit only while requests wait for it.
            self._new_epoch(now)
            return
        self._bytes += byte_count
        self._requests += 1
        if now - self._begin < _EPOCH_SECONDS or self._requests < 2 * self.limit:
            return
        self._judge(self._bytes / (now - self._begin), now)
        self._new_epoch(now)

    def throttled(self, now: float, began_at: float) -> None:
        """Take note that the storage asks for a pause, in answer to a request that began at ``began_at``."""
        if began_at < self._halved_at:
            return
        self._halved_at = now
        self.limit = max(1, self.limit // 2)
        self._before = None
        self._hold_until = now + _HOLD_SECONDS
        self._new_epoch(now)

    def _judge(self, rate: float, now: float) -> None:
        if self._before is not None and rate < self._rate * _WORTH:
            self.limit, self._before = self._before, None
            self._hold_until = now + _HOLD_SECONDS
            return
        self._rate, self._before = rate, None
        if self.limit < self._most and now >= self._hold_until:
            self._before = self.limit
            self.limit = min(self._most, self.limit + max(1, self.limit // 2))

    def _new_epoch(self, now: float) -> None:
        self._begin, self._bytes, self._requests = now, 0, 0


class LimitedTransfer:
    """A transfer with no more requests at once than ``growth`` says; further ones wait.

    Whoever waits ends by its ``cancellation``, too.
    """

    def __init__(
        self,
        transfer: Transfer,
        growth: Growth,
        clock: t.Callable[[], float] = time.monotonic,
    ) -> None:
        self._transfer = transfer
        self._growth = growth
        self._clock = clock
        self._changed = threading.Condition()
        self._running = 0
        self._waiting = 0

    def fetch_into(
        self,
        signed: SignedUrl,
        offset: int,
        buffer: bytearray | memoryview,
        cancellation: t.Optional[Cancellation] = None,
    ) -> None:
        """See ``signed.SignedTransfer``."""
        with self._place(len(buffer), cancellation):
            self._transfer.fetch_into(signed, offset, buffer, cancellation)

    def put(self, signed: SignedUrl, data: Buffer, cancellation: t.Optional[Cancellation] = None) -> None:
        """See ``signed.SignedTransfer``."""
        with self._place(len(data), cancellation):
            self._transfer.put(signed, data, cancellation)

    @contextlib.contextmanager
    def _place(self, byte_count: int, cancellation: t.Optional[Cancellation]) -> t.Iterator[None]:
        while not self._take():
            if cancellation is not None:
                cancellation.check()
        began_at = self._clock()
        try:
            yield
        except StorageThrottled:
            with self._changed:
                self._growth.throttled(self._clock(), began_at)
            raise
        else:
            with self._changed:
                self._growth.finished(byte_count, self._clock(), others_wait=self._waiting > 0)
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _take(self) -> bool:
        """Wait a little for a free place. Returns True if there is one, which is taken then."""
        with self._changed:
            self._waiting += 1
            try:
                if not self._changed.wait_for(lambda: self._running < self._growth.limit, _LOOK_SECONDS):
                    return False
            finally:
                self._waiting -= 1
            self._running += 1
            return True
