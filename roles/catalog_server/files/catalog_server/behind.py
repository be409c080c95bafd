# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes that no request waits for: gathered for a moment, and written together by a thread of their own.

A process that is killed may lose what it was given in its last moment, so nothing rests on what is written here. While
the database is away, items wait for it; when one cannot be written, the others are.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import typing as t
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

from sqlalchemy.orm import Session

from catalog_server.database import Database
from catalog_server.errors import Unavailable

Item = t.TypeVar("Item")

_MOST_WAITING = 10_000
_MOST_AT_ONCE = 500
_GATHER_SECONDS = 0.1
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 10.0
# How long one batch is tried to be written, while others gather behind it.
_PATIENCE_SECONDS = 600.0
# How long the end of a process waits for the database: a little longer than one attempt to write takes.
CLOSE_SECONDS = 12.0

_log = logging.getLogger("catalog_server.behind")


class BehindWriter(t.Generic[Item]):
    """Writes items by ``write``, many in one transaction, between ``start`` and ``close``. ``name`` is for the log."""

    def __init__(self, database: Database, name: str, write: Callable[[Session, Sequence[Item]], None]) -> None:
        self._database = database
        self._name = name
        self._write = write
        # None is the end.
        self._waiting: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to write what is added."""
        self._thread.start()

    def add(self, item: Item) -> None:
        """Write an item soon; never waits. If too many wait already, it is lost, and the log says so."""
        if self._waiting.qsize() < _MOST_WAITING:
            self._waiting.put(item)
        else:
            _log.warning("%s: one is lost, too many wait", self._name)

    def waiting(self) -> int:
        """Return how many items wait."""
        return self._waiting.qsize()

    def end(self) -> None:
        """Let the thread write what was added, and end."""
        if self._thread.is_alive():
            self._closing.set()
            self._waiting.put(None)

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """End, and wait for it. A database that is away is not waited for; the log says what is lost."""
        self.end()
        if self._thread.is_alive():
            self._thread.join(max(0.0, seconds))
        if self._thread.is_alive():
            _log.error("%s: some may be lost, the database does not answer", self._name)

    def _run(self) -> None:
        is_over = False
        while not is_over:
            found = [self._waiting.get()]
            self._closing.wait(_GATHER_SECONDS)
            while len(found) < _MOST_AT_ONCE and not self._waiting.empty():
                found.append(self._waiting.get())
            is_over = None in found
            items = [one for one in found if one is not None]
            if items:
                self._write_all(items)

    def _write_all(self, items: Sequence[Item]) -> None:
        try:
            self._write_patiently(items)
        except Exception:
            # Whatever it was, the others are written.
            if len(items) > 1:
                for item in items:
                    self._write_all([item])
            else:
                _log.warning("%s: one is lost", self._name, exc_info=True)

    def _write_patiently(self, items: Sequence[Item]) -> None:
        """Write items in one transaction, again and again while the database is away."""
        until = time.monotonic() + _PATIENCE_SECONDS
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                self._database.write(lambda session: self._write(session, items))
                return
            except Unavailable as problem:
                if self._closing.is_set() or time.monotonic() > until:
                    _log.error("%s: some are lost: %s", self._name, problem.message, extra={"items": len(items)})
                    return
                _log.warning("%s: not yet: %s", self._name, problem.message, extra={"items": len(items)})
            self._closing.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


class Seldom:
    """Lets the same thing through once in ``seconds``, and remembers at most ``most`` things.

    Beyond so many different things in that time, others are not let through; with ``beyond``, they are, and the oldest
    is forgotten.
    """

    def __init__(self, seconds: float, most: int = 10_000, *, beyond: bool = False) -> None:
        self._seconds = seconds
        self._most = most
        self._beyond = beyond
        self._lock = threading.Lock()
        # When each was let through; the oldest comes first.
        self._seen: OrderedDict[Hashable, float] = OrderedDict()

    def lets_through(self, thing: Hashable, now: float) -> bool:
        """Return True if it was not let through in the last ``seconds``. ``now`` is a Unix time."""
        with self._lock:
            while self._seen and not 0 <= now - next(iter(self._seen.values())) < self._seconds:
                self._seen.popitem(last=False)
            if thing in self._seen:
                return False
            if len(self._seen) >= self._most:
                if not self._beyond:
                    return False
                self._seen.popitem(last=False)
            self._seen[thing] = now
            return True
