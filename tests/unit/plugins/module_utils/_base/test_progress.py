# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.progress import Progress


class Watch:
    """A clock that is turned by hand, and the reports that came."""

    def __init__(self) -> None:
        self.now = 100.0
        self.reports: list[dict[str, t.Any]] = []
        self.progress = Progress(self.reports.append, clock=lambda: self.now)

    @property
    def done(self) -> list[int]:
        return [report["done_bytes"] for report in self.reports]


def test_a_phase_is_reported_when_it_begins() -> None:
    watch = Watch()
    watch.progress.start("download", 1000)
    assert watch.reports == [{"phase": "download", "done_bytes": 0, "total_bytes": 1000, "elapsed_seconds": 0.0}]


def test_bytes_are_counted_and_reported_once_a_second_at_most() -> None:
    watch = Watch()
    watch.progress.start("download", 1000)
    for _step in range(25):
        watch.now += 0.125
        watch.progress.advance(10)
    assert watch.done == [0, 80, 160, 240]
    assert [report["elapsed_seconds"] for report in watch.reports] == [0.0, 1.0, 2.0, 3.0]


def test_a_late_report_holds_all_that_was_done_meanwhile() -> None:
    watch = Watch()
    watch.progress.start("download", 1000)
    watch.progress.advance(7)
    watch.now += 60
    watch.progress.advance(3)
    assert watch.done == [0, 10]


def test_the_next_phase_begins_anew() -> None:
    watch = Watch()
    watch.progress.start("read", 10)
    watch.now += 0.5
    watch.progress.advance(10)
    watch.progress.start("upload", 20)
    assert watch.reports[-1] == {"phase": "upload", "done_bytes": 0, "total_bytes": 20, "elapsed_seconds": 0.0}


def test_nothing_is_lost_when_many_threads_count() -> None:
    watch = Watch()
    watch.progress.start("download", 8000)

    def work() -> None:
        for _step in range(1000):
            watch.progress.advance(1)

    threads = [threading.Thread(target=work) for _number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    watch.now += 1
    watch.progress.advance(0)
    assert watch.done == [0, 8000]


def test_an_interval_may_be_given() -> None:
    watch = Watch()
    progress = Progress(watch.reports.append, clock=lambda: watch.now, interval_seconds=0.0)
    progress.start("download", 3)
    progress.advance(1)
    progress.advance(1)
    assert watch.done == [0, 1, 2]


def test_what_goes_on_without_bytes_is_reported_once_a_second_at_most() -> None:
    watch = Watch()
    watch.progress.start("wait", 0)
    for _look in range(25):
        watch.now += 0.125
        watch.progress.alive()
    assert watch.done == [0, 0, 0, 0]
    assert [report["elapsed_seconds"] for report in watch.reports] == [0.0, 1.0, 2.0, 3.0]
