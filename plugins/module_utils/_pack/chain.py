# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Deltas applied one after another, from the listing that a host has to the one that it wants. Pure.

A chunk that several of them change has a chain of patches. It starts from a chunk of the host's listing, and each patch
makes the chunk of the next version.
"""

from __future__ import annotations

import typing as t
from array import array
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import codecs
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta import Delta
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta_apply import (
    NO_ORIGIN,
    Applied,
    apply_delta,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.ids import IdTable
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    NO_SEGMENT,
    ChunkRows,
    Listing,
    Locator,
    PatchesRef,
    SegmentRef,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.reuse import KnownChunks

_NO_PATCH = 0xFFFFFFFF


@dataclass
class PatchTable:
    """All patches that can be used with the chunks of the listing ``base``, in columns.

    ``identities`` numbers them by the chunk that each makes. ``origins`` is the reference of the base that its chain
    starts from, ``costs`` the stored bytes of the chain. ``segments`` are the objects that they lie in, with
    ``segment_numbers``, ``offsets`` and ``lengths`` as in a locator; ``raw_lengths`` are those of the chunks they make.
    """

    base: str
    identities: IdTable = field(default_factory=IdTable)
    origins: array[int] = field(default_factory=lambda: array("I"))
    costs: array[int] = field(default_factory=lambda: array("Q"))
    raw_lengths: array[int] = field(default_factory=lambda: array("I"))
    segments: list[PatchesRef] = field(default_factory=list)
    segment_numbers: array[int] = field(default_factory=lambda: array("I"))
    offsets: array[int] = field(default_factory=lambda: array("I"))
    lengths: array[int] = field(default_factory=lambda: array("I"))
    codecs: bytearray = field(default_factory=bytearray)
    _previous: array[int] = field(default_factory=lambda: array("I"))

    def find(self, identity: bytes) -> t.Optional[int]:
        """Return the last patch of the chain that makes a chunk, or None."""
        number = self.identities.find(identity)
        return None if number < 0 else number

    def chain(self, number: int) -> list[int]:
        """Return the patches up to the one with this number, in the order in which they are applied."""
        found = [number]
        while self._previous[found[-1]] != _NO_PATCH:
            found.append(self._previous[found[-1]])
        return found[::-1]

    def add(self, delta: Delta, base: Listing, from_base: array[int], applied: Applied) -> None:
        """Add the patches of a delta that starts from the listing ``base``, as far as this host can decode them.

        ``from_base`` holds for each of its references the one of the table's base with the same chunk.
        """
        first_object = len(self.segments)
        self.segments.extend(delta.patches.objects)
        patches, ids, rows, decodable = delta.patches, delta.chunk_ids, applied.rows, codecs.decodable()
        for patch, (chunk, reference) in enumerate(zip(patches.chunks, patches.bases)):
            identity = ids[32 * chunk : 32 * chunk + 32]
            if patches.codecs[patch] not in decodable:
                continue
            previous, origin, cost = _NO_PATCH, from_base[reference], patches.lengths[patch]
            if origin == NO_ORIGIN:
                before = self.find(base.chunk_id(reference))
                if before is None:
                    # An earlier delta has the chunk that it starts from, but no patch for it.
                    continue
                previous, origin, cost = before, self.origins[before], cost + self.costs[before]
            if identity in self.identities:
                continue
            self.identities.add(identity)
            self.origins.append(origin)
            self.costs.append(cost)
            self.raw_lengths.append(rows.lengths[rows.row_of[identity]])
            self.segment_numbers.append(first_object + patches.numbers[patch])
            self.offsets.append(patches.offsets[patch])
            self.lengths.append(patches.lengths[patch])
            self.codecs.append(patches.codecs[patch])
            self._previous.append(previous)


@dataclass(frozen=True)
class Followed:
    """Where deltas lead: a listing, the places of its chunks as far as the deltas tell, and patches for them."""

    listing: Listing
    rows: ChunkRows
    locator: Locator
    patches: PatchTable


def follow(base: Listing, deltas: t.Sequence[Delta]) -> Followed:
    """Apply deltas, of which each starts from where the one before it leads, to the listing that a host has.

    :raises MalformedIndex: one does not lead to what it says
    :raises ValueError: there is none
    """
    table = PatchTable(base.digest)
    listing, from_base = base, array("I", range(base.chunk_total))
    applied: t.Optional[Applied] = None
    for delta in deltas:
        applied = apply_delta(delta, listing)
        table.add(delta, listing, from_base, applied)
        listing, from_base = applied.listing, _composed(applied.origins, from_base)
    if applied is None:
        raise ValueError("no deltas to follow")
    known = KnownChunks()
    # What came last was placed last.
    for delta in reversed(deltas):
        known.add_delta(delta)
    return Followed(applied.listing, applied.rows, _locator(applied.listing, applied.rows, known), table)


def _composed(origins: array[int], from_base: array[int]) -> array[int]:
    return array("I", (NO_ORIGIN if origin == NO_ORIGIN else from_base[origin] for origin in origins))


def _locator(listing: Listing, rows: ChunkRows, known: KnownChunks) -> Locator:
    """Return the locator of a listing as far as the places of its chunks are known."""
    segments: dict[SegmentRef, int] = {}
    numbers, offsets, lengths, codecs = array("I"), array("I"), array("I"), bytearray()
    for reference in rows.first:
        place = known.placement(listing.chunk_id(reference))
        if place is None:
            numbers.append(NO_SEGMENT)
            offsets.append(0)
            lengths.append(0)
            codecs.append(0)
            continue
        numbers.append(segments.setdefault(place.segment, len(segments)))
        offsets.append(place.offset)
        lengths.append(place.length)
        codecs.append(place.codec)
    return Locator(listing.digest, tuple(segments), numbers, offsets, lengths, bytes(codecs))
