# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
import time
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.progress import Progress

PATIENCE_SECONDS = 10.0


class Clock:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Reports:
    """The snapshots that came, and in which thread."""

    def __init__(self) -> None:
        self.came: list[dict[str, t.Any]] = []
        self.threads: set[int] = set()
        self._changed = threading.Condition()

    def __call__(self, snapshot: dict[str, t.Any]) -> None:
        with self._changed:
            self.came.append(snapshot)
            self.threads.add(threading.get_ident())
            self._changed.notify_all()

    def wait(self, wanted: t.Callable[[dict[str, t.Any]], bool]) -> dict[str, t.Any]:
        """The first snapshot that is wanted."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(map(wanted, self.came)), PATIENCE_SECONDS), self.came
            return next(filter(wanted, self.came))


def numbers(snapshot: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {name: snapshot[name] for name in ("phase", "done_bytes", "total_bytes", "elapsed_seconds")}


def test_a_phase_is_counted_from_its_beginning() -> None:
    clock = Clock()
    progress = Progress(clock=clock)
    progress.start("read", 10)
    clock.now += 2.5
    progress.advance(10)
    progress.start("download", 1000)
    clock.now += 4
    progress.advance(7)
    progress.advance(3)
    assert numbers(progress.snapshot()) == {
        "phase": "download",
        "done_bytes": 10,
        "total_bytes": 1000,
        "elapsed_seconds": 4.0,
    }
    assert progress.snapshot()["phase_seconds"] == {"read": 2.5, "download": 4.0}


def test_a_phase_that_comes_again_is_one_phase_in_the_seconds() -> None:
    clock = Clock()
    progress = Progress(clock=clock)
    for phase in ("verify", "wait", "verify"):
        progress.start(phase, 0)
        clock.now += 1
    assert progress.snapshot()["phase_seconds"] == {"verify": 2.0, "wait": 1.0}


def test_bytes_of_the_network_and_of_this_host_are_counted_over_all_phases() -> None:
    progress = Progress()
    progress.start("verify", 5)
    progress.reused(100)
    progress.start("download", 5)
    progress.moved(7)
    progress.moved(8)
    found = progress.snapshot(finished=True)
    assert (found["moved_bytes"], found["reused_bytes"], found["done_bytes"], found["finished"]) == (15, 100, 0, True)


def test_nothing_is_lost_when_many_threads_count() -> None:
    progress = Progress()
    progress.start("download", 8000)

    def work() -> None:
        for _step in range(1000):
            progress.advance(1)

    threads = [threading.Thread(target=work) for _number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert progress.snapshot()["done_bytes"] == 8000


def test_a_thread_of_its_own_reports_also_while_nothing_moves() -> None:
    reports = Reports()
    progress = Progress(reports, interval_seconds=0.02)
    progress.start("wait", 0)
    with progress.reporting():
        reports.wait(lambda report: report["sequence"] >= 4)
    assert [report["sequence"] for report in reports.came] == list(range(1, len(reports.came) + 1))
    assert [report["finished"] for report in reports.came] == [False] * (len(reports.came) - 1) + [True]
    progress.advance(1)
    time.sleep(0.1)
    assert reports.came[-1]["finished"]


def test_a_phase_is_reported_when_it_begins() -> None:
    reports = Reports()
    progress = Progress(reports, interval_seconds=3600.0)
    with progress.reporting():
        reports.wait(lambda report: report["phase"] == "")
        progress.start("download", 5)
        reports.wait(lambda report: report["phase"] == "download")


def test_a_report_that_takes_long_stops_nobody() -> None:
    release = threading.Event()
    reports = Reports()

    def write(snapshot: dict[str, t.Any]) -> None:
        reports(snapshot)
        release.wait(PATIENCE_SECONDS)

    progress = Progress(write, interval_seconds=0.0)
    with progress.reporting():
        reports.wait(lambda report: True)
        began_at = time.monotonic()
        for _step in range(1000):
            progress.advance(1)
        assert time.monotonic() - began_at < PATIENCE_SECONDS / 2
        release.set()
    assert reports.came[-1]["done_bytes"] == 1000


@pytest.mark.parametrize("name", ["advance", "moved", "alive", "sleep", "start"])
def test_what_the_reporter_raises_ends_every_worker(name: str) -> None:
    def write(_snapshot: dict[str, t.Any]) -> None:
        raise KeyError("cancelled")

    progress = Progress(write)
    calls: dict[str, t.Callable[[], None]] = {
        "advance": lambda: progress.advance(1),
        "moved": lambda: progress.moved(1),
        "alive": progress.alive,
        "sleep": lambda: progress.sleep(0.01),
        "start": lambda: progress.start("download", 1),
    }
    ended: list[bool] = []

    def work() -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        try:
            while time.monotonic() < deadline:
                calls[name]()
        except KeyError:
            ended.append(True)

    with progress.reporting():
        threads = [threading.Thread(target=work) for _number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert ended == [True] * 3


def test_a_worker_that_sleeps_wakes_up_to_end() -> None:
    progress = Progress()
    timer = threading.Timer(0.05, lambda: progress.fail(KeyError("first")))
    timer.start()
    began_at = time.monotonic()
    with pytest.raises(KeyError, match="first"):
        progress.sleep(PATIENCE_SECONDS)
    assert time.monotonic() - began_at < PATIENCE_SECONDS / 2
    progress.fail(ValueError("second"))
    with pytest.raises(KeyError, match="first"):
        progress.alive()


def test_nobody_need_watch() -> None:
    progress = Progress()
    with progress.reporting():
        progress.start("download", 5)
        progress.advance(5)
        progress.sleep(0)
