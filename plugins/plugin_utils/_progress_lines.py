# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This plugin util is private to the collection.

"""Lines that say how far a transfer has come, few enough for the log of a job. Pure."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, replace

# A line is due after this share of the bytes, but not before QUIET_SECONDS, nor after SILENT_SECONDS. A transfer that
# has more than LONG_SECONDS left is said something of each LONG_SILENT_SECONDS: two hundred hosts share a log.
STEP = 0.1
QUIET_SECONDS = 5.0
SILENT_SECONDS = 30.0
LONG_SECONDS = 300.0
LONG_SILENT_SECONDS = 60.0
# As long as nobody knows how fast it is, whoever watches looks after these pauses.
FIRST_PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0)
# The host writes its progress once a second.
_STALE_SECONDS = 1.5
# No transfer has more bytes, or takes more seconds; whatever a host writes, its line stays short.
_MOST = 1e18


@dataclass(frozen=True)
class _Progress:
    """A snapshot of a transfer, and how fast it was since the last line about its phase."""

    phase: str
    done_bytes: int
    total_bytes: int
    elapsed_seconds: float
    bytes_per_second: float = 0.0

    def since(self, before: _Progress | None) -> _Progress:
        """Return the same with the rate since ``before``."""
        if before is None or before.phase != self.phase:
            before = _Progress(self.phase, 0, self.total_bytes, 0.0)
        seconds = self.elapsed_seconds - before.elapsed_seconds
        rate = (self.done_bytes - before.done_bytes) / seconds if seconds > 0 else 0.0
        return replace(self, bytes_per_second=max(rate, 0.0))

    @property
    def left_seconds(self) -> float | None:
        """How long the phase will take, or None if that cannot be known."""
        rate = self.bytes_per_second
        return (self.total_bytes - self.done_bytes) / rate if rate else None

    @property
    def silence_seconds(self) -> float:
        """How long nothing may be said of it."""
        return LONG_SILENT_SECONDS if (self.left_seconds or 0) > LONG_SECONDS else SILENT_SECONDS


class ProgressLines:
    """Turns snapshots into lines: one when a phase has moved its first bytes, then one each 10 %, or after a while."""

    def __init__(self, clock: t.Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said_at = clock()
        self._said: _Progress | None = None
        self._last: _Progress | None = None
        self._pauses = iter(FIRST_PAUSES_SECONDS)

    def line(self, snapshot: t.Mapping[str, t.Any]) -> str | None:
        """Return the line to show now, if one is due."""
        now = self._clock()
        progress = self._last = _progress(snapshot).since(self._said)
        if progress.total_bytes <= 0:
            return None
        said, silent_seconds = self._said, now - self._said_at
        if said is None or said.phase != progress.phase:
            is_due = progress.done_bytes > 0 or silent_seconds >= QUIET_SECONDS
        else:
            moved = progress.done_bytes - said.done_bytes
            is_due = silent_seconds >= QUIET_SECONDS and moved >= STEP * progress.total_bytes
            is_due = is_due or silent_seconds >= progress.silence_seconds
        if not is_due:
            return None
        self._said, self._said_at = progress, now
        return _text(progress)

    def pause(self) -> float:
        """Return after how many seconds the next line is due, as far as that can be known."""
        progress = self._last
        if progress is None or not progress.bytes_per_second:
            return self.pause_in_the_dark()
        silent_seconds = self._clock() - self._said_at
        said_bytes = self._said.done_bytes if self._said is not None and self._said.phase == progress.phase else 0
        step_bytes = said_bytes + STEP * progress.total_bytes - progress.done_bytes
        step_seconds = max(step_bytes / progress.bytes_per_second + _STALE_SECONDS, QUIET_SECONDS - silent_seconds)
        return max(1.0, min(step_seconds, progress.silence_seconds - silent_seconds))

    def pause_in_the_dark(self) -> float:
        """Return after how many seconds to look again when nothing is known of the transfer."""
        return next(self._pauses, SILENT_SECONDS)

    @staticmethod
    def last(result: t.Mapping[str, t.Any]) -> str | None:
        """Return the line about what a push or pull has moved, from its result; None if it failed."""
        sizes, seconds = result.get("bytes"), result.get("elapsed")
        if result.get("failed") or not isinstance(sizes, dict) or not isinstance(seconds, (int, float)):
            return None
        moved = _number(sizes["downloaded"] if "downloaded" in sizes else sizes.get("encoded"))
        reused = _number(sizes.get("reused"))
        return f"done: {amount(moved)} moved, {amount(reused)} reused, {duration(_number(seconds))}"


def _progress(snapshot: t.Mapping[str, t.Any]) -> _Progress:
    """Return what is in a snapshot, whoever wrote it."""
    numbers = [_number(snapshot.get(name)) for name in ("done_bytes", "total_bytes", "elapsed_seconds")]
    phase = snapshot.get("phase")
    phase = "".join(character for character in str(phase or "")[:40] if character.isalnum() or character in " -_")
    return _Progress(phase, int(numbers[0]), int(numbers[1]), float(numbers[2]))


def _number(value: t.Any) -> float:
    """Return a number of bytes or seconds, or 0 if it cannot be one."""
    return value if isinstance(value, (int, float)) and 0 <= value < _MOST else 0


def _text(progress: _Progress) -> str:
    done, total = progress.done_bytes, progress.total_bytes
    text = f"{progress.phase or 'transfer'}: {amount(done)} of {amount(total)} ({min(100, done * 100 // total)} %)"
    if progress.bytes_per_second:
        text += f", {amount(progress.bytes_per_second)}/s"
        if done < total:
            text += f", {duration(progress.left_seconds or 0)} left"
    return text


def amount(count: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """Return a time as people read it."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
