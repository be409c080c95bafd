# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A way to the server that counts bytes, slows down, and can be held shut in the middle of a transfer."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import typing as t
from urllib.parse import urlsplit

UP = "up"
DOWN = "down"

_BLOCK_BYTES = 64 << 10
# Nobody holds a gate longer; a test that forgets to open it again fails then.
_LONGEST_HOLD_SECONDS = 60


class Gate:
    """A relay of TCP connections to the server; ``url`` leads through it, and so do the URLs that the server signs."""

    def __init__(self, server_url: str, bytes_per_second: float | None = None) -> None:
        parts = urlsplit(server_url)
        self._target = (str(parts.hostname), int(parts.port or 80))
        self._rate = bytes_per_second
        self._free_at = 0.0
        self._holds: dict[str, t.Callable[[int], bool]] = {}
        self._counts = {UP: 0, DOWN: 0}
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
            for source, sink, direction in ((client, server, UP), (server, client, DOWN)):
                threading.Thread(target=self._pump, args=(source, sink, direction), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, direction: str) -> None:
        with contextlib.suppress(OSError):
            while True:
                block = source.recv(_BLOCK_BYTES)
                if not block:
                    break
                self._pass(direction, len(block))
                sink.sendall(block)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _pass(self, direction: str, count: int) -> None:
        with self._change:
            when = self._holds.get(direction)
            if when is not None and when(self._counts[direction] + count):
                self._open = False
                self._change.notify_all()
            self._change.wait_for(lambda: self._open, _LONGEST_HOLD_SECONDS)
            self._counts[direction] += count
            if not self._rate:
                return
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + count / self._rate
            delay_seconds = self._free_at - now
        time.sleep(delay_seconds)
