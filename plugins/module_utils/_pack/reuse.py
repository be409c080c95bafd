# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Chunks that lie in storage already: of bases, of deltas, and of an upload that is resumed. Pure."""

from __future__ import annotations

import typing as t
from array import array

from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta import Delta
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.ids import IdTable
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    ChunkRows,
    Locator,
    Placement,
    SegmentRef,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.segments import TrailerRow

# A place holds table and row as one number; a locator has fewer rows than this.
_ROWS = 1 << 32


class _Table(t.Protocol):
    """Rows that tell where chunks lie."""

    def placement(self, row: int) -> Placement:
        """Return where the chunk of a row lies."""
        ...  # pylint: disable=unnecessary-ellipsis


class _Trailer:
    """The rows of one segment, in columns."""

    def __init__(self, segment: SegmentRef, rows: t.Sequence[TrailerRow]) -> None:
        self._segment = segment
        self._offsets = array("I", (row.offset for row in rows))
        self._lengths = array("I", (row.length for row in rows))
        self._codecs = bytes(row.codec for row in rows)

    def placement(self, row: int) -> Placement:
        return Placement(self._segment, self._offsets[row], self._lengths[row], self._codecs[row])


class KnownChunks:
    """Where known chunks lie; what was added first wins.

    Holds columns of ids, locators and trailers, not an object a chunk.
    """

    def __init__(self) -> None:
        self._tables: list[_Table] = []
        self._ids = IdTable()
        self._places = array("Q")

    def __contains__(self, identity: bytes) -> bool:
        return identity in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def add_index(self, rows: ChunkRows, locator: Locator) -> None:
        """Know all chunks of a base."""
        self._add(locator, rows.row_of.items())

    def add_delta(self, delta: Delta) -> None:
        """Know all chunks that a delta adds."""
        ids = delta.chunk_ids
        self._add(delta.rows, ((ids[32 * row : 32 * row + 32], row) for row in range(delta.rows.row_total)))

    def add_trailer(self, segment: SegmentRef, rows: t.Sequence[TrailerRow]) -> None:
        """Know all chunks of one segment."""
        self._add(_Trailer(segment, rows), ((row.identity, number) for number, row in enumerate(rows)))

    def _add(self, table: _Table, rows: t.Iterable[tuple[bytes, int]]) -> None:
        first = len(self._tables) * _ROWS
        self._tables.append(table)
        for identity, row in rows:
            if self._ids.add(identity) == len(self._places):
                self._places.append(first + row)

    def placement(self, identity: bytes) -> t.Optional[Placement]:
        """Return where a chunk lies, or None."""
        number = self._ids.get(identity)
        if number is None:
            return None
        table, row = divmod(self._places[number], _ROWS)
        return self._tables[table].placement(row)
