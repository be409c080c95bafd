# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Transfer of object bytes by signed URLs, over plain HTTP(S).

How a connection is made (TLS, proxy, timeout) is handed in, and a URL is only used, never made or
renewed here. Connections are kept and used again, by one worker at a time, so there are as many per host
as there are workers. Nothing is retried, but for one case that is no failure: a kept connection that the
server has closed meanwhile is opened again, once. That is safe, as reading and storing the same immutable
object twice is the same as once.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
import typing as t
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import (
    StorageChanged,
    StorageDenied,
    StorageError,
    StorageFull,
    StorageMissing,
    StorageRefused,
    StorageThrottled,
    StorageUnavailable,
)

Connect = t.Callable[[str, str, int], http.client.HTTPConnection]
Alive = t.Callable[[], None]
Buffer = t.Union[bytes, bytearray, memoryview]

# How much is asked of or given to a socket at once; what was received before a failure is known to this many bytes.
_BLOCK_BYTES = 1 << 20
# An answer that is not the wanted one is read up to here, so that its connection stays usable.
_SMALL_BODY_BYTES = 1 << 16
_PORTS = {"http": 80, "https": 443}
_STALE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ConnectionAbortedError)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(?:\d{1,18}|\*)\Z")
_NO_PLAIN_URL = "it is no http or https URL with a host"
_LOST = "If it stays so, the storage has lost data: delete the version, and push it again with an empty list of bases."
_RETRYABLE_STATUS = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class SignedUrl:
    """A URL that opens one object for a while. It is a secret until ``expires_at`` (Unix time)."""

    url: str = field(repr=False)
    expires_at: float
    headers: t.Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class _Target:
    scheme: str
    host: str
    port: int
    selector: str

    @property
    def name(self) -> str:
        """What to call it in an error: the query, which holds the signature, is left out."""
        return f"{self.scheme}://{self.host}:{self.port}{self.selector.partition('?')[0]}"


class SignedTransfer:
    """GET and PUT of objects by signed URLs.

    ``connect(scheme, host, port)`` gives a new connection, with its timeout set, that speaks
    ``http.client``'s interface; whatever a proxy for plain HTTP needs in the request line is its business.
    ``alive`` is called after each block, as one request may take long; an exception of it ends the request.
    Usable from several threads at once.
    """

    def __init__(self, connect: Connect, alive: Alive = lambda: None) -> None:
        self._connect = connect
        self._alive = alive
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, str, int], list[http.client.HTTPConnection]] = {}
        self._closed = False

    def fetch(self, signed: SignedUrl, offset: int, length: int) -> memoryview:
        """``length`` bytes of the object from ``offset`` on."""
        buffer = bytearray(length)
        self.fetch_into(signed, offset, buffer)
        return memoryview(buffer).toreadonly()

    def fetch_into(self, signed: SignedUrl, offset: int, buffer: bytearray | memoryview) -> None:
        """Fill ``buffer`` with the bytes of the object from ``offset`` on.

        :raises StorageUnavailable: the answer did not come or broke off; ``received`` bytes are in the buffer
        :raises StorageError: any other, see ``errors.py``
        """
        view = memoryview(buffer).cast("B")
        target = _target(signed.url)
        doing = f"read {len(view)} bytes from {offset} on of {target.name}"
        headers = {"Range": f"bytes={offset}-{offset + len(view) - 1}"}
        with self._exchange("GET", target, {**signed.headers, **headers}, None, doing) as response:
            _check_status(response, (200, 206), doing)
            _check_range(response, offset, len(view), doing)
            _read_into(response, view, doing, self._alive)

    def put(self, signed: SignedUrl, data: Buffer) -> None:
        """Store ``data`` as the object.

        :raises StorageError: see ``errors.py``
        """
        view = memoryview(data).cast("B")
        target = _target(signed.url)
        doing = f"store {len(view)} bytes as {target.name}"
        headers = {"Content-Type": "application/octet-stream", **signed.headers}
        with self._exchange("PUT", target, headers, view, doing) as response:
            _check_status(response, (200, 201, 204), doing)
            if not _drained(response, doing):
                response.close()

    def close(self) -> None:
        """Close the connections that are not in use; those in use are closed when given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def __enter__(self) -> SignedTransfer:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _exchange(
        self, method: str, target: _Target, headers: t.Mapping[str, str], body: memoryview | None, doing: str
    ) -> t.Iterator[http.client.HTTPResponse]:
        """One request and its response; keeps the connection if the block read the response to its end."""
        connection, response = self._ask(method, target, headers, body, doing)
        keep = False
        try:
            try:
                yield response
            except StorageError:
                if not response.isclosed():
                    _drained(response, doing)
                keep = response.isclosed() and not response.will_close
                raise
            keep = response.isclosed() and not response.will_close
        finally:
            if keep:
                self._give_back(target, connection)
            else:
                response.close()
                connection.close()

    def _ask(
        self, method: str, target: _Target, headers: t.Mapping[str, str], body: memoryview | None, doing: str
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        kept = self._take(target)
        try:
            if kept is not None:
                try:
                    return kept, _request_or_close(kept, method, target, headers, body, self._alive)
                except _STALE:
                    pass
            connection = self._connect(target.scheme, target.host, target.port)
            return connection, _request_or_close(connection, method, target, headers, body, self._alive)
        except (ValueError, http.client.InvalidURL):
            # The text of it would show the URL.
            raise StorageRefused(f"Could not {doing}: its URL or a header of it cannot be sent.") from None
        except (OSError, http.client.HTTPException) as error:
            raise _unavailable(doing, error) from error

    def _take(self, target: _Target) -> http.client.HTTPConnection | None:
        with self._lock:
            idle = self._idle.get((target.scheme, target.host, target.port))
            return idle.pop() if idle else None

    def _give_back(self, target: _Target, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.setdefault((target.scheme, target.host, target.port), []).append(connection)
                return
        connection.close()


def _target(url: str) -> _Target:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (KeyError, ValueError):
        raise StorageRefused(f"Could not use a signed URL: {_NO_PLAIN_URL}.") from None
    if not parts.hostname or parts.username is not None:
        raise StorageRefused(f"Could not use a signed URL: {_NO_PLAIN_URL}.")
    path = parts.path or "/"
    return _Target(parts.scheme, parts.hostname, port, f"{path}?{parts.query}" if parts.query else path)


def _request_or_close(
    connection: http.client.HTTPConnection,
    method: str,
    target: _Target,
    headers: t.Mapping[str, str],
    body: memoryview | None,
    alive: Alive,
) -> http.client.HTTPResponse:
    try:
        return _request(connection, method, target, headers, body, alive)
    except BaseException:
        connection.close()
        raise


def _request(
    connection: http.client.HTTPConnection,
    method: str,
    target: _Target,
    headers: t.Mapping[str, str],
    body: memoryview | None,
    alive: Alive,
) -> http.client.HTTPResponse:
    connection.putrequest(method, target.selector, skip_accept_encoding=True)
    # A body that something on the way compressed would not be the bytes that were stored.
    connection.putheader("Accept-Encoding", "identity")
    for name, value in headers.items():
        connection.putheader(name, value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    view = body or memoryview(b"")
    for start in range(0, len(view), _BLOCK_BYTES):
        try:
            connection.send(view[start : start + _BLOCK_BYTES])
        except (BrokenPipeError, ConnectionResetError):
            # A server may answer before it has read everything, and close: that answer says why.
            with contextlib.suppress(OSError, http.client.HTTPException):
                return connection.getresponse()
            raise
        alive()
    return connection.getresponse()


def _check_status(response: http.client.HTTPResponse, wanted: tuple[int, ...], doing: str) -> None:
    status = response.status
    if status in wanted:
        return
    answer = f"the storage answered {status} {response.reason}".rstrip()
    if status in (401, 403):
        raise StorageDenied(f"Could not {doing}: {answer}.")
    if status in (404, 410):
        raise StorageMissing(f"Could not {doing}: {answer}.", _LOST)
    if status == 416:
        raise StorageChanged(f"Could not {doing}: the object is shorter than that.", _LOST)
    if status == 507:
        raise StorageFull(f"Could not {doing}: {answer}.")
    if status in (429, 503):
        raise StorageThrottled(f"Could not {doing}: {answer}.", _retry_after(response))
    if status in _RETRYABLE_STATUS:
        raise StorageUnavailable(f"Could not {doing}: {answer}.")
    if 300 <= status < 400:
        raise StorageRefused(f"Could not {doing}: {answer}, and a signed URL may not lead elsewhere.")
    raise StorageRefused(f"Could not {doing}: {answer}.")


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
        raise StorageChanged(f"Could not {doing}: the storage sent the range {value[:80]!r}.", _LOST)
    if response.length is not None and response.length != length:
        raise StorageChanged(f"Could not {doing}: the storage announced {response.length} bytes.", _LOST)


def _read_into(response: http.client.HTTPResponse, view: memoryview, doing: str, alive: Alive) -> None:
    received = 0
    while received < len(view):
        try:
            count = response.readinto(view[received : received + _BLOCK_BYTES])
        except (OSError, http.client.HTTPException) as error:
            raise _unavailable(doing, error, received) from error
        if not count:
            raise StorageUnavailable(f"Could not {doing}: the answer ended after {received} bytes.", received=received)
        received += count
        alive()
    if not _drained(response, doing):
        raise StorageChanged(f"Could not {doing}: more bytes came than were asked for.")


def _drained(response: http.client.HTTPResponse, doing: str) -> bool:
    """Read what little may be left of a body; whether that was all of it."""
    if response.isclosed():
        return True
    if response.length is not None and response.length > _SMALL_BODY_BYTES:
        return False
    try:
        return len(response.read(_SMALL_BODY_BYTES)) < _SMALL_BODY_BYTES and not response.read(1)
    except (OSError, http.client.HTTPException):
        return False


def _unavailable(doing: str, error: Exception, received: int = 0) -> StorageUnavailable:
    why = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return StorageUnavailable(f"Could not {doing}: {why}.", received=received)
