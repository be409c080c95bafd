# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""How far a transfer has come: counters for the workers, and a reporter beside them."""

from __future__ import annotations

import contextlib
import threading
import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.repeated import Repeated

Snapshot = t.Dict[str, t.Any]


def _ignore(snapshot: Snapshot) -> None:
    """Discard the snapshot."""


class Progress:
    """Counts bytes from any thread. Nothing but counting happens in the threads of the workers.

    While ``reporting`` is open, a thread of its own gives a snapshot to ``write`` about once a second, and whenever a
    phase begins. A snapshot holds ``phase``, ``done_bytes`` and ``total_bytes`` of the phase, its ``elapsed_seconds``,
    ``moved_bytes`` (encoded bytes that went over the network since the beginning), ``reused_bytes`` (raw bytes that
    did not have to), ``phase_seconds`` (of each phase so far), ``sequence`` (the number of the snapshot) and
    ``finished``.

    Whoever wants to end the transfer calls ``fail``, or raises out of ``write``: the error is raised by the next
    ``advance``, ``moved``, ``alive`` or ``sleep`` of every worker.
    """

    def __init__(
        self,
        write: t.Callable[[Snapshot], None] = _ignore,
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
        self._moved_bytes = 0
        self._reused_bytes = 0
        self._started_at = clock()
        self._phase_seconds: dict[str, float] = {}
        self._sequence = 0
        self._failure: t.Optional[Exception] = None
        self._failed = threading.Event()
        self._reporter: t.Optional[Repeated] = None

    def start(self, phase: str, total_bytes: int) -> None:
        """Begin a phase such as ``download``."""
        with self._lock:
            now = self._clock()
            self._count_phase(now)
            self._phase = phase
            self._done_bytes = 0
            self._total_bytes = total_bytes
            self._started_at = now
            reporter = self._reporter
        if reporter is not None:
            reporter.wake()
        self.alive()

    def advance(self, count_bytes: int) -> None:
        """Count bytes of the current phase."""
        with self._lock:
            self._done_bytes += count_bytes
        self.alive()

    def moved(self, count_bytes: int) -> None:
        """Count encoded bytes that went over the network."""
        with self._lock:
            self._moved_bytes += count_bytes
        self.alive()

    def reused(self, count_bytes: int) -> None:
        """Count raw bytes that did not have to go over the network."""
        with self._lock:
            self._reused_bytes += count_bytes

    def alive(self) -> None:
        """Raise the error with which the transfer has to end, if there is one."""
        if self._failure is not None:
            raise self._failure

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than until the transfer has to end."""
        self._failed.wait(seconds)
        self.alive()

    def fail(self, error: Exception) -> None:
        """Have every worker end with ``error``. The first one counts."""
        with self._lock:
            if self._failure is None:
                self._failure = error
        self._failed.set()

    @contextlib.contextmanager
    def reporting(self) -> t.Iterator[None]:
        """Report while the context is open, and once more at its end."""
        reporter = Repeated(self._report, self.fail, "progress")
        with self._lock:
            self._reporter = reporter
        try:
            with reporter:
                yield
        finally:
            with self._lock:
                self._reporter = None
            with contextlib.suppress(Exception):
                self._write(self.snapshot(finished=True))

    def snapshot(self, *, finished: bool = False) -> Snapshot:
        """Return the counters as they are now; see the class."""
        with self._lock:
            now = self._clock()
            self._sequence += 1
            elapsed = now - self._started_at
            seconds = dict(self._phase_seconds)
            if self._phase:
                seconds[self._phase] = seconds.get(self._phase, 0.0) + elapsed
            return {
                "phase": self._phase,
                "done_bytes": self._done_bytes,
                "total_bytes": self._total_bytes,
                "elapsed_seconds": round(elapsed, 3),
                "moved_bytes": self._moved_bytes,
                "reused_bytes": self._reused_bytes,
                "phase_seconds": {name: round(value, 1) for name, value in seconds.items()},
                "sequence": self._sequence,
                "finished": finished,
            }

    def _count_phase(self, now: float) -> None:
        if self._phase:
            before = self._phase_seconds.get(self._phase, 0.0)
            self._phase_seconds[self._phase] = before + now - self._started_at

    def _report(self) -> float:
        self._write(self.snapshot())
        return self._interval_seconds
