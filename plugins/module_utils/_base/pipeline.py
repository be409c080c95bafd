# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Bounded pipelines of generators: where the threads of the rooms come from.

A stage is a generator that keeps a bounded number of calls in flight and joins its pool when it ends. So
the consumer sets the pace, and the first error surfaces at the consumer as itself. Hold each stage in
``contextlib.closing``: a traceback would keep an abandoned generator alive. The functions must be bounded
in time, since the end of a stage waits for them.
"""

from __future__ import annotations

import concurrent.futures
import os
import queue
import typing as t
from collections import deque

Item = t.TypeVar("Item")
Result = t.TypeVar("Result")


def ordered_map(
    function: t.Callable[[Item], Result], items: t.Iterable[Item], *, workers: int, window: int
) -> t.Generator[Result, None, None]:
    """Results in the order of the items, at most ``window`` of them in flight or waiting."""
    pool = concurrent.futures.ThreadPoolExecutor(workers)
    pending: deque[concurrent.futures.Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= window:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        _end(pool, pending)


def unordered_map(
    function: t.Callable[[Item], Result], items: t.Iterable[Item], *, workers: int, window: int
) -> t.Generator[Result, None, None]:
    """Results as they come, at most ``window`` of them in flight or waiting."""
    pool = concurrent.futures.ThreadPoolExecutor(workers)
    pending: set[concurrent.futures.Future[Result]] = set()
    try:
        for item in items:
            pending.add(pool.submit(function, item))
            if len(pending) >= window:
                done, pending = concurrent.futures.wait(pending, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        for future in concurrent.futures.as_completed(pending):
            yield future.result()
    finally:
        _end(pool, pending)


def _end(pool: concurrent.futures.ThreadPoolExecutor, pending: t.Iterable[concurrent.futures.Future[t.Any]]) -> None:
    for future in pending:
        future.cancel()
    pool.shutdown(wait=True)


def core_count() -> int:
    """Number of threads that can compute at once."""
    return max(1, os.cpu_count() or 1)


class BufferPool:
    """Buffers that are used again: fresh large ones cost page faults, which serialise the threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free: queue.SimpleQueue[bytearray] = queue.SimpleQueue()

    def take(self) -> bytearray:
        """A buffer with arbitrary content; more are made when all are taken."""
        try:
            return self._free.get_nowait()
        except queue.Empty:
            return bytearray(self._size)

    def give_back(self, buffer: bytearray) -> None:
        """Let the buffer be taken again."""
        self._free.put(buffer)


class OneAtATime:
    """Runs a function in one thread of its own, never twice at once."""

    def __init__(self, function: t.Callable[[], None]) -> None:
        self._function = function
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._running: t.Optional[concurrent.futures.Future[None]] = None

    def begin(self) -> bool:
        """Start a run unless one is under way; an error of the last run is raised here."""
        if self._running is not None:
            if not self._running.done():
                return False
            self._running.result()
        self._running = self._pool.submit(self._function)
        return True

    def close(self) -> None:
        """Wait for the run under way."""
        self._pool.shutdown(wait=True)
        if self._running is not None:
            self._running.result()
