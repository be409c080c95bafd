# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import threading
import time
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base import pipeline
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import SLOW
from hypothesis import given
from hypothesis import strategies as st

MAPS = [pipeline.ordered_map, pipeline.unordered_map]


class Meter:
    """Counts calls that were begun and results that were taken."""

    def __init__(self) -> None:
        self.begun = 0
        self.taken = 0
        self.most = 0
        self._lock = threading.Lock()

    def begin(self, item: int) -> int:
        with self._lock:
            self.begun += 1
            self.most = max(self.most, self.begun - self.taken)
        return item

    def take(self) -> None:
        with self._lock:
            self.taken += 1


@SLOW
@given(st.lists(st.integers(), max_size=50), st.integers(1, 5), st.integers(1, 12))
def test_every_item_has_its_result(items: list[int], workers: int, window: int) -> None:
    def double(item: int) -> int:
        return 2 * item

    doubled = [2 * item for item in items]
    assert list(pipeline.ordered_map(double, items, workers=workers, window=window)) == doubled
    assert sorted(pipeline.unordered_map(double, items, workers=workers, window=window)) == sorted(doubled)


def test_results_come_in_order_although_the_first_takes_longest() -> None:
    def work(item: int) -> int:
        time.sleep(0.02 if item == 0 else 0)
        return item

    assert list(pipeline.ordered_map(work, range(20), workers=4, window=8)) == list(range(20))


@pytest.mark.parametrize("make", MAPS)
def test_no_more_than_the_window_is_in_flight(make: t.Any) -> None:
    meter = Meter()
    with contextlib.closing(make(meter.begin, range(100), workers=4, window=6)) as stage:
        for _result in stage:
            time.sleep(0.001)
            meter.take()
    assert meter.begun == 100
    assert meter.most <= 7


@pytest.mark.parametrize("make", MAPS)
def test_items_are_drawn_as_results_are_taken(make: t.Any) -> None:
    drawn: list[int] = []

    def items() -> t.Iterator[int]:
        for number in range(100):
            drawn.append(number)
            yield number

    with contextlib.closing(make(lambda item: item, items(), workers=2, window=4)) as stage:
        next(stage)
        assert len(drawn) <= 5


@pytest.mark.parametrize("make", MAPS)
def test_the_first_error_comes_out_as_itself_and_no_thread_is_left(make: t.Any) -> None:
    before = threading.active_count()

    def work(item: int) -> int:
        if item == 5:
            raise KeyError("the fifth")
        return item

    with pytest.raises(KeyError, match="the fifth"):
        list(make(work, range(1000), workers=3, window=6))
    assert threading.active_count() == before


@pytest.mark.parametrize("make", MAPS)
def test_a_stage_that_is_closed_early_ends_its_threads(make: t.Any) -> None:
    before = threading.active_count()
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        return item

    with contextlib.closing(make(work, range(1000), workers=3, window=6)) as stage:
        next(stage)
    assert threading.active_count() == before
    assert len(begun) <= 8


@pytest.mark.parametrize("make", MAPS)
def test_what_waits_is_not_begun_any_more_when_a_stage_is_closed(make: t.Any) -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        time.sleep(0.01)
        return item

    with contextlib.closing(make(work, range(1000), workers=1, window=100)) as stage:
        next(stage)
        at_the_end = len(begun)
    # One may have been taken by the worker at that very moment.
    assert len(begun) <= at_the_end + 2


@pytest.mark.parametrize("make", MAPS)
def test_an_error_does_not_wait_for_the_calls_that_began_before_it(make: t.Any) -> None:
    waits, cancelled = threading.Event(), threading.Event()
    ended: list[bool] = []

    def work(item: int) -> int:
        if item == 1:
            assert waits.wait(10)
            raise KeyError("for good")
        waits.set()
        ended.append(cancelled.wait(10))
        raise OSError("tried again in vain")

    with pytest.raises(KeyError, match="for good"):
        list(make(work, range(2), workers=2, window=2, cancel=cancelled.set))
    assert ended == [True]


@pytest.mark.parametrize("make", MAPS)
def test_calls_that_run_are_cancelled_when_a_stage_is_closed(make: t.Any) -> None:
    waits, cancelled = threading.Event(), threading.Event()
    ended: list[bool] = []

    def work(item: int) -> int:
        if item == 1:
            waits.set()
            ended.append(cancelled.wait(10))
        return item

    with contextlib.closing(make(work, range(3), workers=2, window=2, cancel=cancelled.set)) as stage:
        assert next(stage) == 0
        assert waits.wait(10)
    assert ended == [True]


@pytest.mark.parametrize("make", MAPS)
def test_a_stage_that_ends_well_cancels_nothing(make: t.Any) -> None:
    cancelled = threading.Event()
    assert sorted(make(abs, range(10), workers=3, window=4, cancel=cancelled.set)) == list(range(10))
    assert not cancelled.is_set()


@pytest.mark.parametrize("make", MAPS)
def test_an_error_of_the_items_comes_out_as_itself(make: t.Any) -> None:
    def items() -> t.Iterator[int]:
        yield 1
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(make(lambda item: item, items(), workers=2, window=4))


def test_a_consumer_that_fails_ends_the_stage() -> None:
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        with contextlib.closing(pipeline.ordered_map(lambda item: item, range(1000), workers=2, window=4)) as stage:
            for _item in stage:
                raise KeyboardInterrupt
    assert threading.active_count() == before


def test_buffers_are_used_again() -> None:
    pool = pipeline.BufferPool(10)
    one, two = pool.take(), pool.take()
    assert len(one) == 10
    assert one is not two
    pool.give_back(one)
    assert pool.take() is one


def test_there_is_a_core() -> None:
    assert pipeline.core_count() >= 1


def test_one_at_a_time() -> None:
    running: list[int] = []
    release = threading.Event()

    def work() -> None:
        running.append(1)
        release.wait(5)

    runner = pipeline.OneAtATime(work)
    assert runner.begin()
    assert not runner.begin()
    release.set()
    runner.close()
    assert running == [1]


def test_an_error_of_a_run_is_raised_by_the_next_or_at_the_end() -> None:
    def work() -> None:
        raise OSError("the disk is gone")

    runner = pipeline.OneAtATime(work)
    runner.begin()
    with pytest.raises(OSError, match="the disk is gone"):
        while True:
            runner.begin()
    with pytest.raises(OSError, match="the disk is gone"):
        runner.close()


def test_a_runner_that_never_ran_is_closed() -> None:
    pipeline.OneAtATime(lambda: None).close()
