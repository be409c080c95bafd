# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lines for whoever reads the output of this process, written by a thread of its own.

A pipe that nobody reads is full some day, and a write to it waits. Whoever has a line to write must not: the event loop
would stop, and with it all requests.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

# What waits of all lines together; a line of a request has about 400 bytes.
MOST_BYTES = 1 << 20


class LineWriter:
    """Writes lines to a descriptor, in order. What finds no room is lost, counted, and told by ``tell_lost``.

    ``tell_lost`` gets the number of lines that are missing at a place, and returns the line that takes their place.
    """

    def __init__(self, descriptor: int, tell_lost: Callable[[int], str], most_bytes: int = MOST_BYTES) -> None:
        self._descriptor = descriptor
        self._tell_lost = tell_lost
        self._most_bytes = most_bytes
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        """Begin with nothing: what waits at a fork is written by the process that has forked."""
        self._changed = threading.Condition()
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._is_writing = False
        self._thread: threading.Thread | None = None
        self._missing = 0
        self.lost = 0

    def add(self, line: str) -> None:
        """Write a line soon; never waits."""
        data = _bytes_of(line)
        with self._changed:
            if self._bytes + len(data) > self._most_bytes:
                self._lose(1)
                return
            self._waiting.append(data)
            self._bytes += len(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lines", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until all lines are written, and no longer than that; return True if they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._is_writing, seconds)

    def _lose(self, count: int) -> None:
        self._missing += count
        self.lost += count

    def _run(self) -> None:
        while True:
            lines = self._taken()
            written = self._written(lines)
            with self._changed:
                self._lose(len(lines) - written)
                self._is_writing = False
                self._changed.notify_all()

    def _taken(self) -> list[bytes]:
        """Wait for lines, and return all of them. Those that are missing came behind them, when there was no room."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            lines, missing = self._waiting, self._missing
            self._waiting, self._bytes, self._missing, self._is_writing = [], 0, 0, True
        return [*lines, _bytes_of(self._tell_lost(missing))] if missing else lines

    def _written(self, lines: list[bytes]) -> int:
        """Write lines; return how many of them, until one could not be written."""
        for number, line in enumerate(lines):
            try:
                # One write for each: other processes write to the same pipe, and lines must not be mixed.
                _write_all(self._descriptor, line)
            except OSError:
                return number
        return len(lines)


def _bytes_of(line: str) -> bytes:
    return f"{line}\n".encode(errors="backslashreplace")


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            # Another process has made it one that does not wait.
            waiting = select.poll()
            waiting.register(descriptor, select.POLLOUT)
            waiting.poll()
