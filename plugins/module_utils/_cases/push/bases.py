# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The bases of a push: what they contain, and the bytes of their chunks, from this host or from storage."""

from __future__ import annotations

import contextlib
import os
import threading
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import ApiError
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.cached import look_at_cache
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CacheError
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import codecs, reading
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import PackError
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    ChunkRows,
    Listing,
    Locator,
    chunk_rows,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index_file import MAX_DELTAS
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import decode_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import decode_locator
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.patch_writer import Base
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.positions import References
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.reuse import KnownChunks
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import StorageError
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.sources import Source

# By default, chunks of bases are downloaded for at most this many times the encoded bytes of new chunks.
_TIMES_ENCODED = 2


@dataclass(frozen=True)
class KnownBase:
    """A version whose chunks may be reused, and what it contains."""

    manifest: Manifest
    listing: Listing
    rows: ChunkRows
    locator: Locator


@dataclass(frozen=True)
class Compared:
    """Bases to make deltas from; ``is_local`` says that this host has the chunks of all of them."""

    bases: tuple[Base, ...]
    is_local: bool


def read_bases(bases: t.Iterable[Manifest], catalog: CatalogClient) -> tuple[KnownBase, ...]:
    """Fetch and check what earlier versions contain."""
    found = []
    for base in bases:
        listing = decode_listing(catalog.listing(base.id))
        rows = chunk_rows(listing)
        found.append(KnownBase(base, listing, rows, decode_locator(catalog.locator(base.id), listing, rows)))
    return tuple(found)


def add_bases(known: KnownChunks, bases: t.Iterable[KnownBase]) -> None:
    """Make the chunks of earlier versions known."""
    for base in bases:
        known.add_index(base.rows, base.locator)


class Budget:
    """How many bytes of bases may be downloaded: ``limit_bytes``, or as many as follow from what is new."""

    def __init__(self, limit_bytes: t.Optional[int]) -> None:
        self._is_fixed = limit_bytes is not None
        self._allowed = limit_bytes or 0
        self._taken = 0
        self._lock = threading.Lock()

    def earn(self, encoded_bytes: int) -> None:
        """Note the encoded bytes of a new chunk."""
        if not self._is_fixed:
            with self._lock:
                self._allowed += _TIMES_ENCODED * encoded_bytes

    def take(self, count: int) -> bool:
        """Return True if so many bytes may be downloaded; they are then taken."""
        with self._lock:
            if self._taken + count > self._allowed:
                return False
            self._taken += count
            return True


def compared(bases: t.Sequence[KnownBase], budget: Budget, context: Context) -> Compared:
    """Return the first bases, which a push makes deltas from, with readers of their chunks."""
    # Versions with the same content are one base: a commit has one delta from each content.
    distinct: dict[str, KnownBase] = {}
    for base in bases:
        distinct.setdefault(base.listing.digest, base)
    chosen = list(distinct.values())[:MAX_DELTAS]
    roots = [_cached_root(base, context) for base in chosen]
    found = []
    for base, root in zip(chosen, roots):
        source = context.transfers.pull_source(base.manifest.id, base.locator.segments)
        reader = _Reader(base, root, source, budget)
        found.append(Base(base.listing, base.rows, reader.read))
    return Compared(tuple(found), all(root is not None for root in roots))


def _cached_root(base: KnownBase, context: Context) -> t.Optional[str]:
    """Return where this host has the bundle of a base, or None. Whatever is read there is hashed."""
    with contextlib.suppress(CacheError):
        entry = look_at_cache(context).find(base.manifest.digest)
        return None if entry is None else entry.bundle_path
    return None


class _Reader:
    """Reads chunks of one base: from the cache, else from storage as long as the budget lasts."""

    def __init__(self, base: KnownBase, root: t.Optional[str], source: Source, budget: Budget) -> None:
        self._base = base
        self._root = root
        self._source = source
        self._budget = budget
        self._references = References(base.listing)
        self._is_broken = False

    def read(self, reference: int) -> t.Optional[bytes]:
        """Return the bytes of the chunk at a reference, which the caller hashes, or None if they cannot be had."""
        if self._root is not None:
            data = self._read_cached(self._root, reference)
            if data is not None:
                return data
        return None if self._is_broken else self._download(reference)

    def _read_cached(self, root: str, reference: int) -> t.Optional[bytes]:
        entry, offset, length = self._references.find(reference)
        try:
            descriptor = reading.open_regular(os.path.join(root, entry.path))
            try:
                data = bytearray(length)
                with memoryview(data) as view:
                    return bytes(data) if reading.read_into(descriptor, view, offset) == length else None
            finally:
                os.close(descriptor)
        except OSError:
            return None

    def _download(self, reference: int) -> t.Optional[bytes]:
        row = self._base.rows.numbers[reference]
        place = self._base.locator.placement(row)
        if place.codec not in codecs.decodable() or not self._budget.take(place.length):
            return None
        try:
            data = self._source.fetch(place.segment, place.offset, place.length)
            return bytes(codecs.decode(place.codec, data, self._base.rows.lengths[row]))
        except PackError:
            return None
        except (StorageError, ApiError):
            # A push needs no patches: it does not wait for the next one.
            self._is_broken = True
            return None
