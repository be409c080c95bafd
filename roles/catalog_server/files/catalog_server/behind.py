# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes that no request waits for: gathered for a moment, and written together by a thread of their own.

A process that is killed may lose what it was given in its last moment, so nothing rests on what is written here.
"""

from __future__ import annotations

import logging
import queue
import threading
import typing as t
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

from sqlalchemy.orm import Session

from catalog_server.database import Database

Item = t.TypeVar("Item")

_MOST_WAITING = 10_000
_MOST_AT_ONCE = 500
_GATHER_SECONDS = 0.1

_log = logging.getLogger("catalog_server.behind")


class BehindWriter(t.Generic[Item]):
    """Writes items by ``write``, many in one transaction, between ``start`` and ``close``. ``name`` is for the log."""

    def __init__(self, database: Database, name: str, write: Callable[[Session, Sequence[Item]], None]) -> None:
        self._database = database
        self._name = name
        self._write = write
        self._waiting: queue.Queue[Item | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to write what is added."""
        self._thread.start()

    def add(self, item: Item) -> None:
        """Write an item soon; never waits. If too many wait already, it is lost, and the log says so."""
        try:
            self._waiting.put_nowait(item)
        except queue.Full:
            _log.warning("%s: one is lost, too many wait", self._name)

    def waiting(self) -> int:
        """Return how many items wait."""
        return self._waiting.qsize()

    def close(self) -> None:
        """Write what was added, and end."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()

    def _write_all(self, items: Sequence[Item]) -> None:
        self._database.write(lambda session: self._write(session, items))

    def _run(self) -> None:
        is_over = False
        while not is_over:
            found = [self._waiting.get()]
            threading.Event().wait(_GATHER_SECONDS if found[0] is not None else 0)
            while len(found) < _MOST_AT_ONCE and not self._waiting.empty():
                found.append(self._waiting.get_nowait())
            is_over = None in found
            items = [one for one in found if one is not None]
            try:
                if items:
                    self._write_all(items)
            except Exception:
                # Whatever it was, the next ones are written again.
                _log.warning("%s: some are lost", self._name, exc_info=True, extra={"items": len(items)})


class Seldom:
    """Lets the same thing through once in ``seconds``, and remembers at most ``most`` things."""

    def __init__(self, seconds: float, most: int = 10_000) -> None:
        self._seconds = seconds
        self._most = most
        self._lock = threading.Lock()
        # When each was let through; the oldest comes first.
        self._seen: OrderedDict[Hashable, float] = OrderedDict()

    def lets_through(self, thing: Hashable, now: float) -> bool:
        """Return True if it was not let through in the last ``seconds``. ``now`` is a Unix time.

        Beyond ``most`` different things in that time, it returns False for all others.
        """
        with self._lock:
            while self._seen and not 0 <= now - next(iter(self._seen.values())) < self._seconds:
                self._seen.popitem(last=False)
            if thing in self._seen or len(self._seen) >= self._most:
                return False
            self._seen[thing] = now
            return True
