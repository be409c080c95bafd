# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This plugin util is private to the collection.

"""Signals and deadlines of the process in which an action plugin runs."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import typing as t


class Interrupted(BaseException):
    """Somebody wants this process to end."""


class Overdue(BaseException):
    """Something took longer than it may. Connection plugins try again after any Exception."""


class Signals:
    """Lets a process that has to end do one thing before.

    A worker of Ansible dies at once of the signals that it gets when a play is interrupted. Inside of this context
    they wait, or between ``deliver`` and ``hold`` are exceptions; when it is left, the signal has the effect that it
    would have had.
    """

    def __init__(self) -> None:
        self._before: dict[int, t.Any] = {}
        self._received: int | None = None
        self._delivers = False

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                # A play that nohup has started goes on when its terminal is closed.
                if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if self._received is not None:
            os.kill(os.getpid(), self._received)

    def deliver(self) -> None:
        """From now on signals are exceptions, one that waits as well."""
        self._delivers = True
        if self._received is not None:
            raise Interrupted

    def hold(self) -> None:
        """From now on signals wait."""
        self._delivers = False

    def _receive(self, number: int, _frame: t.Any) -> None:
        self._received = number
        if self._delivers:
            self._delivers = False
            raise Interrupted


@contextlib.contextmanager
def deadline(seconds: float) -> t.Iterator[None]:
    """Raise Overdue out of the block after ``seconds``, unless the task's own ``timeout`` ends it before.

    A connection whose other end has vanished without a word would be listened to for ever.
    """
    before_seconds = signal.getitimer(signal.ITIMER_REAL)[0]
    if threading.current_thread() is not threading.main_thread() or 0 < before_seconds <= seconds:
        yield
        return

    def end(_number: int, _frame: object) -> None:
        raise Overdue

    begun = time.monotonic()
    handler = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if before_seconds:
            left = before_seconds - (time.monotonic() - begun)
            signal.setitimer(signal.ITIMER_REAL, max(left, 0.001))
