# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Bounded pipelines of generators: where the threads of the rooms come from.

A stage is a generator that keeps a bounded number of calls in flight and joins its pool when it ends. So
the consumer sets the pace, and the first error surfaces at the consumer as itself. Hold each stage in
``contextlib.closing``: a traceback would keep an abandoned generator alive. The functions must be bounded
in time, since the end of a stage waits for them. If they can take long, ``cancel`` makes those that run end soon. It is
called at the first error, and when a stage is closed early, from any thread and perhaps more than once.
"""

from __future__ import annotations

import concurrent.futures
import os
import queue
import threading
import typing as t
from collections import deque

Item = t.TypeVar("Item")
Result = t.TypeVar("Result")
Cancel = t.Callable[[], None]


def ignore() -> None:
    """Wait for the calls that run: what a stage does whose calls end soon by themselves."""


def ordered_map(
    function: t.Callable[[Item], Result],
    items: t.Iterable[Item],
    *,
    workers: int,
    window: int,
    cancel: Cancel = ignore,
) -> t.Generator[Result, None, None]:
    """Results in the order of the items, at most ``window`` of them in flight or waiting; ``cancel``: see above."""
    stage: _Stage[Item, Result] = _Stage(function, workers, cancel)
    pending: deque[concurrent.futures.Future[Result]] = deque()
    try:
        for item in items:
            pending.append(stage.submit(item))
            if len(pending) >= window:
                yield stage.result(pending.popleft())
        while pending:
            yield stage.result(pending.popleft())
    finally:
        stage.end(pending)


def unordered_map(
    function: t.Callable[[Item], Result],
    items: t.Iterable[Item],
    *,
    workers: int,
    window: int,
    cancel: Cancel = ignore,
) -> t.Generator[Result, None, None]:
    """Results as they come, at most ``window`` of them in flight or waiting; ``cancel``: see above."""
    stage: _Stage[Item, Result] = _Stage(function, workers, cancel)
    pending: set[concurrent.futures.Future[Result]] = set()
    try:
        for item in items:
            pending.add(stage.submit(item))
            if len(pending) >= window:
                done, pending = concurrent.futures.wait(pending, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    yield stage.result(future)
        for future in concurrent.futures.as_completed(pending):
            yield stage.result(future)
    finally:
        stage.end(pending)


class _Stage(t.Generic[Item, Result]):
    """The threads of a stage, and the first error in one of them."""

    def __init__(self, function: t.Callable[[Item], Result], workers: int, cancel: Cancel) -> None:
        self._function = function
        self._cancel = cancel
        self._pool = concurrent.futures.ThreadPoolExecutor(workers)
        self._lock = threading.Lock()
        self._failure: t.Optional[BaseException] = None

    def submit(self, item: Item) -> concurrent.futures.Future[Result]:
        """Call the function in a thread, unless it has failed for another item: that error is raised then."""
        if self._failure is not None:
            raise self._failure
        return self._pool.submit(self._call, item)

    def result(self, future: concurrent.futures.Future[Result]) -> Result:
        """Wait for a result. An error is the first one of the stage: the others may come from ``cancel``."""
        try:
            return future.result()
        except Exception as error:
            raise self._failure or error from None

    def end(self, pending: t.Iterable[concurrent.futures.Future[Result]]) -> None:
        """Wait for the calls that run, and begin no other."""
        running = [future for future in pending if not future.cancel() and not future.done()]
        if running:
            self._cancel()
        self._pool.shutdown(wait=True)

    def _call(self, item: Item) -> Result:
        try:
            return self._function(item)
        except BaseException as error:
            with self._lock:
                self._failure = self._failure or error
            self._cancel()
            raise


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
