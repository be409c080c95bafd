# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Accepts connections and does their TLS handshakes.

The event loop could do both, but tells nobody of a connection before its handshake is done: one that never sends a byte
would be counted by nobody, keep its descriptor for a minute, and keep the server from ending.

A certificate that is renewed is used without a restart.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path

from anyio import CapacityLimiter, to_thread

from catalog_server.connections import OpenConnections, Place
from catalog_server.http_limits import LimitedProtocol

# How long nothing is accepted when there is no descriptor left for a connection.
_PAUSE_SECONDS = 0.5
# How often the files of the certificate are looked at
_REFRESH_SECONDS = 10.0

_log = logging.getLogger("catalog_server.connections")


class Certificate:
    """A certificate chain and its key, as files that may be replaced while they are used."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """:raises OSError: they cannot be read, or do not fit one another"""
        self._certificate = certificate
        self._key = key
        self._stamps = self._found_stamps()
        self.context = self._read()

    def refresh(self) -> None:
        """Read the files again if they were replaced. As long as they cannot be used, those of before are."""
        stamps = self._found_stamps()
        if stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            self.context = self._read()
        except OSError as error:
            _log.error("the new certificate cannot be used, and the one of before still is: %s", error)
        else:
            _log.info("the new certificate is used")

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # Without a password, one would be asked for at the terminal if the key needs it.
        context.load_cert_chain(self._certificate, self._key, password="")
        return context

    def _found_stamps(self) -> list[tuple[int, int, int] | None]:
        stamps: list[tuple[int, int, int] | None] = []
        for path in (self._certificate, self._key):
            try:
                found = path.stat()
            except OSError:
                stamps.append(None)
            else:
                stamps.append((found.st_ino, found.st_size, found.st_mtime_ns))
        return stamps


class TlsListener:
    """Serves a socket by TLS, with a protocol of ``make`` for each connection."""

    def __init__(
        self,
        certificate: Certificate,
        opened: OpenConnections,
        make: Callable[[Place], LimitedProtocol],
        handshake_seconds: float,
    ) -> None:
        self._certificate = certificate
        self._opened = opened
        self._make = make
        self._handshake_seconds = handshake_seconds
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, listening: socket.socket, backlog: int) -> None:
        """Begin to accept."""
        listening.setblocking(False)
        listening.listen(backlog)
        self._run(self._accept_all(listening))
        self._run(self._refresh())

    def close(self) -> None:
        """Accept no more, and give up the handshakes."""
        for task in self._tasks:
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until that is done."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _refresh(self) -> None:
        limiter = CapacityLimiter(1)
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            # A volume that does not answer must not keep the server from ending.
            await to_thread.run_sync(self._certificate.refresh, limiter=limiter, abandon_on_cancel=True)

    async def _accept_all(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, address = await asyncio.get_running_loop().sock_accept(listening)
            except ConnectionAbortedError:
                continue
            except OSError as error:
                _log.warning("no connection can be accepted: %s", error)
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            place = self._opened.open(address[0])
            if place is None:
                connection.close()
            else:
                self._run(self._shake_hands(connection, address[0], place))

    async def _shake_hands(self, connection: socket.socket, address: str, place: Place) -> None:
        protocol = self._make(place)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._certificate.context,
                ssl_handshake_timeout=self._handshake_seconds,
            )
        except OSError as error:
            # Also what is no TLS, and a handshake that takes too long
            _log.info("no TLS: %s", error, extra={"client": address})
        finally:
            # Otherwise the protocol has the place, and gives it back.
            if not protocol.is_connected:
                self._opened.close(place)
