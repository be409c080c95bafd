# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Transfer of object bytes by signed URLs, over plain HTTP(S).

How a connection is made (TLS, proxy, timeout) is handed in, and a URL is only used, never made or
renewed here. Connections are kept and used again, by one worker at a time, so there are as many per host
as there are workers. Nothing is retried; see ``retrying.py``.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import re
import socket
import time
import typing as t
from dataclasses import dataclass
from urllib.parse import urlsplit

from ansible_collections.macfleet.parallels.plugins.module_utils._base.cancellation import Cancellation
from ansible_collections.macfleet.parallels.plugins.module_utils._base.connections import Connect, Connections, Origin
from ansible_collections.macfleet.parallels.plugins.module_utils._base.link import Sample
from ansible_collections.macfleet.parallels.plugins.module_utils._base.link_meter import LinkMeter
from ansible_collections.macfleet.parallels.plugins.module_utils._base.paced import pieces
from ansible_collections.macfleet.parallels.plugins.module_utils._base.signed_url import SignedUrl
from ansible_collections.macfleet.parallels.plugins.module_utils._base.transport import (
    NotConnected,
    TlsRefused,
    failure,
    through,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import (
    InsecureUrl,
    StorageChanged,
    StorageDenied,
    StorageError,
    StorageFull,
    StorageMissing,
    StorageRefused,
    StorageThrottled,
    StorageUnavailable,
)

Moved = t.Callable[[int], None]
Buffer = t.Union[bytes, bytearray, memoryview]

# How much is asked of a socket at once. What was received before a failure is known to this many bytes, which a
# connection of 20 kB/s receives in 3 seconds.
_READ_BYTES = 1 << 16
# An answer that is not the wanted one is read up to here, so that its connection stays usable.
_SMALL_BODY_BYTES = 1 << 16
_PORTS = {"http": 80, "https": 443}
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(?:\d{1,18}|\*)\Z")
_NOT_A_URL = "it is not an http or https URL with a host"
_PUBLIC_URL = (
    "The URLs are made of the server's public_url, or else of the address that its trusted_proxies report: check both "
    "settings of the server."
)
_NOT_READABLE = (
    f"{_PUBLIC_URL} If they are right, the storage does not have what the version needs: ask the administrator to look "
    "for the object in the storage."
)
_NOT_STORABLE = f"Nothing was stored. {_PUBLIC_URL} Then run the task again; it resumes."
_DAMAGED = (
    "Run the task again. If it fails on the same object, ask the administrator to compare the object in the storage "
    "with a backup."
)
_TOO_LARGE = (
    "A proxy in front of the storage refuses bodies of this size: let it take 64 MiB "
    "(for nginx: client_max_body_size 64m), then run the task again; it resumes."
)
_TLS = "Check ca_path and validate_certs: the storage, too, must have a certificate of a trusted authority."
_RETRYABLE_STATUS = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class _Target:
    origin: Origin
    selector: str

    @property
    def name(self) -> str:
        """What to call it in an error: the query, which holds the signature, is left out."""
        return f"{self.origin}{self.selector.partition('?')[0]}"


class SignedTransfer:
    """GET and PUT of objects by signed URLs; usable from several threads at once.

    ``connect(scheme, host, port)`` gives a new connection, with its timeout set, that speaks
    ``http.client``'s interface; whatever a proxy for plain HTTP needs in the request line is its business.
    ``moved`` is called with the number of bytes of each block that went over the network; an exception of it ends the
    request. With ``https_only``, no URL of another scheme is used. ``meter`` learns what requests cost.
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

        :raises StorageUnavailable: the answer did not come or broke off; ``received`` bytes are in the buffer
        :raises Cancelled: by ``cancellation``, before the request was sent
        :raises StorageError: any other, see ``errors.py``
        """
        view = memoryview(buffer).cast("B")
        target = self._target(signed.url)
        doing = f"read {len(view)} bytes from {offset} on of {target.name}"
        headers = {"Range": f"bytes={offset}-{offset + len(view) - 1}"}
        headers = {**signed.headers, **headers}
        with self._exchange("GET", target, headers, None, doing, cancellation) as (response, first_byte):
            _check_status(response, (200, 206), doing, _NOT_READABLE)
            _check_range(response, offset, len(view), doing)
            began_at = time.monotonic()
            _read_into(response, view, doing, target.origin, self._moved)
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
            _check_status(response, (200, 201, 204), doing, _NOT_STORABLE)
            if not _drained(response):
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
                _PUBLIC_URL,
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
                    _drained(response)
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
            # There is no connection: a proxy, or a certificate, that the options name cannot be used.
            raise StorageRefused(f"Could not {doing}: {error.message}.") from error
        except http.client.InvalidURL:
            raise _not_sendable(doing) from None
        except (OSError, http.client.HTTPException) as error:
            raise _failure(doing, error, target.origin, used[-1] if used else None) from error
        except ValueError:
            raise _not_sendable(doing) from None


def _parse(url: str) -> _Target:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
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
    # A body that something on the way compressed would not be the bytes that were stored.
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
            # A server may answer before it has read everything, and close: that answer says why.
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


def _check_status(response: http.client.HTTPResponse, wanted: tuple[int, ...], doing: str, missing_hint: str) -> None:
    status = response.status
    if status in wanted:
        return
    answer = f"Could not {doing}: the storage answered {status} {response.reason}".rstrip()
    if status in (401, 403):
        raise StorageDenied(f"{answer}.")
    if status in (404, 410):
        raise StorageMissing(f"{answer}.", missing_hint)
    if status == 413:
        raise StorageRefused(f"{answer}.", _TOO_LARGE)
    if status == 416:
        raise StorageChanged(f"Could not {doing}: the object is shorter than that.", _DAMAGED)
    if status == 507:
        raise StorageFull(f"{answer}.")
    if status in (429, 503):
        raise StorageThrottled(f"{answer}.", _retry_after(response))
    if status in _RETRYABLE_STATUS:
        raise StorageUnavailable(f"{answer}.")
    if 300 <= status < 400:
        where = _location(response)
        raise StorageRefused(
            f"{answer} and points to {where}; the redirect of a signed URL is not followed.", _PUBLIC_URL
        )
    raise StorageRefused(f"{answer}.")


def _location(response: http.client.HTTPResponse) -> str:
    """Return where a redirect leads, without its path and query, which may hold a signature."""
    try:
        parts = urlsplit(response.headers.get("Location", ""))
        return (
            str(Origin(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]))
            if parts.hostname
            else "itself"
        )
    except (KeyError, ValueError):
        return "an address that is not valid"


def _retry_after(response: http.client.HTTPResponse) -> float | None:
    value = response.headers.get("Retry-After", "").strip()
    # The other form, a date, would need the clocks of both sides to agree.
    return float(value) if value.isascii() and value.isdigit() and len(value) < 7 else None


def _check_range(response: http.client.HTTPResponse, offset: int, length: int, doing: str) -> None:
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("identity", ""):
        raise StorageRefused(f"Could not {doing}: something on the way has encoded the bytes anew.")
    value = response.headers.get("Content-Range")
    if value is None:
        # Whoever does not know ranges sends everything; that is right only if everything was asked for.
        if response.status == 206 or offset != 0 or response.length != length:
            raise StorageRefused(f"Could not {doing}: the storage does not serve ranges.")
        return
    match = _CONTENT_RANGE.match(value.strip())
    if match is None or (int(match[1]), int(match[2])) != (offset, offset + length - 1):
        raise StorageChanged(f"Could not {doing}: the storage sent the range {value[:80]!r}.", _DAMAGED)
    if response.length is not None and response.length != length:
        raise StorageChanged(f"Could not {doing}: the storage announced {response.length} bytes.", _DAMAGED)


def _read_into(response: http.client.HTTPResponse, view: memoryview, doing: str, origin: Origin, moved: Moved) -> None:
    received = 0
    while received < len(view):
        try:
            count = response.readinto(view[received : received + _READ_BYTES])
        except (OSError, http.client.HTTPException) as error:
            raise _failure(doing, error, origin, None, received) from error
        if not count:
            raise StorageUnavailable(f"Could not {doing}: the answer ended after {received} bytes.", received=received)
        received += count
        moved(count)
    if not _drained(response):
        raise StorageChanged(f"Could not {doing}: more bytes came than were asked for.")


def _drained(response: http.client.HTTPResponse) -> bool:
    """Read what little may be left of a body. Returns True if that was all of it."""
    if response.isclosed():
        return True
    if response.length is not None and response.length > _SMALL_BODY_BYTES:
        return False
    try:
        return len(response.read(_SMALL_BODY_BYTES)) < _SMALL_BODY_BYTES and not response.read(1)
    except (OSError, http.client.HTTPException):
        return False


def _not_sendable(doing: str) -> StorageRefused:
    # The text of the error itself would show the URL.
    return StorageRefused(f"Could not {doing}: its URL or a header of it cannot be sent.")


def _failure(
    doing: str, error: Exception, origin: Origin, used: http.client.HTTPConnection | None, received: int = 0
) -> StorageError:
    seconds = used.timeout if used is not None and isinstance(used.timeout, (int, float)) else 0.0
    found = failure(error, origin, through(used) if used is not None else "", seconds)
    if isinstance(found, TlsRefused):
        return StorageRefused(f"Could not {doing}: {found.message}.", _TLS)
    return StorageUnavailable(f"Could not {doing}: {found.message}.", received=received)
