# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every provider of a storage can do, and what it tells about itself."""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._storage.base import ObjectInfo


@dataclass(frozen=True)
class Capabilities:
    """What a storage enforces of what a URL that stores an object was made for.

    ``proves_content``: the SHA-256 of the bytes. ``binds_length``: their number. ``create_only``: that there was no
    such object. Where it does not, the next pull or check finds the damage.

    ``deletes``: the server may delete objects there. ``on_this_host``: the objects lie on this machine, so whoever
    makes backups of the machine has to copy them, too.
    """

    proves_content: bool
    binds_length: bool
    create_only: bool
    deletes: bool
    on_this_host: bool


@dataclass(frozen=True)
class Place:
    """Where a storage is, as its row says: what a provider is made of. ``secret`` is encrypted."""

    name: str
    kind: str
    prefix: str = ""
    settings: Mapping[str, t.Any] = field(default_factory=dict)
    secret: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Signed:
    """A signed URL, the headers to send with it, when it expires (Unix time), and in how many seconds."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    expires_at: int
    expires_in: int


@dataclass(frozen=True)
class UrlRequest:
    """What the signed URLs of one answer have in common.

    They are good for ``seconds`` from ``now`` on, and no longer than ``until``. ``base_url`` is that of the API as the
    client sees it. ``holder`` is what they were made for, as ``transfers/holders.py`` writes it: a storage that asks
    the server refuses them at once when that is over.
    """

    base_url: str
    now: datetime.datetime
    seconds: int
    holder: str
    until: datetime.datetime | None = None

    @property
    def expires_at(self) -> int:
        """When they expire, in Unix time."""
        end = int(self.now.timestamp()) + self.seconds
        return end if self.until is None else min(end, int(self.until.timestamp()))

    @property
    def expires_in(self) -> int:
        """In how many seconds that is."""
        return max(0, self.expires_at - int(self.now.timestamp()))


class OpenedObject(t.Protocol):
    """An object opened for reading; ``size`` is its size in bytes."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset`` on."""

    def close(self) -> None:
        """Close it. It may be called twice."""


class Provider(t.Protocol):
    """One storage. Everything but the signing of URLs waits for it, so it does not belong into a transaction.

    All operations raise the errors of ``_storage/errors.py``.
    """

    @property
    def name(self) -> str:
        """Name of its row."""

    @property
    def prefix(self) -> str:
        """Folder of all keys, or nothing."""

    @property
    def where(self) -> str:
        """Where it is, for messages: a path, or host and bucket; no secret."""

    @property
    def capabilities(self) -> Capabilities: ...

    def presign_get(self, key: str, request: UrlRequest) -> Signed:
        """Return a URL that reads an object."""

    def presign_put(self, key: str, size: int, request: UrlRequest) -> Signed:
        """Return a URL that stores an object of ``size`` bytes, whose SHA-256 begins the last part of its key."""

    def open(self, key: str) -> OpenedObject:
        """Open an object to read it in pieces."""

    def get(self, key: str) -> bytes:
        """Return all of an object."""

    def put(self, key: str, data: bytes) -> None:
        """Store an object that the server itself made."""

    def list(self, folder: str) -> Iterator[ObjectInfo]:
        """Yield the objects below a folder in order of their keys."""

    def delete_many(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are not there are deleted already."""

    def discard_incoming(self, folder: str) -> int:
        """Remove what was begun to be stored below a folder and not finished; return how many there were."""

    def discard_abandoned(self, folder: str, before: float, *, deep: bool = True) -> int:
        """Remove the part of that which nobody goes on with, since the process has ended; return how many there were.

        Where that cannot be known, only what got no bytes since ``before``, in Unix time. Without ``deep``, nothing is
        looked for in folders below.
        """

    def probe(self, *, is_first_use: bool) -> None:
        """Raise StorageError unless the storage can be reached and objects can be stored there. It changes nothing.

        With ``is_first_use``, what the first object makes may be missing.
        """

    def free_bytes(self) -> int | None:
        """Return how much more can be stored; None if nobody knows."""

    def held(self) -> AbstractContextManager[None]:
        """Hold the mark while the block lasts, if the storage has locks."""

    def replacing_mark(self) -> AbstractContextManager[None]:
        """Replace the mark in the block, and wait until nobody holds the old one; see ``storages/holding.py``."""
