# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Where things lie in a cache directory, which is private to the user who owns it.

<cache>/bundles/<digest>/bundle/      the files of the bundle, 0444
                        /listing      what it contains
                        /locator      where its chunks lay when it was pulled
                        /record.json  see records.py
<cache>/partial/<digest>/             the same while it grows, with origin.json, and the record only if it was
                                      an entry before
<cache>/trash/                        what was renamed away and is being deleted
<cache>/locks/  <cache>/receipts/
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.records import CacheRecord, Origin
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CacheError, translated
from ansible_collections.macfleet.parallels.plugins.module_utils._host.safety import (
    require_own_directory,
    require_private,
)

BUNDLES = "bundles"
PARTIALS = "partial"
TRASH = "trash"
LOCKS = "locks"
RECEIPTS = "receipts"
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the parts of an image lie, complete or not."""

    digest: str
    path: str

    @property
    def bundle_path(self) -> str:
        return os.path.join(self.path, "bundle")

    @property
    def listing_path(self) -> str:
        return os.path.join(self.path, "listing")

    @property
    def locator_path(self) -> str:
        return os.path.join(self.path, "locator")

    @property
    def record_path(self) -> str:
        return os.path.join(self.path, "record.json")

    @property
    def origin_path(self) -> str:
        return os.path.join(self.path, "origin.json")


@dataclasses.dataclass(frozen=True)
class Partial(Place):
    """An image that is not complete yet, or not known to be."""


@dataclasses.dataclass(frozen=True)
class CacheEntry(Place):
    """An image that was complete when it was published."""

    record: CacheRecord


@dataclasses.dataclass(frozen=True)
class PartialState:
    """What a partial image takes on disk, when something was last written to it (Unix time), and whose it is."""

    partial: Partial
    allocated_bytes: int
    modified_at: float
    origin: t.Optional[Origin]


@dataclasses.dataclass(frozen=True)
class Survey:
    """All that lies below ``bundles``: entries, the one used last first, and digests that are no entries.

    An entry whose record is missing or damaged is ``damaged``: material for the next pull. Nothing is known of one
    that is ``unreadable``, for the reason given: it stays as it is.
    """

    entries: t.Tuple[CacheEntry, ...]
    damaged: t.Tuple[str, ...]
    unreadable: t.Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Layout:
    """The paths of one cache."""

    path: str

    @property
    def receipts(self) -> str:
        return os.path.join(self.path, RECEIPTS)

    @property
    def trash(self) -> str:
        return os.path.join(self.path, TRASH)

    def bundle(self, digest: str) -> str:
        """Return the directory of an entry."""
        return os.path.join(self.path, BUNDLES, checked(digest))

    def partial(self, digest: str) -> str:
        """Return the directory of a partial image."""
        return os.path.join(self.path, PARTIALS, checked(digest))

    def lock(self, name: str) -> str:
        """Return the file of a lock."""
        return os.path.join(self.path, LOCKS, f"{name}.lock")

    def digests(self, room: str) -> t.List[str]:
        """Return the digests that are directories of ``bundles`` or ``partial``, in order."""
        directory = os.path.join(self.path, room)
        with translated(CacheError, f"Reading {directory}"), contextlib.suppress(FileNotFoundError):
            with os.scandir(directory) as found:
                return sorted(
                    item.name for item in found if _DIGEST.match(item.name) and item.is_dir(follow_symlinks=False)
                )
        return []


def open_layout(path: str, *, create: bool) -> t.Tuple[Layout, bool]:
    """Return the layout of the cache at ``path``, and True if it exists; with ``create`` it is made if need be.

    :raises CacheUnsafe: another user could change what it holds
    """
    path = os.path.abspath(path)
    exists = require_private(path, create)
    for name in (BUNDLES, PARTIALS, TRASH, LOCKS, RECEIPTS):
        directory = os.path.join(path, name)
        if create:
            with translated(CacheError, f"Making {directory}"), contextlib.suppress(FileExistsError):
                os.mkdir(directory, 0o700)
        if exists:
            require_own_directory(directory)
    return Layout(path), exists


def checked(digest: str) -> str:
    """Return a digest, which may be part of a path.

    :raises CacheError: it is not one
    """
    if not _DIGEST.match(digest):
        raise CacheError(f"{digest!r} is not a digest.")
    return digest
