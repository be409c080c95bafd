# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import threading
import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.repeated import Repeated

PATIENCE_SECONDS = 10.0


class Calls:
    """When calls began and ended; the ``last`` one says so."""

    def __init__(self, seconds: float, pause: float, last: int) -> None:
        self.times: list[tuple[float, float]] = []
        self.finished = threading.Event()
        self.failures: list[Exception] = []
        self._seconds = seconds
        self._pause = pause
        self._last = last

    def __call__(self) -> float:
        began_at = time.monotonic()
        time.sleep(self._seconds)
        self.times.append((began_at, time.monotonic()))
        if len(self.times) == self._last:
            self.finished.set()
        return self._pause

    def repeated(self) -> Repeated:
        return Repeated(self, self.failures.append, "test")


def test_the_pause_counts_from_the_end_of_a_call() -> None:
    calls = Calls(0.05, 0.05, 4)
    with calls.repeated():
        assert calls.finished.wait(PATIENCE_SECONDS)
    pauses = [after[0] - before[1] for before, after in zip(calls.times, calls.times[1:])]
    assert min(pauses) >= 0.049


def test_a_pause_can_be_ended() -> None:
    calls = Calls(0.0, 3600.0, 2)
    with calls.repeated() as repeated:
        while not calls.finished.wait(0.01):
            repeated.wake()
    assert len(calls.times) >= 2


def test_nothing_runs_after_the_end() -> None:
    calls = Calls(0.0, 0.0, 1)
    with calls.repeated():
        assert calls.finished.wait(PATIENCE_SECONDS)
    count = len(calls.times)
    time.sleep(0.05)
    assert len(calls.times) == count


def test_an_error_is_handed_over_and_ends_it() -> None:
    failures: list[Exception] = []
    failed = threading.Event()

    def fails() -> float:
        raise KeyError("no")

    def keep(error: Exception) -> None:
        failures.append(error)
        failed.set()

    with Repeated(fails, keep, "test"):
        assert failed.wait(PATIENCE_SECONDS)
    assert [type(error) for error in failures] == [KeyError]


def test_a_call_that_hangs_does_not_hold_up_the_end() -> None:
    release = threading.Event()
    began = threading.Event()

    def hangs() -> float:
        began.set()
        release.wait(PATIENCE_SECONDS)
        return 0.0

    unseen: t.List[Exception] = []
    began_at = time.monotonic()
    with Repeated(hangs, unseen.append, "test"):
        assert began.wait(PATIENCE_SECONDS)
    assert time.monotonic() - began_at < PATIENCE_SECONDS / 2
    release.set()
