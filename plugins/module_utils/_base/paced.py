# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""A least rate of what is sent and received: a timeout of a socket bounds only the silence between two bytes."""

from __future__ import annotations

import http.client
import io
import socket
import time
import typing as t

LEAST_BYTES_PER_SECOND = 1024
# The headers of an answer may take so many timeouts.
_HEADER_TIMEOUTS = 2
_PIECE_BYTES = 1 << 16
Clock = t.Callable[[], float]


class TooSlow(OSError):
    """Bytes move, but so few that it will not end."""


class Pace:
    """Adds up what moves; ``window_seconds`` in which fewer than 1 KiB moves in each second are too slow."""

    def __init__(self, window_seconds: float) -> None:
        self._window = window_seconds
        self._seconds = 0.0
        self._count = 0

    def add(self, count: int, seconds: float) -> None:
        """Take note of ``count`` bytes, for which somebody waited ``seconds``.

        :raises TooSlow: see the class
        """
        self._seconds += seconds
        self._count += count
        if self._seconds < self._window:
            return
        if self._count < LEAST_BYTES_PER_SECOND * self._window:
            raise TooSlow(f"only {self._count} bytes moved within {self._seconds:.0f} seconds")
        self._seconds, self._count = 0.0, 0


def pieces(data: bytes | memoryview, window_seconds: float, clock: Clock = time.monotonic) -> t.Iterator[memoryview]:
    """Yield ``data`` in pieces of 64 KiB; the time until the next one is asked for is what sending one takes.

    :raises TooSlow: see ``Pace``
    """
    pace, view = Pace(window_seconds), memoryview(data)
    for start in range(0, len(view), _PIECE_BYTES):
        piece = view[start : start + _PIECE_BYTES]
        began_at = clock()
        yield piece
        if start + _PIECE_BYTES < len(view):
            pace.add(len(piece), clock() - began_at)


class PacedReader(io.RawIOBase):
    """Reads from ``raw``, whose bytes have to come at a least rate once the first ones are there."""

    def __init__(self, raw: io.RawIOBase, window_seconds: float, clock: Clock = time.monotonic) -> None:
        super().__init__()
        self._raw = raw
        self._pace = Pace(window_seconds)
        self._clock = clock
        self._deadline = float("inf")
        self._began = False

    def end_within(self, seconds: float) -> None:
        """Set a deadline, counted from now."""
        self._deadline = self._clock() + seconds

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: t.Any) -> int | None:
        """Read what is there.

        :raises TooSlow: too little came, or the deadline has passed
        """
        began_at = self._clock()
        count = self._raw.readinto(buffer)
        now = self._clock()
        if now > self._deadline:
            raise TooSlow("the answer came too slowly and did not end in time")
        if self._began:
            self._pace.add(count or 0, now - began_at)
        self._began = True
        return count

    def close(self) -> None:
        """Close what is read from, too."""
        if not self.closed:
            self._raw.close()
        super().close()


class PacedResponse(http.client.HTTPResponse):
    """An answer whose bytes have to come at a least rate, if its socket has a timeout."""

    def __init__(
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        self._timeout = sock.gettimeout() or float("inf")
        self._paced = PacedReader(self.fp.detach(), self._timeout)
        self.fp = io.BufferedReader(self._paced)

    def begin(self) -> None:
        """Read the headers."""
        self._paced.end_within(self._timeout * _HEADER_TIMEOUTS)
        super().begin()
        self._paced.end_within(float("inf"))

    def end_within(self, seconds: float) -> None:
        """Let reading raise TooSlow if the body does not end within ``seconds`` from now."""
        self._paced.end_within(seconds)
