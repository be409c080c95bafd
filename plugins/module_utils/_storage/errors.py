# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Errors of the storages and of transfers by signed URLs.

StorageError                                  what an object needed and did not get
 ├── InvalidKey          invalid_key          a name that our objects cannot have
 ├── StorageMissing      storage_missing      there is no such object
 ├── StorageDenied       storage_denied       the storage refuses: no right, or the URL has expired
 ├── StorageChanged      storage_changed      an object is there, but is not what it should be
 ├── StorageRefused      storage_refused      an answer that asking again will not change
 │    └── InsecureUrl    insecure_url         an http URL, though the server was asked by https
 ├── StorageFull         storage_full         no room left
 └── StorageUnavailable  storage_unavailable  no answer, or half of one; retryable
      └── StorageThrottled  storage_throttled  asked to come back later; retryable
"""

from __future__ import annotations

from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError


class StorageError(CatalogError):
    """Whatever goes wrong between us and a storage; ``retryable`` is True if asking again can help."""

    code = "storage_error"
    retryable = False


class InvalidKey(StorageError):
    """A name that our objects cannot have."""

    code = "invalid_key"


class StorageMissing(StorageError):
    """There is no such object."""

    code = "storage_missing"


class StorageDenied(StorageError):
    """The storage refuses. It does so, too, when a signed URL has expired: a new URL may help."""

    code = "storage_denied"


class StorageChanged(StorageError):
    """An object, or what was sent for one, does not have the size or content that it should have."""

    code = "storage_changed"


class StorageRefused(StorageError):
    """An answer that asking again will not change: a redirect, an unexpected status, a server without ranges."""

    code = "storage_refused"


class InsecureUrl(StorageRefused):
    """The server was asked by https and hands out an http URL."""

    code = "insecure_url"


class StorageFull(StorageError):
    """The storage has no room left."""

    code = "storage_full"


class StorageUnavailable(StorageError):
    """No answer, or half of one.

    ``received`` counts the bytes at the front of a reader's buffer that did arrive.
    """

    code = "storage_unavailable"
    retryable = True

    def __init__(self, message: str, hint: str | None = None, received: int = 0) -> None:
        super().__init__(message, hint)
        self.received = received


class StorageThrottled(StorageUnavailable):
    """The storage asks to come back later, after ``delay_seconds`` if it says so."""

    code = "storage_throttled"

    def __init__(self, message: str, delay_seconds: float | None = None) -> None:
        super().__init__(message)
        self.delay_seconds = delay_seconds
