# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This plugin util is private to the collection.

"""Lines that say how far a transfer has come, few enough for the log of a job. Pure."""

from __future__ import annotations

import time
import typing as t

QUIET_SECONDS = 5.0
SILENT_SECONDS = 30.0
STEP = 0.1
# No transfer has more bytes, or takes more seconds; whatever a host writes, its line stays short.
_MOST = 1e18


class ProgressLines:
    """Turns snapshots into lines: one when a phase begins, then one each 10 %, or after half a minute."""

    def __init__(self, clock: t.Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._phase: str | None = None
        self._said_at = 0.0
        self._done = 0
        self._elapsed = 0.0

    def line(self, snapshot: t.Mapping[str, t.Any]) -> str | None:
        """The line to show now, if one is due."""
        phase, done, total, elapsed = _fields(snapshot)
        now = self._clock()
        if phase != self._phase:
            self._phase, self._done, self._elapsed = phase, 0, 0.0
        elif now - self._said_at < SILENT_SECONDS and (
            done - self._done < STEP * total or now - self._said_at < QUIET_SECONDS
        ):
            return None
        if total <= 0:
            return None
        rate = (done - self._done) / (elapsed - self._elapsed) if elapsed > self._elapsed else 0.0
        self._said_at, self._done, self._elapsed = now, done, elapsed
        return _text(phase, done, total, rate)


def _fields(snapshot: t.Mapping[str, t.Any]) -> tuple[str, int, int, float]:
    """What is in a snapshot, whoever wrote it."""
    numbers = []
    for name in ("done_bytes", "total_bytes", "elapsed_seconds"):
        value = snapshot.get(name)
        numbers.append(value if isinstance(value, (int, float)) and 0 <= value < _MOST else 0)
    phase = snapshot.get("phase")
    phase = "".join(character for character in str(phase or "")[:40] if character.isalnum() or character in " -_")
    return phase, int(numbers[0]), int(numbers[1]), float(numbers[2])


def _text(phase: str, done: int, total: int, rate: float) -> str:
    text = f"{phase or 'transfer'}: {amount(done)} of {amount(total)} ({min(100, done * 100 // total)} %)"
    if rate > 0:
        text += f", {amount(rate)}/s"
        if done < total:
            text += f", {duration((total - done) / rate)} left"
    return text


def amount(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """A time for people."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
