# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What local bundles have of an image that is wanted. Pure."""

from __future__ import annotations

import typing as t
from array import array
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import ChunkRows, Entry, Listing

# Rows whose place in a seed is not looked for, and those that are in none.
_NOT_WANTED = (1 << 64) - 1
_NOT_FOUND = (1 << 64) - 2


@dataclass(frozen=True)
class Seed:
    """A local bundle whose chunks may be reused.

    ``trusted`` holds the paths whose content is known to be that of ``listing``; chunks of the others are
    hashed as they are taken.
    """

    root: str
    listing: Listing
    trusted: frozenset[str]


def clonable(seeds: t.Iterable[Seed]) -> dict[str, tuple[Seed, Entry]]:
    """Return the first seed that has a trusted file of a path, by path."""
    found: dict[str, tuple[Seed, Entry]] = {}
    for seed in seeds:
        for entry in seed.listing.files():
            if entry.path in seed.trusted:
                found.setdefault(entry.path, (seed, entry))
    return found


def matching_chunks(listing: Listing, seed: Seed) -> int:
    """Return how many chunks of the listing lie at the same place in the seed: the more, the better the seed."""
    others = {entry.path: entry for entry in seed.listing.files() if entry.path in seed.trusted}
    mine, theirs = listing.chunk_ids, seed.listing.chunk_ids
    matches = 0
    for entry in listing.files():
        other = others.get(entry.path)
        if other is None or other.data_start != entry.data_start:
            continue
        here, there = entry.first_chunk * 32, other.first_chunk * 32
        for offset in range(0, 32 * min(entry.chunk_count, other.chunk_count), 32):
            if mine[here + offset : here + offset + 32] == theirs[there + offset : there + offset + 32]:
                matches += 1
    return matches


class Sources:
    """Where the seeds have chunks that are wanted: for each row the first place in the best seed. 8 bytes a row."""

    def __init__(self, rows: ChunkRows, missing: t.Iterable[int], seeds: t.Sequence[Seed]) -> None:
        """``missing`` are the references whose chunks are looked for; none of them is a hole."""
        self._rows = rows
        self._places = array("Q", [_NOT_WANTED]) * len(rows.first)
        open_rows = 0
        for reference in missing:
            row = rows.numbers[reference]
            open_rows += self._places[row] == _NOT_WANTED
            self._places[row] = _NOT_FOUND
        for number, seed in enumerate(seeds):
            if open_rows:
                open_rows -= self._look(number << 32, seed.listing)

    def _look(self, origin: int, listing: Listing) -> int:
        """Look through the ids of a seed; return how many rows were found.

        A chunk of another length is another one, whatever the listing says of its id.
        """
        ids, short = listing.chunk_ids, _short_references(listing)
        lengths, chunk_size = self._rows.lengths, listing.chunk_size
        find, places, zero = self._rows.row_of.find, self._places, chunks.ZERO_CHUNK_ID
        found = 0
        for reference in range(len(ids) // 32):
            identity = ids[reference * 32 : reference * 32 + 32]
            row = -1 if identity == zero else find(identity)
            if row < 0 or places[row] != _NOT_FOUND:
                continue
            if lengths[row] == short.get(reference, chunk_size):
                places[row] = origin + reference
                found += 1
        return found

    def find(self, reference: int) -> t.Optional[int]:
        """Return where the chunk of a reference lies, or None.

        The upper 32 bits are the number of the seed, the lower ones the reference in it.
        """
        place = self._places[self._rows.numbers[reference]]
        return None if place >= _NOT_FOUND else place


def _short_references(listing: Listing) -> dict[int, int]:
    """Return the lengths of the chunks that are shorter than the others, by their references."""
    return {
        entry.first_chunk + number: length
        for entry in listing.files()
        for number, length in chunks.short_chunks(entry.size, entry.data_start, listing.chunk_size).items()
    }
