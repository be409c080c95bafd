# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Errors of the storages and of transfers by signed URLs.

StorageError                                  an operation on an object failed
 ├── InvalidKey          invalid_key          not a valid name of an object
 ├── StorageMissing      storage_missing      there is no such object
 ├── StorageDenied       storage_denied       the storage refuses access, or the URL has expired
 ├── StorageChanged      storage_changed      an object does not have the size or content that it should have
 ├── StorageRefused      storage_refused      a refusal that another attempt will not change
 │    └── InsecureUrl    insecure_url         an http URL, though the server was asked by https
 ├── StorageFull         storage_full         no room left
 └── StorageUnavailable  storage_unavailable  no answer, or a part of one; retryable
      └── StorageThrottled  storage_throttled  the storage asks for a pause; retryable
"""

from __future__ import annotations

from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError


class StorageError(CatalogError):
    """An operation on an object failed; ``retryable`` is True if another attempt can help."""

    code = "storage_error"
    retryable = False


class InvalidKey(StorageError):
    """Not a valid name of an object."""

    code = "invalid_key"


class StorageMissing(StorageError):
    """There is no such object."""

    code = "storage_missing"


class StorageDenied(StorageError):
    """The storage refuses access. It also does if a signed URL has expired; then a new URL helps."""

    code = "storage_denied"


class StorageChanged(StorageError):
    """An object, or what was sent for one, does not have the size or content that it should have."""

    code = "storage_changed"


class StorageRefused(StorageError):
    """A refusal that another attempt will not change: a redirect, an unexpected status, a server without ranges."""

    code = "storage_refused"


class InsecureUrl(StorageRefused):
    """An http URL, though the server was asked by https."""

    code = "insecure_url"


class StorageFull(StorageError):
    """The storage has no room left."""

    code = "storage_full"


class StorageUnavailable(StorageError):
    """No answer, or a part of one: the first ``received`` bytes are in the reader's buffer."""

    code = "storage_unavailable"
    retryable = True

    def __init__(self, message: str, hint: str | None = None, received: int = 0) -> None:
        super().__init__(message, hint)
        self.received = received


class StorageThrottled(StorageUnavailable):
    """The storage asks for a pause, of ``delay_seconds`` if it says how long."""

    code = "storage_throttled"

    def __init__(self, message: str, delay_seconds: float | None = None) -> None:
        super().__init__(message)
        self.delay_seconds = delay_seconds
