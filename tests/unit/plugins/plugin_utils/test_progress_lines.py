# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.plugin_utils._progress_lines import ProgressLines, amount, duration
from hypothesis import given
from hypothesis import strategies as st


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def snapshot(done: float, elapsed: float, phase: str = "download", total: float = 12e9) -> dict[str, t.Any]:
    return {"phase": phase, "done_bytes": int(done), "total_bytes": int(total), "elapsed_seconds": elapsed, "pid": 5}


def test_a_transfer() -> None:
    clock = Clock()
    lines = ProgressLines(clock)
    said = []
    seen = [(0, 0.0), (3, 2e9), (6, 2.4e9), (8, 6e9), (12, 6.1e9), (13, 6.2e9), (43, 6.3e9), (70, 6.3e9), (78, 12e9)]
    for clock.now, done in seen:
        line = lines.line(snapshot(done, clock.now))
        if line:
            said.append(line)
    assert said == [
        "download: 2.0 GB of 12.0 GB (16 %), 667 MB/s, 15 s left",
        "download: 6.0 GB of 12.0 GB (50 %), 800 MB/s, 8 s left",
        "download: 6.3 GB of 12.0 GB (52 %), 4.8 MB/s, 19 min 38 s left",
        "download: 12.0 GB of 12.0 GB (100 %), 712 MB/s",
    ]


def test_a_phase_that_moves_nothing_is_said_after_a_while() -> None:
    clock = Clock()
    lines = ProgressLines(clock)
    assert lines.line(snapshot(0, 0)) is None
    clock.now = 6
    assert lines.line(snapshot(0, 6)) == "download: 0 B of 12.0 GB (0 %)"


def test_each_phase_begins_with_a_line() -> None:
    lines = ProgressLines(Clock())
    assert lines.line(snapshot(1e9, 1, "read")) == "read: 1.0 GB of 12.0 GB (8 %), 1.0 GB/s, 11 s left"
    assert lines.line(snapshot(6e9, 2, "read")) is None
    assert lines.line(snapshot(3e9, 2, "upload")) == "upload: 3.0 GB of 12.0 GB (25 %), 1.5 GB/s, 6 s left"


def test_the_next_look_is_when_a_line_is_due() -> None:
    clock = Clock()
    lines = ProgressLines(clock)
    assert [lines.pause() for _look in range(7)] == [1, 2, 4, 8, 15, 30, 30]
    lines.line(snapshot(1e9, 10))
    # 10 % more take 12 seconds; what the host writes may be old.
    assert lines.pause() == 13.5
    clock.now = 20.0
    assert lines.pause() == 10
    lines.line(snapshot(1.9e9, 20))
    assert lines.pause() == pytest.approx(4.8, 0.1)
    lines.line(snapshot(0.1e9, 10, "upload"))
    assert lines.pause() == 60


@pytest.mark.parametrize(
    ("result", "line"),
    [
        ({"bytes": {"downloaded": 5_000_000, "reused": 7}, "elapsed": 3.2}, "done: 5.0 MB moved, 7 B reused, 3 s"),
        ({"bytes": {"encoded": 0, "reused": 7e9}, "elapsed": 70}, "done: 0 B moved, 7.0 GB reused, 1 min 10 s"),
        ({"bytes": {"downloaded": 5, "reused": 7}, "elapsed": 3.2, "failed": True}, None),
        ({"changed": True}, None),
    ],
)
def test_the_last_line(result: dict[str, t.Any], line: str | None) -> None:
    assert ProgressLines.last(result) == line


def test_nothing_to_move_is_nothing_to_say() -> None:
    assert ProgressLines(Clock()).line(snapshot(0, 0, total=0)) is None


@given(
    st.dictionaries(
        st.sampled_from(["phase", "done_bytes", "total_bytes", "elapsed_seconds"]),
        st.one_of(st.none(), st.text(), st.integers(), st.floats(), st.lists(st.integers())),
    )
)
def test_whatever_a_host_writes_is_one_printable_line_or_none(told: dict[str, t.Any]) -> None:
    line = ProgressLines(Clock()).line(told)
    assert line is None or (line.isprintable() and len(line) < 200)


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 10**9)), max_size=60))
def test_lines_are_few(steps: list[tuple[float, int]]) -> None:
    clock, done, said = Clock(), 0, 0
    lines = ProgressLines(clock)
    for seconds, count in steps:
        clock.now += seconds
        done += count
        said += lines.line(snapshot(done, clock.now, total=10**10)) is not None
    assert said <= 1 + clock.now / 5


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (250e6, "250 MB"), (3.25e12, "3.2 TB"), (5e15, "5000.0 TB")],
)
def test_amounts(count: float, text: str) -> None:
    assert amount(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (7300, "2 h 1 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
