# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The same place in two listings. Pure.

*The same place* is the same path, the same run of the file (header or data area), and the same number in that run,
wherever the data areas begin. ``docs/pack-format.md`` defines it.
"""

from __future__ import annotations

import bisect
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import Entry, Listing


@dataclass(frozen=True)
class PlaceRun:
    """Neighbouring references of a listing, ``count`` from ``first``, and the first of those in the base."""

    first: int
    base_first: int
    count: int


class Places:
    """Where the references of a listing have their places in a base of the same chunk size."""

    def __init__(self, listing: Listing, base: Listing) -> None:
        self.runs = tuple(_runs(listing, base))
        self._firsts = [run.first for run in self.runs]

    def base_reference(self, reference: int) -> t.Optional[int]:
        """Return the reference of the base at the same place, or None if the base has no such place."""
        number = bisect.bisect_right(self._firsts, reference) - 1
        if number < 0:
            return None
        run = self.runs[number]
        offset = reference - run.first
        return run.base_first + offset if offset < run.count else None


def _runs(listing: Listing, base: Listing) -> t.Iterator[PlaceRun]:
    others = {entry.path: entry for entry in base.files()}
    for entry in listing.files():
        other = others.get(entry.path)
        if other is None:
            continue
        header, other_header = _header_chunks(entry, listing.chunk_size), _header_chunks(other, base.chunk_size)
        yield from _run(entry.first_chunk, header, other.first_chunk, other_header)
        yield from _run(
            entry.first_chunk + header,
            entry.chunk_count - header,
            other.first_chunk + other_header,
            other.chunk_count - other_header,
        )


def _run(first: int, count: int, base_first: int, base_count: int) -> t.Iterator[PlaceRun]:
    if min(count, base_count):
        yield PlaceRun(first, base_first, min(count, base_count))


def _header_chunks(entry: Entry, chunk_size: int) -> int:
    return -(-entry.data_start // chunk_size)
