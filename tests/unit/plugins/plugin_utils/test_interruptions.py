# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from ansible_collections.macfleet.parallels.plugins.plugin_utils._interruptions import (
    Interrupted,
    Overdue,
    Signals,
    deadline,
)


def test_what_takes_too_long_is_ended() -> None:
    begun = time.monotonic()
    with pytest.raises(Overdue), deadline(0.1):
        threading.Event().wait(30)
    assert time.monotonic() - begun < 10
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_is_in_time_is_not_disturbed() -> None:
    with deadline(30):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_the_timeout_of_a_task_goes_on() -> None:
    """Ansible ends a task with ``timeout`` by the same signal."""
    ended: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _frame: ended.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 60)
        with deadline(30):
            assert signal.getitimer(signal.ITIMER_REAL)[0] <= 30
        assert 50 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60
        with deadline(90):
            assert 50 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60
            signal.raise_signal(signal.SIGALRM)
        assert ended == [signal.SIGALRM]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_signal_waits_until_it_may_be_delivered() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: seen.append(number))
    try:
        with pytest.raises(Interrupted), Signals() as signals:
            os.kill(os.getpid(), signal.SIGTERM)
            assert not seen
            signals.deliver()
        # When the context is left, it has the effect that it would have had.
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("is_ignored", [True, False], ids=["nohup", "terminal"])
def test_a_play_that_nohup_has_started_goes_on_without_its_terminal(is_ignored: bool) -> None:
    received: list[int] = []
    handler = signal.SIG_IGN if is_ignored else lambda number, _frame: received.append(number)
    before = signal.signal(signal.SIGHUP, handler)
    try:
        ended = False
        with Signals() as signals:
            try:
                signals.deliver()
                signal.raise_signal(signal.SIGHUP)
            except Interrupted:
                ended = True
        assert ended != is_ignored
        assert received == ([] if is_ignored else [signal.SIGHUP])
    finally:
        signal.signal(signal.SIGHUP, before)
