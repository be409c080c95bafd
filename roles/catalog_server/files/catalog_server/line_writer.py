# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lines for whoever reads the output of this process, written by a thread of its own.

A pipe that nobody reads is full some day, and a write to it waits. Whoever has a line to write must not: the event loop
would stop, and with it all requests.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import tempfile
import threading
from collections.abc import Callable, Iterator

# What waits of all lines together; a line of a request has about 400 bytes.
MOST_BYTES = 1 << 20


class LineWriter:
    """Writes lines to a descriptor, in order. What finds no room is lost, counted, and told by ``tell_lost``.

    ``tell_lost`` gets the number of lines that are missing at a place, and returns the line that takes their place.

    Processes that are forked from this one share the descriptor, and their lines are not mixed, however long they are.
    """

    def __init__(self, descriptor: int, tell_lost: Callable[[int], str], most_bytes: int = MOST_BYTES) -> None:
        self._descriptor = descriptor
        self._tell_lost = tell_lost
        self._most_bytes = most_bytes
        # Whoever writes a line has it locked: a pipe that is nearly full takes a long line in pieces.
        self._turns = tempfile.TemporaryFile()
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
        # Only the beginning of the last line was written.
        self._is_torn = False
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
            self._start()
            self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until all lines are written, and no longer than that; return True if they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._is_writing, seconds)

    def _start(self) -> None:
        """Start the thread, unless it runs. If the system has no room for one, the next line tries it again."""
        if self._thread is not None and self._thread.is_alive():
            return
        thread = threading.Thread(target=self._run, name="lines", daemon=True)
        with contextlib.suppress(RuntimeError):
            thread.start()
            self._thread = thread

    def _lose(self, count: int) -> None:
        self._missing += count
        self.lost += count

    def _run(self) -> None:
        while True:
            lines, missing = self._taken()
            written, is_told = 0, False
            try:
                written = self._written(lines)
                is_told = written == len(lines) and self._tell(missing)
            finally:
                with self._changed:
                    self._lose(len(lines) - written)
                    if not is_told:
                        self._missing += missing
                    self._is_writing = False
                    self._changed.notify_all()

    def _taken(self) -> tuple[list[bytes], int]:
        """Wait for lines. Return all of them, and how many are missing behind them, since there was no room."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            lines, missing = self._waiting, self._missing
            self._waiting, self._bytes, self._missing, self._is_writing = [], 0, 0, True
        return lines, missing

    def _tell(self, missing: int) -> bool:
        """Return True if nobody has to be told any more of lines that are missing."""
        return not missing or self._written([_bytes_of(self._tell_lost(missing))]) == 1

    def _written(self, lines: list[bytes]) -> int:
        """Write lines; return how many of them, until one could not be written."""
        for number, line in enumerate(lines):
            try:
                with self._turn():
                    self._write(line)
            except OSError:
                return number
        return len(lines)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait until no other process writes a line. The lock of one that is killed ends with it."""
        # Where files cannot be locked, lines that are mixed are better than none.
        with contextlib.suppress(OSError):
            fcntl.lockf(self._turns, fcntl.LOCK_EX)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._turns, fcntl.LOCK_UN)

    def _write(self, line: bytes) -> None:
        """:raises OSError: it cannot be written, or only its beginning"""
        data = b"\n" + line if self._is_torn else line
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
                self._is_torn = len(data) > 0
            except BlockingIOError:
                # Another process has made it one that does not wait.
                waiting = select.poll()
                waiting.register(self._descriptor, select.POLLOUT)
                waiting.poll()


def _bytes_of(line: str) -> bytes:
    return f"{line}\n".encode(errors="backslashreplace")
