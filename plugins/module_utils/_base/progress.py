# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""How far a transfer has come: counters handed down, throttled snapshots handed up."""

from __future__ import annotations

import threading
import time
import typing as t

Snapshot = t.Dict[str, t.Any]


class Progress:
    """Counts bytes from any thread and reports at most once a second.

    It is also how those who watch a transfer get to look after it while it goes on: ``write`` receives
    ``{"phase", "done_bytes", "total_bytes", "elapsed_seconds"}``; it runs in the thread that advanced the counter.
    """

    def __init__(
        self,
        write: t.Callable[[Snapshot], None],
        *,
        clock: t.Callable[[], float] = time.monotonic,
        interval_seconds: float = 1.0,
    ) -> None:
        self._write = write
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._lock = threading.Lock()
        self._phase = ""
        self._done_bytes = 0
        self._total_bytes = 0
        self._started_at = clock()
        self._reported_at = float("-inf")

    def start(self, phase: str, total_bytes: int) -> None:
        """Begin a phase such as ``download``; reports at once."""
        with self._lock:
            self._phase = phase
            self._done_bytes = 0
            self._total_bytes = total_bytes
            self._started_at = self._clock()
            self._report()

    def advance(self, count_bytes: int) -> None:
        """Count bytes of the current phase."""
        with self._lock:
            self._done_bytes += count_bytes
            if self._clock() - self._reported_at >= self._interval_seconds:
                self._report()

    def alive(self) -> None:
        """Say that it goes on though no byte can be counted; whoever watches may end it by an exception."""
        self.advance(0)

    def _report(self) -> None:
        now = self._clock()
        self._reported_at = now
        self._write(
            {
                "phase": self._phase,
                "done_bytes": self._done_bytes,
                "total_bytes": self._total_bytes,
                "elapsed_seconds": round(now - self._started_at, 3),
            }
        )
