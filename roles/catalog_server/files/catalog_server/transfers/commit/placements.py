# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Do the segments have the chunks that an index places there?

A segment lists its chunks in its trailer, which is some thousand bytes of 32 MiB. So what an index says, be it copied
from the index of a base, is compared with what the segments themselves say. That the bytes of a chunk are those of its
id is not looked at: whoever pulls hashes each of them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import closing
from itertools import accumulate

from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import Index, Locator, SegmentRef
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.segments import (
    TrailerRow,
    TrailerSearch,
    fetch_tail,
)

from catalog_server.errors import InvalidIndex
from catalog_server.transfers import packs
from catalog_server.transfers.commit.draft import Draft
from catalog_server.unit_of_work import Services

# Of all segments of an index together. Those of an image of 8 TiB have less.
_MOST_TRAILER_BYTES = 2 << 30


def check_placements(services: Services, made: Draft, index: Index) -> None:
    """Compare an index with the trailers of all segments that it refers to, one after the other.

    :raises InvalidIndex: a segment does not list a chunk where the index places it
    :raises MalformedIndex: an object is not a segment
    """
    left = _MOST_TRAILER_BYTES
    for segment, rows in _rows_by_segment(index.locator):
        with closing(packs.pack_of(services, made.storage, segment.pack).open(segment.sha256)) as opened:
            tail = fetch_tail(opened.read, segment.size)
        left -= len(tail)
        if left < 0:
            raise InvalidIndex("The segments of the index list too many chunks.")
        _check_segment(made, index, segment, rows, TrailerSearch(tail))


def _rows_by_segment(locator: Locator) -> Iterator[tuple[SegmentRef, array[int]]]:
    """Yield each segment with the rows of the locator that are placed there.

    They are counted first, so that it takes four bytes for each row.
    """
    counts = array("I", [0]) * len(locator.segments)
    for number in locator.segment_numbers:
        counts[number] += 1
    ends = array("I", accumulate(counts))
    rows = array("I", [0]) * locator.row_total
    free = array("I", (end - count for end, count in zip(ends, counts, strict=True)))
    for row, number in enumerate(locator.segment_numbers):
        rows[free[number]] = row
        free[number] += 1
    for segment, end, count in zip(locator.segments, ends, counts, strict=True):
        yield segment, rows[end - count : end]


def _check_segment(made: Draft, index: Index, segment: SegmentRef, rows: array[int], trailer: TrailerSearch) -> None:
    offsets = index.locator.offsets
    # Each of them is another chunk, so each needs a row of the trailer.
    if len(rows) > trailer.count:
        raise _wrong(made, segment)
    for row in sorted(rows, key=offsets.__getitem__):
        wanted = TrailerRow(
            index.listing.chunk_id(index.rows.first[row]),
            offsets[row],
            index.locator.lengths[row],
            index.rows.lengths[row],
            index.locator.codecs[row],
        )
        if trailer.at(offsets[row]) != wanted:
            raise _wrong(made, segment)


def _wrong(made: Draft, segment: SegmentRef) -> InvalidIndex:
    is_own = segment.pack == made.upload_id
    what_to_do = "Run the push again." if is_own else "The index of a base is wrong: push with an empty list of bases."
    return InvalidIndex(
        f"The segment {segment.sha256} does not have all chunks that the index places there. {what_to_do}"
    )
