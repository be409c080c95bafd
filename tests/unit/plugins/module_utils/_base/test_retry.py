# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.retry import Patience, attempt, delays
from hypothesis import given
from hypothesis import strategies as st


class Failing:
    """A call that takes ``seconds`` and fails, on a clock that moves by that and by the pauses only."""

    def __init__(self, seconds: float = 0.0, *, succeeds_at: int = 0, clock_moves: bool = True) -> None:
        self.now = 0.0
        self.calls: list[float] = []
        self.pauses: list[float] = []
        self._seconds = seconds
        self._succeeds_at = succeeds_at
        self._clock_moves = clock_moves

    def __call__(self, number: int) -> str:
        self.calls.append(self.now)
        self._move(self._seconds)
        if number == self._succeeds_at:
            return "done"
        raise ConnectionRefusedError(str(number))

    def run(
        self,
        patience: Patience,
        again: t.Callable[[Exception], t.Optional[float]] = lambda error: 0.0,
        jitter: t.Callable[[], float] = lambda: 1.0,
    ) -> str:
        return attempt(self, again, patience, sleep=self._sleep, clock=lambda: self.now, jitter=jitter)

    def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self._move(seconds)

    def _move(self, seconds: float) -> None:
        if self._clock_moves:
            self.now += seconds


def test_the_bound_doubles_up_to_the_longest() -> None:
    assert list(itertools.islice(delays(Patience(9, 1.0, 5.0), lambda: 1.0), 5)) == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert list(itertools.islice(delays(Patience(9, 1.0, 5.0), lambda: 0.0), 2)) == [0.5, 1.0]


@given(st.floats(0.001, 100), st.floats(0.001, 100))
def test_there_is_a_pause_and_none_is_too_long(first: float, longest: float) -> None:
    assert all(0 < pause <= longest for pause in itertools.islice(delays(Patience(9, first, longest)), 40))


def test_what_works_is_done_once() -> None:
    call = Failing(succeeds_at=1)
    assert (call.run(Patience(240)), call.pauses) == ("done", [])


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_what_is_refused_at_once_is_tried_for_as_long_as_a_switch_takes(jitter: float) -> None:
    call = Failing()
    with pytest.raises(ConnectionRefusedError):
        call.run(Patience(240), jitter=lambda: jitter)
    assert 220 <= call.calls[-1] <= 240
    assert len(call.calls) < 40


def test_time_counts_from_the_first_failure() -> None:
    call = Failing(seconds=100.0)
    with pytest.raises(ConnectionRefusedError):
        call.run(Patience(150, 1.0, 1.0))
    # It failed at 100, 201 and 302.
    assert call.calls == [0.0, 101.0, 202.0]


def test_progress_begins_the_patience_anew() -> None:
    call = Failing(seconds=100.0)
    with pytest.raises(ConnectionRefusedError, match="6"):
        attempt(
            call,
            lambda error: 0.0,
            Patience(150, 1.0, 1.0),
            advanced=lambda error: int(str(error)) <= 4,
            sleep=call._sleep,
            clock=lambda: call.now,
            jitter=lambda: 1.0,
        )
    # The fourth attempt was the last one with progress. It failed at 403, the sixth at 605.
    assert len(call.calls) == 6


def test_hosts_that_failed_together_do_not_return_together() -> None:
    returns = set()
    for _host in range(20):
        call = Failing(succeeds_at=4)
        attempt(call, lambda error: 0.0, Patience(240), sleep=call._sleep, clock=lambda: 0.0)
        returns.add(round(call.calls[-1], 3))
    assert len(returns) > 10


def test_without_patience_there_is_one_attempt() -> None:
    call = Failing()
    with pytest.raises(ConnectionRefusedError):
        call.run(Patience(0))
    assert len(call.calls) == 1


def test_a_final_error_is_raised_at_once() -> None:
    call = Failing()
    with pytest.raises(ConnectionRefusedError):
        call.run(Patience(240), lambda error: None)
    assert len(call.calls) == 1


def test_the_other_side_may_ask_for_a_longer_pause() -> None:
    call = Failing(succeeds_at=3)
    assert call.run(Patience(240, 1.0, 5.0), lambda error: 7.0 if str(error) == "1" else 0.0) == "done"
    assert call.pauses == [7.0, 2.0]


def test_a_clock_that_stands_still_does_not_make_it_endless() -> None:
    call = Failing(clock_moves=False)
    with pytest.raises(ConnectionRefusedError):
        call.run(Patience(240))
    assert sum(call.pauses) <= 240
