# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The interface of a storage: a flat set of named, immutable objects.

What a storage guarantees:

* **Atomic.** An object is there whole or not at all, even if its writer dies.
* **Durable.** When ``put`` returns, the object survives a power cut.
* **Read after write.** An object can be read as soon as its ``put`` has returned.
* **Idempotent.** The same ``put`` or ``delete_many`` twice is the same as once.

It need not guarantee an order among several calls, nor a listing that is consistent with puts that run
at the same time. A storage translates the errors of its provider into those of ``errors.py`` and
never retries; ``retrying.py`` does.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import InvalidKey

# The smallest limits of the providers: S3 and Azure allow keys of 1024 bytes, file systems names of 255.
# Names of temporary files of a storage begin with a dot, so no key can be one of them.
MAX_KEY_BYTES = 1024
_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}(?:/[A-Za-z0-9_-][A-Za-z0-9._-]{0,199})*\Z")


@dataclass(frozen=True)
class ByteRange:
    """``length`` bytes from ``offset`` on."""

    offset: int
    length: int

    def __post_init__(self) -> None:
        if self.offset < 0 or self.length <= 0:
            raise ValueError(f"{self.length} bytes from {self.offset} on are not a range")

    @property
    def end(self) -> int:
        """The first byte behind the range."""
        return self.offset + self.length


@dataclass(frozen=True)
class ObjectInfo:
    """One object: its key and its size in bytes."""

    key: str
    size: int


class Storage(t.Protocol):
    """A place for objects. Keys are relative names of parts between slashes, see ``check_key``.

    ``proves_content`` is True if the storage itself hashes each object that it takes by a signed URL, and refuses one
    that its URL was not made for.
    """

    proves_content: bool

    def put(self, key: str, data: bytes, sha256: str) -> None:
        """Store ``data``, whose SHA-256 is ``sha256``, under ``key``; what was there is replaced.

        :raises StorageChanged: the data does not have that digest; nothing is stored
        """
        ...  # pylint: disable=unnecessary-ellipsis

    def get(self, key: str, byte_range: ByteRange | None = None) -> bytes:
        """Return the object, or exactly the range that is asked for.

        :raises StorageMissing: there is none
        :raises StorageChanged: it ends before the range does
        """
        ...  # pylint: disable=unnecessary-ellipsis

    def head(self, key: str) -> ObjectInfo:
        """Return key and size of one object.

        :raises StorageMissing: there is none
        """
        ...  # pylint: disable=unnecessary-ellipsis

    def list(self, prefix: str, limit: int | None = None) -> t.Iterator[ObjectInfo]:
        """Yield the objects below the folder ``prefix`` in order of keys, ``limit`` at most; "" is all."""
        ...  # pylint: disable=unnecessary-ellipsis

    def delete_many(self, keys: t.Iterable[str]) -> None:
        """Delete objects; those that are not there are deleted already."""
        ...  # pylint: disable=unnecessary-ellipsis


def check_key(key: str) -> None:
    """Raise InvalidKey unless every storage accepts ``key`` as a name, and none reads it as a path that leads out."""
    if len(key) > MAX_KEY_BYTES or not _KEY.match(key):
        raise InvalidKey(
            f"{key[:200]!r} is not a valid name of an object: names are parts of letters, digits, '.', '_' and '-' "
            "between slashes, and no part begins with a dot."
        )
