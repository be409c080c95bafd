# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Ends calls in other threads whose results nobody wants any more."""

from __future__ import annotations

import contextlib
import threading
import time
import typing as t

# A pause looks so often if it has to end.
_LOOK_SECONDS = 0.5


class Cancelled(Exception):
    """The result of the call is not wanted any more. Whoever cancelled it knows why."""


class Cancellation:
    """Says to calls in other threads that they have to end; usable from several threads.

    ``alive`` is called wherever a call looks; an exception of it ends the call, too. ``sleep`` is that of the pauses.
    """

    def __init__(
        self, alive: t.Callable[[], None] = lambda: None, sleep: t.Callable[[float], None] = time.sleep
    ) -> None:
        self._alive = alive
        self._sleep = sleep
        self._lock = threading.Lock()
        self._cancelled = False
        self._callbacks: t.Dict[object, t.Callable[[], None]] = {}

    def cancel(self) -> None:
        """Have the calls end. A second time has no effect."""
        with self._lock:
            self._cancelled = True
            callbacks, self._callbacks = self._callbacks, {}
            # Under the lock, so that none is called after its context has ended.
            for callback in callbacks.values():
                callback()

    def check(self) -> None:
        """Return if the call may go on.

        :raises Cancelled: it may not
        """
        self._alive()
        if self._cancelled:
            raise Cancelled

    def sleep(self, seconds: float) -> None:
        """Wait, but not much longer than until the call has to end.

        :raises Cancelled: it has to
        """
        left_seconds = seconds
        while left_seconds > 0:
            self.check()
            part_seconds = min(left_seconds, _LOOK_SECONDS)
            self._sleep(part_seconds)
            left_seconds -= part_seconds
        self.check()

    @contextlib.contextmanager
    def calling(self, callback: t.Callable[[], None]) -> t.Iterator[None]:
        """Have ``callback`` called, in another thread, if the call has to end while the context is open.

        It must not wait.

        :raises Cancelled: the call has to end already
        """
        self.check()
        key = object()
        with self._lock:
            if self._cancelled:
                raise Cancelled
            self._callbacks[key] = callback
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.pop(key, None)
