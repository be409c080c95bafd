# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Answers to requests by signed URLs: their status, range and body, and the errors that they mean."""

from __future__ import annotations

import http.client
import re
import typing as t
from urllib.parse import urlsplit

from ansible_collections.macfleet.parallels.plugins.module_utils._base.connection_errors import TlsRefused, failure
from ansible_collections.macfleet.parallels.plugins.module_utils._base.connections import Origin
from ansible_collections.macfleet.parallels.plugins.module_utils._base.proxies import through
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

Moved = t.Callable[[int], None]

# How much is asked of a socket at once. What was received before a failure is known to this many bytes, which a
# connection of 20 kB/s receives in 3 seconds.
_READ_BYTES = 1 << 16
# An answer that is not the wanted one is read up to here, so that its connection stays usable.
_SMALL_BODY_BYTES = 1 << 16
PORTS = {"http": 80, "https": 443}
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(?:\d{1,18}|\*)\Z")
PUBLIC_URL = (
    "The URLs are made of the server's public_url, or else of the address that its trusted_proxies report: check both "
    "settings of the server."
)
NOT_READABLE = (
    f"{PUBLIC_URL} If they are right, the storage does not have what the version needs: ask the administrator to look "
    "for the object in the storage."
)
NOT_STORABLE = f"Nothing was stored. {PUBLIC_URL} Then run the task again; it resumes."
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


def check_status(response: http.client.HTTPResponse, wanted: tuple[int, ...], doing: str, missing_hint: str) -> None:
    """Raise the error that a status means, unless it is ``wanted``; ``missing_hint`` is for a missing object."""
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
            f"{answer} and points to {where}; the redirect of a signed URL is not followed.", PUBLIC_URL
        )
    raise StorageRefused(f"{answer}.")


def _location(response: http.client.HTTPResponse) -> str:
    """Return where a redirect leads, without its path and query, which may hold a signature."""
    try:
        parts = urlsplit(response.headers.get("Location", ""))
        return (
            str(Origin(parts.scheme, parts.hostname, parts.port or PORTS[parts.scheme])) if parts.hostname else "itself"
        )
    except (KeyError, ValueError):
        return "an address that is not valid"


def _retry_after(response: http.client.HTTPResponse) -> float | None:
    value = response.headers.get("Retry-After", "").strip()
    # The other form, a date, would need the clocks of both sides to agree.
    return float(value) if value.isascii() and value.isdigit() and len(value) < 7 else None


def check_range(response: http.client.HTTPResponse, offset: int, length: int, doing: str) -> None:
    """Check that an answer contains exactly the range that was asked for.

    :raises StorageRefused: the storage does not serve ranges, or the bytes are encoded
    :raises StorageChanged: it sends another range
    """
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("identity", ""):
        raise StorageRefused(f"Could not {doing}: a proxy on the way has encoded the bytes.")
    value = response.headers.get("Content-Range")
    if value is None:
        # A server without ranges sends everything, which is right only if everything was asked for.
        if response.status == 206 or offset != 0 or response.length != length:
            raise StorageRefused(f"Could not {doing}: the storage does not serve ranges.")
        return
    match = _CONTENT_RANGE.match(value.strip())
    if match is None or (int(match[1]), int(match[2])) != (offset, offset + length - 1):
        raise StorageChanged(f"Could not {doing}: the storage sent the range {value[:80]!r}.", _DAMAGED)
    if response.length is not None and response.length != length:
        raise StorageChanged(f"Could not {doing}: the storage announced {response.length} bytes.", _DAMAGED)


def read_into(response: http.client.HTTPResponse, view: memoryview, doing: str, origin: Origin, moved: Moved) -> None:
    """Fill ``view`` with the body of an answer; ``moved`` is called with the size of each block.

    :raises StorageUnavailable: the body ended too early; ``received`` bytes are in the view
    :raises StorageChanged: the body is longer than the view
    """
    received = 0
    while received < len(view):
        try:
            count = response.readinto(view[received : received + _READ_BYTES])
        except (OSError, http.client.HTTPException) as error:
            raise failed(doing, error, origin, None, received) from error
        if not count:
            raise StorageUnavailable(f"Could not {doing}: the answer ended after {received} bytes.", received=received)
        received += count
        moved(count)
    if not drained(response):
        raise StorageChanged(f"Could not {doing}: more bytes came than were asked for.")


def drained(response: http.client.HTTPResponse) -> bool:
    """Read the rest of a body if it is short. Returns True if it was: then the connection can be used again."""
    if response.isclosed():
        return True
    if response.length is not None and response.length > _SMALL_BODY_BYTES:
        return False
    try:
        return len(response.read(_SMALL_BODY_BYTES)) < _SMALL_BODY_BYTES and not response.read(1)
    except (OSError, http.client.HTTPException):
        return False


def not_sendable(doing: str) -> StorageRefused:
    """Return the error for a request that ``http.client`` refuses to send."""
    # The text of the error itself would show the URL.
    return StorageRefused(f"Could not {doing}: its URL or a header of it cannot be sent.")


def failed(
    doing: str, error: Exception, origin: Origin, used: http.client.HTTPConnection | None, received: int = 0
) -> StorageError:
    """Return the error for a request that failed on its connection ``used``, after ``received`` bytes of the answer."""
    seconds = used.timeout if used is not None and isinstance(used.timeout, (int, float)) else 0.0
    found = failure(error, origin, through(used) if used is not None else "", seconds)
    if isinstance(found, TlsRefused):
        return StorageRefused(f"Could not {doing}: {found.message}.", _TLS)
    return StorageUnavailable(f"Could not {doing}: {found.message}.", received=received)
