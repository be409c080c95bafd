# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""HTTP connections that are used again, by one request at a time."""

from __future__ import annotations

import http.client
import select
import threading
import time
import typing as t
from dataclasses import dataclass

Connect = t.Callable[[str, str, int], http.client.HTTPConnection]
# Sends a request over a connection and returns the beginning of its answer.
Ask = t.Callable[[http.client.HTTPConnection], http.client.HTTPResponse]

# What a server does to a kept connection that it has closed.
_STALE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ConnectionAbortedError)
_MOST_IDLE = 32
# Something on the way may have forgotten a connection that was idle for longer, without telling anybody.
_LONGEST_IDLE_SECONDS = 30.0


@dataclass(frozen=True)
class Origin:
    """Where a request goes."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{name}:{self.port}"


@dataclass(frozen=True)
class _Idle:
    connection: http.client.HTTPConnection
    since: float


class Connections:
    """Makes connections by ``connect(scheme, host, port)`` and keeps those that can be used again.

    There are as many as there are requests at once, and at most 32 of them are kept. Usable from several threads.
    """

    def __init__(self, connect: Connect, clock: t.Callable[[], float] = time.monotonic) -> None:
        self._connect = connect
        self._clock = clock
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[_Idle]] = {}
        self._closed = False

    def ask(
        self, origin: Origin, ask: Ask, *, repeatable: bool = True
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Send a request over a kept or a new connection; return the connection and the answer.

        A kept connection that the server has closed meanwhile is no failure: the request is sent again over a new one.
        Where a request may not be sent twice (``repeatable``), no kept connection is used.
        """
        kept = self._take(origin) if repeatable else None
        if kept is not None:
            try:
                return kept, _or_close(kept, ask)
            except _STALE:
                pass
        connection = self._connect(origin.scheme, origin.host, origin.port)
        return connection, _or_close(connection, ask)

    def give_back(
        self, origin: Origin, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> None:
        """Keep the connection if the answer was read to its end, otherwise close it."""
        if response.isclosed() and not response.will_close and connection.sock is not None:
            with self._lock:
                if not self._closed and sum(map(len, self._idle.values())) < _MOST_IDLE:
                    self._idle.setdefault(origin, []).append(_Idle(connection, self._clock()))
                    return
        response.close()
        connection.close()

    def close(self) -> None:
        """Close the connections that are not in use; those in use are closed when they are given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, {}
        for kept in idle.values():
            for one in kept:
                one.connection.close()

    def _take(self, origin: Origin) -> t.Optional[http.client.HTTPConnection]:
        while True:
            with self._lock:
                kept = self._idle.get(origin)
                if not kept:
                    return None
                found = kept.pop()
            if self._clock() - found.since <= _LONGEST_IDLE_SECONDS and not _has_news(found.connection):
                return found.connection
            found.connection.close()


def _has_news(connection: http.client.HTTPConnection) -> bool:
    """Return True if something came over an idle connection: its end, or bytes that were not requested."""
    if connection.sock is None:
        return True
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _or_close(connection: http.client.HTTPConnection, ask: Ask) -> http.client.HTTPResponse:
    try:
        return ask(connection)
    except BaseException:
        connection.close()
        raise
