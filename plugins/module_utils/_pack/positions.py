# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Chunk references in bulk: where they lie in their files, and which of them a row is written to. Pure."""

from __future__ import annotations

import bisect
import typing as t
from array import array

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import ChunkRows, Entry, Listing

_NONE = 0xFFFFFFFF


class References:
    """Finds the file and the span of a chunk reference."""

    def __init__(self, listing: Listing) -> None:
        self._files = [entry for entry in listing.files() if entry.chunk_count]
        self._firsts = [entry.first_chunk for entry in self._files]
        self._chunk_size = listing.chunk_size

    def find(self, reference: int) -> tuple[Entry, int, int]:
        """Return entry, offset and length in bytes."""
        entry = self._files[bisect.bisect_right(self._firsts, reference) - 1]
        number = reference - entry.first_chunk
        return (entry, *chunks.chunk_span(number, entry.size, entry.data_start, self._chunk_size))


class Wanted(t.Collection[int]):
    """Rows of a locator, and for each of them the chunk references that it is written to.

    Two columns of numbers, not an object a chunk: each row has its first reference, each reference the next one.
    """

    def __init__(self, rows: ChunkRows, references: t.Reversible[int]) -> None:
        """``references`` are those to write to, in order; none of them is a hole."""
        self._first = array("I", [_NONE]) * len(rows.first)
        self._next = array("I")
        self._count = 0
        for reference in reversed(references):
            row = rows.numbers[reference]
            known, self._first[row] = self._first[row], reference
            if known == _NONE:
                self._count += 1
                continue
            # Most chunks are used once: this column is often not needed.
            if not self._next:
                self._next = array("I", [_NONE]) * len(rows.numbers)
            self._next[reference] = known

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> t.Iterator[int]:
        return (row for row, first in enumerate(self._first) if first != _NONE)

    def __contains__(self, row: object) -> bool:
        return isinstance(row, int) and 0 <= row < len(self._first) and self._first[row] != _NONE

    def references(self, row: int) -> t.Iterator[int]:
        """Yield the references of a row, in order."""
        reference = self._first[row]
        while reference != _NONE:
            yield reference
            reference = self._next[reference] if self._next else _NONE
