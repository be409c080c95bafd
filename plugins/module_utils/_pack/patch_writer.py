# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The patches of a pass over a bundle: its chunks are compared with those at the same place of bases."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks, patches
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.codecs import Buffer
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta_make import StoredPatches
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import ChunkRows, Entry, Listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.places import Places

Encode = t.Callable[[Buffer], t.Tuple[int, bytes]]
# A patch that is not this much smaller than the encoded chunk is not stored: docs/chunk-size.md.
_WORTHWHILE = 0.75


@dataclass(frozen=True)
class Base:
    """A version that a bundle is compared with.

    ``read`` returns the bytes of the chunk at one of its references, or None if they cannot be had. It runs in several
    threads.
    """

    listing: Listing
    rows: ChunkRows
    read: t.Callable[[int], t.Optional[bytes]]


@dataclass(frozen=True)
class BasePatch:
    """A patch that makes a chunk from the one at ``reference`` of the base with this number."""

    base: int
    reference: int
    patch: patches.Patch


@dataclass(frozen=True)
class FinishedPatches:
    """The bytes of an object of patches for a base, and its number among those of the base."""

    base: int
    number: int
    data: bytes


class PatchWriter:
    """Makes patches in the workers, and stores them in the order of the listing."""

    def __init__(self, entries: t.Sequence[Entry], chunk_size: int, bases: t.Sequence[Base], encode: Encode) -> None:
        bare = Listing(chunk_size, tuple(entries), b"", "")
        self._bases = bases
        self._places = [Places(bare, base.listing) for base in bases]
        self._builders = [patches.PatchesBuilder() for _base in bases]
        self._encode = encode
        self.stored = [StoredPatches() for _base in bases]

    def compare(self, reference: int, identity: bytes, chunk: memoryview) -> tuple[BasePatch, ...]:
        """Return the patches for a chunk that bases lack, one for each that has another chunk at the same place."""
        found = []
        for number, (base, places) in enumerate(zip(self._bases, self._places)):
            # What another thread is adding may be missed, which costs a comparison.
            if identity in base.rows.row_of or identity in self.stored[number].identities:
                continue
            there = places.base_reference(reference)
            if there is None:
                continue
            old_identity = base.listing.chunk_id(there)
            old = None if old_identity == chunks.ZERO_CHUNK_ID else base.read(there)
            if old is not None and chunks.chunk_id(old) == old_identity:
                found.append(BasePatch(number, there, patches.make_patch(old, chunk, self._encode)))
        return tuple(found)

    def add(self, identity: bytes, found: t.Iterable[BasePatch], stored_bytes: int) -> None:
        """Take those patches for a chunk of ``stored_bytes`` that are worth it; this is its first reference."""
        for one in found:
            patch = one.patch
            if len(patch.data) > _WORTHWHILE * stored_bytes:
                continue
            stored, builder = self.stored[one.base], self._builders[one.base]
            if builder.is_empty:
                stored.objects.append(None)
            builder.add(patch)
            stored.add(identity, one.reference, patch.codec, len(patch.data), len(stored.objects) - 1)

    def finished(self, *, everything: bool = False) -> t.Iterator[FinishedPatches]:
        """Yield the objects that are full, or ``everything`` that is open, once."""
        for number, builder in enumerate(self._builders):
            if builder.is_full or (everything and not builder.is_empty):
                yield FinishedPatches(number, len(self.stored[number].objects) - 1, builder.finish())
