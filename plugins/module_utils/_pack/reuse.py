# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Chunks that lie in storage already, of base manifests and of an upload that is resumed. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    Listing,
    Locator,
    Placement,
    SegmentRef,
    chunk_rows,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.segments import TrailerRow


class KnownChunks:
    """Where known chunks lie; what was added first wins.

    Holds one dictionary entry a chunk and the columns of the locators, not an object a chunk.
    """

    def __init__(self) -> None:
        self._locators: list[Locator] = []
        self._trailers: list[tuple[SegmentRef, t.Sequence[TrailerRow]]] = []
        # id -> (table, row); tables below zero are trailers
        self._where: dict[bytes, tuple[int, int]] = {}

    def __contains__(self, identity: bytes) -> bool:
        return identity in self._where

    def __len__(self) -> int:
        return len(self._where)

    def add_index(self, listing: Listing, locator: Locator) -> None:
        """All chunks of a base."""
        self._locators.append(locator)
        table = len(self._locators) - 1
        for identity, row in chunk_rows(listing).row_of.items():
            self._where.setdefault(identity, (table, row))

    def add_trailer(self, segment: SegmentRef, rows: t.Sequence[TrailerRow]) -> None:
        """All chunks of one segment."""
        self._trailers.append((segment, rows))
        table = -len(self._trailers)
        for number, row in enumerate(rows):
            self._where.setdefault(row.identity, (table, number))

    def placement(self, identity: bytes) -> t.Optional[Placement]:
        """Where a chunk lies, or None."""
        where = self._where.get(identity)
        if where is None:
            return None
        table, row = where
        if table >= 0:
            return self._locators[table].placement(row)
        segment, rows = self._trailers[-table - 1]
        return Placement(segment, rows[row].offset, rows[row].length, rows[row].codec)
