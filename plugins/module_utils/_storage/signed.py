# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Transfer of object bytes by signed URLs, over plain HTTP(S).

How a connection is made (TLS, proxy, timeout) is handed in. A URL is only used here; others make and renew it.
Connections are kept and used again, by one worker at a time, so each host has as many as there are workers. Nothing is
retried; see ``retrying.py``. What an answer means is in ``signed_answers.py``.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import socket
import time
import typing as t
from dataclasses import dataclass
from urllib.parse import urlsplit

from ansible_collections.macfleet.parallels.plugins.module_utils._base.cancellation import Cancellation
from ansible_collections.macfleet.parallels.plugins.module_utils._base.connection_errors import NotConnected
from ansible_collections.macfleet.parallels.plugins.module_utils._base.connections import Connect, Connections, Origin
from ansible_collections.macfleet.parallels.plugins.module_utils._base.link import Sample
from ansible_collections.macfleet.parallels.plugins.module_utils._base.link_meter import LinkMeter
from ansible_collections.macfleet.parallels.plugins.module_utils._base.paced import pieces
from ansible_collections.macfleet.parallels.plugins.module_utils._base.signed_url import SignedUrl
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import (
    InsecureUrl,
    StorageError,
    StorageRefused,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.signed_answers import (
    NOT_READABLE,
    NOT_STORABLE,
    PORTS,
    PUBLIC_URL,
    Moved,
    check_range,
    check_status,
    drained,
    failed,
    not_sendable,
    read_into,
)

Buffer = t.Union[bytes, bytearray, memoryview]

_NOT_A_URL = "it is not an http or https URL with a host"


@dataclass(frozen=True)
class _Target:
    origin: Origin
    selector: str

    @property
    def name(self) -> str:
        """Return its name in an error: without the query, which contains the signature."""
        return f"{self.origin}{self.selector.partition('?')[0]}"


class SignedTransfer:
    """GET and PUT of objects by signed URLs; usable from several threads at once.

    ``connect(scheme, host, port)`` returns a new ``http.client`` connection with its timeout set; for a proxy of plain
    HTTP, that connection writes the whole URL into the request line. ``moved`` is called with the size of each block
    that was sent or received; an exception of it ends the request. With ``https_only``, no URL of another scheme is
    used. ``meter`` gets the times that requests took.
    """

    def __init__(
        self,
        connect: Connect,
        moved: Moved = lambda count_bytes: None,
        *,
        https_only: bool = False,
        meter: LinkMeter | None = None,
    ) -> None:
        self._connections = Connections(connect)
        self._moved = moved
        self._https_only = https_only
        self._meter = meter

    def fetch(self, signed: SignedUrl, offset: int, length: int) -> memoryview:
        """Return ``length`` bytes of the object from ``offset`` on."""
        buffer = bytearray(length)
        self.fetch_into(signed, offset, buffer)
        return memoryview(buffer).toreadonly()

    def fetch_into(
        self,
        signed: SignedUrl,
        offset: int,
        buffer: bytearray | memoryview,
        cancellation: Cancellation | None = None,
    ) -> None:
        """Fill ``buffer`` with the bytes of the object from ``offset`` on. ``cancellation`` breaks the connection.

        :raises StorageUnavailable: no answer came, or only a part of it; ``received`` bytes are in the buffer
        :raises Cancelled: by ``cancellation``, before the request was sent
        :raises StorageError: any other error, see ``errors.py``
        """
        view = memoryview(buffer).cast("B")
        target = self._target(signed.url)
        doing = f"read {len(view)} bytes from {offset} on of {target.name}"
        headers = {"Range": f"bytes={offset}-{offset + len(view) - 1}"}
        headers = {**signed.headers, **headers}
        with self._exchange("GET", target, headers, None, doing, cancellation) as (response, first_byte):
            check_status(response, (200, 206), doing, NOT_READABLE)
            check_range(response, offset, len(view), doing)
            began_at = time.monotonic()
            read_into(response, view, doing, target.origin, self._moved)
            if self._meter is not None:
                self._meter.add(Sample(first_byte, len(view), first_byte + time.monotonic() - began_at))

    def put(self, signed: SignedUrl, data: Buffer, cancellation: Cancellation | None = None) -> None:
        """Store ``data`` as the object. ``cancellation`` breaks the connection.

        :raises Cancelled: by ``cancellation``, before the request was sent
        :raises StorageError: see ``errors.py``
        """
        view = memoryview(data).cast("B")
        target = self._target(signed.url)
        doing = f"store {len(view)} bytes as {target.name}"
        headers = {"Content-Type": "application/octet-stream", **signed.headers}
        with self._exchange("PUT", target, headers, view, doing, cancellation) as (response, _first_byte):
            check_status(response, (200, 201, 204), doing, NOT_STORABLE)
            if not drained(response):
                response.close()

    def close(self) -> None:
        """Close the connections that are not in use; those in use are closed when given back."""
        self._connections.close()

    def __enter__(self) -> SignedTransfer:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _target(self, url: str) -> _Target:
        target = _parse(url)
        if self._https_only and target.origin.scheme != "https":
            raise InsecureUrl(
                f"The server hands out the unencrypted address {target.origin} though it was itself asked by https; "
                "nothing was sent there.",
                PUBLIC_URL,
            )
        return target

    @contextlib.contextmanager
    def _exchange(
        self,
        method: str,
        target: _Target,
        headers: t.Mapping[str, str],
        body: memoryview | None,
        doing: str,
        cancellation: Cancellation | None,
    ) -> t.Iterator[tuple[http.client.HTTPResponse, float]]:
        """Yield the response to one request, and the seconds until it came.

        The connection is kept if the block reads the response to its end.
        """
        with contextlib.ExitStack() as breaking:

            def connected(connection: http.client.HTTPConnection) -> None:
                if cancellation is not None:
                    breaking.enter_context(cancellation.calling(functools.partial(_break, connection.sock)))

            connection, response, first_byte = self._ask(method, target, headers, body, doing, connected)
            try:
                yield response, first_byte
            except StorageError:
                if not response.isclosed():
                    drained(response)
                raise
            finally:
                self._connections.give_back(target.origin, connection, response)

    def _ask(
        self,
        method: str,
        target: _Target,
        headers: t.Mapping[str, str],
        body: memoryview | None,
        doing: str,
        connected: t.Callable[[http.client.HTTPConnection], None],
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse, float]:
        used: list[http.client.HTTPConnection] = []
        first_byte = 0.0

        def ask(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
            nonlocal first_byte
            used[:] = [connection]
            if connection.sock is None:
                connection.connect()
            connected(connection)
            began_at = time.monotonic()
            response = _request(connection, method, target, headers, body, self._moved)
            first_byte = time.monotonic() - began_at
            return response

        try:
            # Reading and storing an immutable object twice is the same as once.
            return (*self._connections.ask(target.origin, ask), first_byte)
        except NotConnected as error:
            # The proxy or the certificate that the options name cannot be used, so no connection was tried.
            raise StorageRefused(f"Could not {doing}: {error.message}.") from error
        except http.client.InvalidURL:
            raise not_sendable(doing) from None
        except (OSError, http.client.HTTPException) as error:
            raise failed(doing, error, target.origin, used[-1] if used else None) from error
        except ValueError:
            raise not_sendable(doing) from None


def _parse(url: str) -> _Target:
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS[parts.scheme]
    except (KeyError, ValueError):
        raise StorageRefused(f"Could not use a signed URL: {_NOT_A_URL}.") from None
    if not parts.hostname or parts.username is not None:
        raise StorageRefused(f"Could not use a signed URL: {_NOT_A_URL}.")
    path = parts.path or "/"
    selector = f"{path}?{parts.query}" if parts.query else path
    return _Target(Origin(parts.scheme, parts.hostname, port), selector)


def _request(
    connection: http.client.HTTPConnection,
    method: str,
    target: _Target,
    headers: t.Mapping[str, str],
    body: memoryview | None,
    moved: Moved,
) -> http.client.HTTPResponse:
    connection.putrequest(method, target.selector, skip_accept_encoding=True)
    # A body that a proxy compressed on the way would not be the bytes that were stored.
    connection.putheader("Accept-Encoding", "identity")
    for name, value in headers.items():
        connection.putheader(name, value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    for block in pieces(body or memoryview(b""), connection.timeout or float("inf")):
        try:
            connection.send(block)
        except (BrokenPipeError, ConnectionResetError):
            # A server may answer before it has read everything, then close. Its answer says why.
            with contextlib.suppress(OSError, http.client.HTTPException):
                return connection.getresponse()
            raise
        moved(len(block))
    return connection.getresponse()


def _break(sock: socket.socket | None) -> None:
    """Wake whoever waits for a connection in another thread."""
    if sock is not None:
        with contextlib.suppress(OSError):
            # That of an SSLSocket would let the other thread go on without TLS.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
