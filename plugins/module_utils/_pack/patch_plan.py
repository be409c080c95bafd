# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Which chunks of a pull are made by patches, and how their patches are fetched. Pure."""

from __future__ import annotations

import typing as t
from array import array
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import ranges
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.chain import PatchTable
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import ChunkRows, Listing, Locator
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.positions import References, Wanted
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.ranges import Fetch
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.seeds import Seed

# Patches that one worker fetches and applies at a time: several workers share even those of a small update.
BATCH_BYTES = 2 << 20


@dataclass(frozen=True)
class Batch:
    """Rows whose chunks are made together, and the ranges that hold their patches."""

    rows: array[int]
    fetches: tuple[Fetch, ...]

    @property
    def length(self) -> int:
        """Bytes of all ranges."""
        return sum(fetch.length for fetch in self.fetches)


@dataclass(frozen=True)
class PatchedRows:
    """The rows whose chunks are made by patches of ``table`` from chunks of ``base``, a seed.

    ``wanted`` tells the references that each row is written to. ``in_place`` has a 1 for each reference of the listing
    whose file, as it begins, has the chunk that the patches start from at that very place.
    """

    table: PatchTable
    base: Seed
    wanted: Wanted
    in_place: bytes

    def patches_of(self, listing: Listing, rows: ChunkRows, row: int) -> list[int]:
        """Return the patches that make the chunk of a row, in the order in which they are applied."""
        number = self.table.find(listing.chunk_id(rows.first[row]))
        if number is None:
            raise LookupError(f"row {row} has no patch")
        return self.table.chain(number)

    def batches(
        self, listing: Listing, rows: ChunkRows, *, request_bytes: int, max_range_bytes: int
    ) -> t.Iterator[Batch]:
        """Yield the batches, in the order of the listing."""

        def batch(members: array[int], patches: set[int]) -> Batch:
            found = ranges.coalesce(
                self.table, sorted(patches), request_bytes=request_bytes, max_range_bytes=max_range_bytes
            )
            return Batch(members, tuple(found))

        members, length = array("I"), 0
        patches: set[int] = set()
        for row in self.wanted:
            chain = self.patches_of(listing, rows, row)
            length += sum(self.table.lengths[patch] for patch in chain)
            members.append(row)
            patches.update(chain)
            if length >= BATCH_BYTES:
                yield batch(members, patches)
                members, patches, length = array("I"), set(), 0
        if members:
            yield batch(members, patches)


def divide(
    missing: array[int],
    listing: Listing,
    rows: ChunkRows,
    locator: Locator,
    table: PatchTable,
    base: Seed,
    present: t.Mapping[str, memoryview],
) -> tuple[PatchedRows, array[int]]:
    """Return what patches make for less than whole chunks cost, and the other references.

    ``present`` holds the chunk ids that files begin with, by path.
    """
    patched, others = array("I"), array("I")
    in_place = bytearray(listing.chunk_total)
    find = References(listing)
    for reference in missing:
        row = rows.numbers[reference]
        number = table.find(listing.chunk_id(reference))
        if number is None or (locator.is_placed(row) and locator.lengths[row] <= table.costs[number]):
            others.append(reference)
            continue
        patched.append(reference)
        entry, _offset, _length = find.find(reference)
        if entry.path in present:
            place = 32 * (reference - entry.first_chunk)
            there = present[entry.path][place : place + 32]
            in_place[reference] = there == base.listing.chunk_id(table.origins[number])
    return PatchedRows(table, base, Wanted(rows, patched), bytes(in_place)), others
