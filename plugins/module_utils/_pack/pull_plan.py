# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The plan of a pull: columns of numbers, from which the steps are made one by one as they are carried out. Pure."""

from __future__ import annotations

import dataclasses
import os
import typing as t
from array import array
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._base.link import LinkCost
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import ranges
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    ChunkRows,
    Entry,
    Listing,
    Locator,
    ObjectRef,
    SegmentRef,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.patch_plan import Batch, PatchedRows
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.positions import References, Wanted
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.ranges import Fetch
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.seeds import Seed

# One request fetches at most this many bytes: each transfer has a buffer of the size.
MAX_RANGE_BYTES = 8 << 20
# One copy reads and writes at most this many bytes; at least one chunk.
MAX_COPY_BYTES = 4 << 20

# The unit in which file systems hand out space.
_BLOCK_BYTES = 4096

EMPTY = "empty"
CLONE = "clone"
KEEP = "keep"


@dataclass(frozen=True)
class FileStart:
    """How a file begins: empty, as a clone of a seed's file, or as it lies in the partial bundle."""

    entry: Entry
    start: str
    source: str = ""


@dataclass(frozen=True)
class ZeroRange:
    """A range, in bytes, that has to become a hole."""

    entry: Entry
    offset: int
    length: int


@dataclass(frozen=True)
class Copy:
    """Neighbouring chunks, ``count`` from reference ``first``, that lie in one file of a seed."""

    entry: Entry
    offset: int
    length: int
    source: str
    source_offset: int
    first: int
    count: int
    verify: bool


@dataclass(frozen=True)
class PullPlan:
    """All steps from what is there to the bundle of ``listing``.

    ``zeros`` are the chunk references that have to become holes; ``copied`` those that are copied from seeds, and
    ``origins`` the number of the seed (upper 32 bits) and the reference in it (lower ones) that each is copied from.
    ``wanted`` are the rows to download whole, and the references that each is written to; ``patched`` those to make by
    patches.

    All bytes are raw, except ``download_bytes``: these are what the requests over ``link`` ask for, encoded chunks and
    the gaps between them, and patches.
    """

    listing: Listing
    rows: ChunkRows
    locator: Locator
    link: LinkCost
    starts: tuple[FileStart, ...]
    seeds: tuple[Seed, ...]
    zeros: array[int]
    copied: array[int]
    origins: array[int]
    wanted: Wanted
    patched: t.Optional[PatchedRows]
    kept_bytes: int
    hole_bytes: int
    copied_bytes: int
    write_bytes: int
    download_bytes: int
    download_requests: int

    @property
    def download_chunks(self) -> int:
        """Distinct chunks to download."""
        return len(self.wanted)

    @property
    def download_raw_bytes(self) -> int:
        """Raw bytes of the distinct chunks to download."""
        return sum(self.rows.lengths[row] for row in self.wanted)

    @property
    def patched_bytes(self) -> int:
        """Raw bytes of all references that patches make."""
        if self.patched is None:
            return 0
        wanted = self.patched.wanted
        return sum(self.rows.lengths[row] * sum(1 for _reference in wanted.references(row)) for row in wanted)

    @property
    def patch_bytes(self) -> int:
        """Bytes that the requests for patches ask for."""
        return sum(batch.length for batch in self.batches())

    @property
    def codecs(self) -> frozenset[int]:
        """Codecs of the chunks to download, and of the patches."""
        found = {self.locator.codecs[row] for row in self.wanted}
        if self.patched is not None:
            for row in self.patched.wanted:
                found |= {
                    self.patched.table.codecs[number]
                    for number in self.patched.patches_of(self.listing, self.rows, row)
                }
        return frozenset(found)

    @property
    def segments(self) -> tuple[SegmentRef, ...]:
        """Segments to download from, in the order of the ranges."""
        numbers = {self.locator.segment_numbers[row] for row in self.wanted}
        return tuple(self.locator.segments[number] for number in sorted(numbers))

    @property
    def patch_objects(self) -> tuple[ObjectRef, ...]:
        """Objects of patches to download from, in the order of the batches."""
        return tuple(dict.fromkeys(fetch.segment for batch in self.batches() for fetch in batch.fetches))

    @property
    def sources(self) -> frozenset[str]:
        """Files of seeds that are cloned or copied from."""
        clones = frozenset(start.source for start in self.starts if start.start == CLONE)
        return clones | {copy.source for copy in self.copies()}

    @property
    def disk_bytes(self) -> int:
        """Disk space that the plan takes: a hole has a part of a block, of its own in a clone, at either end."""
        return self.write_bytes + 2 * _BLOCK_BYTES * sum(1 for _hole in self.zero_ranges())

    def zero_ranges(self) -> t.Iterator[ZeroRange]:
        """Yield what has to become holes; neighbours are one range."""
        find = References(self.listing).find
        last: t.Optional[ZeroRange] = None
        for reference in self.zeros:
            entry, offset, length = find(reference)
            if last is not None and last.entry is entry and last.offset + last.length == offset:
                last = ZeroRange(entry, last.offset, last.length + length)
                continue
            if last is not None:
                yield last
            last = ZeroRange(entry, offset, length)
        if last is not None:
            yield last

    def copies(self) -> t.Iterator[Copy]:
        """Yield what is copied from seeds; neighbours are copied together."""
        find = References(self.listing).find
        finders = [References(seed.listing).find for seed in self.seeds]
        last: t.Optional[Copy] = None
        for reference, origin in zip(self.copied, self.origins):
            number, source_reference = divmod(origin, 1 << 32)
            entry, offset, length = find(reference)
            other, source_offset, _length = finders[number](source_reference)
            seed = self.seeds[number]
            source, verify = os.path.join(seed.root, other.path), other.path not in seed.trusted
            copy = Copy(entry, offset, length, source, source_offset, reference, 1, verify)
            joined = _join(last, copy) if last is not None else None
            if last is not None and joined is None:
                yield last
            last = joined or copy
        if last is not None:
            yield last

    def fetches(self) -> t.Iterator[Fetch]:
        """Yield the ranges to download."""
        cost = self.link.request_bytes
        return ranges.coalesce(self.locator, self.wanted, request_bytes=cost, max_range_bytes=MAX_RANGE_BYTES)

    def batches(self) -> t.Iterator[Batch]:
        """Yield the rows that patches make, with the ranges of these."""
        if self.patched is None:
            return iter(())
        return self.patched.batches(
            self.listing, self.rows, request_bytes=self.link.request_bytes, max_range_bytes=MAX_RANGE_BYTES
        )


def _join(one: Copy, two: Copy) -> t.Optional[Copy]:
    if (
        one.entry is not two.entry
        or one.source != two.source
        or one.offset + one.length != two.offset
        or one.source_offset + one.length != two.source_offset
        or one.first + one.count != two.first
        or one.length + two.length > MAX_COPY_BYTES
    ):
        return None
    return dataclasses.replace(one, length=one.length + two.length, count=one.count + two.count)
