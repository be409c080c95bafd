# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A way to the server that counts bytes, is slow or long, falls silent, and can be shut in the middle of a transfer."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
import typing as t
from urllib.parse import urlsplit

UP = "up"
DOWN = "down"

_BLOCK_BYTES = 64 << 10
# What is on a long way at once, in each direction of a connection: enough for 25 MB/s and a second.
_BLOCKS_ON_THE_WAY = 400
_OBJECT_PATH = b"/objects/"
# Nobody holds a gate longer; a test that forgets to open it again fails then.
_LONGEST_HOLD_SECONDS = 60


class _Pace:
    """Tells when the next bytes are through at a rate."""

    def __init__(self, bytes_per_second: float | None) -> None:
        self._rate = bytes_per_second
        self._free_at = 0.0

    def through_at(self, count: int) -> float:
        """Seconds of ``time.monotonic``."""
        now = time.monotonic()
        if self._rate:
            self._free_at = max(self._free_at, now) + count / self._rate
            return self._free_at
        return now


class _Connection:
    """One connection through the gate; ``is_metadata`` once its first request was seen."""

    def __init__(self, client: socket.socket, server: socket.socket, bytes_per_second: float | None) -> None:
        self.client = client
        self.server = server
        self.paces = {direction: _Pace(bytes_per_second) for direction in (UP, DOWN)}
        self.is_metadata: bool | None = None

    def see(self, block: bytes) -> None:
        """Look at the first request. Hosts have other connections for objects than for metadata."""
        if self.is_metadata is None:
            self.is_metadata = _OBJECT_PATH not in block.split(b"\r\n", maxsplit=1)[0]


class Gate:
    """A relay of TCP connections to the server; ``url`` leads through it, and so do the URLs that the server signs.

    The rates are those of each direction, of all connections together and of each; ``delay_seconds`` is the time that
    bytes take in one direction.
    """

    def __init__(
        self,
        server_url: str,
        bytes_per_second: float | None = None,
        *,
        connection_bytes_per_second: float | None = None,
        delay_seconds: float = 0.0,
    ) -> None:
        parts = urlsplit(server_url)
        self._target = (str(parts.hostname), int(parts.port or 80))
        self._paces = {direction: _Pace(bytes_per_second) for direction in (UP, DOWN)}
        self._connection_rate = connection_bytes_per_second
        self._delay_seconds = delay_seconds
        self._is_silent = threading.Event()
        self._holds: dict[str, t.Callable[[int], bool]] = {}
        self._counts = {UP: 0, DOWN: 0}
        self._objects_at: tuple[float, float] | None = None
        self._change = threading.Condition()
        self._open = True
        self._ended = False
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Gate:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """There is no way any more: connections break, whatever was held back is lost, new ones are refused."""
        self._ended = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self.release()

    def moved(self, direction: str) -> int:
        """Bytes that went through in one direction, those of requests and answers included."""
        with self._change:
            return self._counts[direction]

    @property
    def object_seconds(self) -> float:
        """Seconds from the first byte of a request for an object to the last byte of an answer."""
        with self._change:
            first, last = self._objects_at or (0.0, 0.0)
            return last - first

    def hold(self, direction: str, when: t.Callable[[int], bool]) -> None:
        """Shut the gate when ``when`` says so of the bytes that went through."""
        with self._change:
            self._holds[direction] = when

    def wait_until_held(self, deadline_seconds: float) -> bool:
        """Whether it was shut within this time."""
        with self._change:
            return self._change.wait_for(lambda: not self._open, deadline_seconds)

    def release(self) -> None:
        """Open it again, for good."""
        with self._change:
            self._holds.clear()
            self._open = True
            self._change.notify_all()

    def cut(self) -> None:
        """Break every connection."""
        with self._change:
            sockets, self._sockets = self._sockets, set()
        for connection in sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def silence(self) -> None:
        """From now on no request for metadata is answered, as if packets were dropped; objects move on."""
        self._is_silent.set()

    def speak(self) -> None:
        """Answer requests for metadata again."""
        self._is_silent.clear()

    def _accept(self) -> None:
        while not self._ended:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            with self._change:
                self._sockets |= {client, server}
            connection = _Connection(client, server, self._connection_rate)
            for direction in (UP, DOWN):
                threading.Thread(target=self._pump, args=(connection, direction), daemon=True).start()

    def _pump(self, connection: _Connection, direction: str) -> None:
        source, sink = connection.client, connection.server
        if direction == DOWN:
            source, sink = sink, source
        way: queue.Queue[tuple[float, bytes]] = queue.Queue(_BLOCKS_ON_THE_WAY)
        deliver = threading.Thread(target=self._deliver, args=(way, sink), daemon=True)
        deliver.start()
        with contextlib.suppress(OSError):
            while True:
                block = source.recv(_BLOCK_BYTES)
                if not block:
                    break
                if direction == UP:
                    connection.see(block)
                if connection.is_metadata and self._is_silent.is_set():
                    continue
                through_at = self._pass(connection, direction, len(block))
                time.sleep(max(0.0, through_at - time.monotonic()))
                way.put((through_at + self._delay_seconds, block))
        way.put((time.monotonic() + self._delay_seconds, b""))
        deliver.join()

    def _deliver(self, way: queue.Queue[tuple[float, bytes]], sink: socket.socket) -> None:
        """Send blocks when they are due; an empty one is the end."""
        is_open = True
        while True:
            due_at, block = way.get()
            time.sleep(max(0.0, due_at - time.monotonic()))
            with contextlib.suppress(OSError):
                if not block:
                    sink.shutdown(socket.SHUT_WR)
                elif is_open:
                    sink.sendall(block)
                    continue
            is_open = False
            if not block:
                return

    def _pass(self, connection: _Connection, direction: str, count: int) -> float:
        """Wait until the gate is open, and count. Returns when the bytes are through."""
        with self._change:
            when = self._holds.get(direction)
            if when is not None and when(self._counts[direction] + count):
                self._open = False
                self._change.notify_all()
            self._change.wait_for(lambda: self._open, _LONGEST_HOLD_SECONDS)
            self._counts[direction] += count
            through_at = max(self._paces[direction].through_at(count), connection.paces[direction].through_at(count))
            if not connection.is_metadata:
                first = self._objects_at[0] if self._objects_at else time.monotonic()
                self._objects_at = (first, through_at + self._delay_seconds)
            return through_at
