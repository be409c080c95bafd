# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What a pull has to do to make a bundle: holes, copies from seeds, ranges to download. Pure.

The plan says it chunk by chunk and byte by byte, so that check mode predicts what the real run does.
"""

from __future__ import annotations

import bisect
import os
import typing as t
from array import array
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    ChunkRows,
    Entry,
    Listing,
    Locator,
    SegmentRef,
    chunk_rows,
)

# One request fetches neighbours up to this many bytes, and rather fetches a small gap than asks again.
MAX_RANGE_BYTES = 8 << 20
MAX_GAP_BYTES = 16 << 10
# One copy reads and writes at most this many bytes; at least one chunk.
MAX_COPY_BYTES = 4 << 20

# The unit in which file systems hand out space.
_BLOCK_BYTES = 4096

EMPTY = "empty"
CLONE = "clone"
KEEP = "keep"


@dataclass(frozen=True)
class Seed:
    """A local bundle whose chunks may be reused.

    ``trusted`` holds the paths whose content is known to be that of ``listing``; chunks of the others are
    hashed as they are taken.
    """

    root: str
    listing: Listing
    trusted: frozenset[str]


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
class Fetch:
    """A range of a segment, in bytes, and the rows of the locator that lie in it."""

    segment: SegmentRef
    offset: int
    length: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class PullPlan:
    """All that turns what lies there into the bundle of ``listing``.

    ``positions`` gives the chunk references that each row to download is written to.
    """

    listing: Listing
    locator: Locator
    rows: ChunkRows
    starts: tuple[FileStart, ...]
    zero_ranges: tuple[ZeroRange, ...]
    copies: tuple[Copy, ...]
    fetches: tuple[Fetch, ...]
    positions: t.Mapping[int, t.Sequence[int]]
    kept_bytes: int = 0
    hole_bytes: int = 0

    @property
    def download_chunks(self) -> int:
        """Distinct chunks to download."""
        return len(self.positions)

    @property
    def download_bytes(self) -> int:
        """Bytes that the requests ask for, small gaps included."""
        return sum(fetch.length for fetch in self.fetches)

    @property
    def download_raw_bytes(self) -> int:
        """Raw bytes of the distinct chunks to download."""
        return sum(self.rows.lengths[row] for row in self.positions)

    @property
    def codecs(self) -> frozenset[int]:
        """Codecs of the chunks to download."""
        return frozenset(self.locator.codecs[row] for row in self.positions)

    @property
    def sources(self) -> frozenset[str]:
        """Files of seeds that are cloned or copied from."""
        return frozenset(start.source for start in self.starts if start.start == CLONE) | {
            copy.source for copy in self.copies
        }

    @property
    def copied_bytes(self) -> int:
        """Bytes that are copied from seeds, clones not counted."""
        return sum(copy.length for copy in self.copies)

    @property
    def write_bytes(self) -> int:
        """Bytes of data that will be written."""
        downloaded = sum(self.rows.lengths[row] * len(references) for row, references in self.positions.items())
        return downloaded + self.copied_bytes

    @property
    def disk_bytes(self) -> int:
        """Disk space that the plan takes: a hole has a part of a block, of its own in a clone, at either end."""
        return self.write_bytes + 2 * _BLOCK_BYTES * len(self.zero_ranges)


@dataclass
class _Draft:
    starts: list[FileStart] = field(default_factory=list)
    zero_ranges: list[ZeroRange] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    kept_bytes: int = 0
    hole_bytes: int = 0


class References:
    """Finds the file and the span of a chunk reference."""

    def __init__(self, listing: Listing) -> None:
        self._files = [entry for entry in listing.files() if entry.chunk_count]
        self._firsts = [entry.first_chunk for entry in self._files]
        self._chunk_size = listing.chunk_size

    def find(self, reference: int) -> tuple[Entry, int, int]:
        """Entry, offset and length in bytes."""
        entry = self._files[bisect.bisect_right(self._firsts, reference) - 1]
        number = reference - entry.first_chunk
        return (entry, *chunks.chunk_span(number, entry.size, entry.data_start, self._chunk_size))


def plan_pull(
    listing: Listing,
    locator: Locator,
    *,
    present_ids: t.Mapping[str, bytes],
    seeds: t.Sequence[Seed],
    can_clone: bool,
) -> PullPlan:
    """Compare what is wanted with what is there.

    ``present_ids`` holds the chunk ids of the files of a partial bundle as ``verify.hash_files`` gives them;
    ``seeds`` come best first.
    """
    rows = chunk_rows(listing)
    usable = [seed for seed in seeds if seed.listing.chunk_size == listing.chunk_size]
    draft = _Draft()
    by_path = _clonable(usable) if can_clone else {}
    for entry in listing.files():
        _plan_file(draft, listing, entry, present_ids, by_path)
    sources = _find_sources(listing, draft.missing, usable)
    copies, positions = _split(listing, rows, draft.missing, sources)
    return PullPlan(
        listing,
        locator,
        rows,
        tuple(draft.starts),
        tuple(draft.zero_ranges),
        tuple(copies),
        tuple(coalesce(locator, positions)),
        positions,
        draft.kept_bytes,
        draft.hole_bytes,
    )


def plan_repair(plan: PullPlan, references: t.Iterable[int]) -> PullPlan:
    """The plan that downloads chunk references whose copies turned out to be damaged."""
    positions: dict[int, list[int]] = {}
    for reference in references:
        positions.setdefault(plan.rows.row_of[plan.listing.chunk_id(reference)], []).append(reference)
    return PullPlan(
        plan.listing, plan.locator, plan.rows, (), (), (), tuple(coalesce(plan.locator, positions)), positions
    )


def matching_chunks(listing: Listing, seed: Seed) -> int:
    """How many chunks of the listing lie at the same place in the seed: the measure of the best one."""
    others = {entry.path: entry for entry in seed.listing.files() if entry.path in seed.trusted}
    matches = 0
    for entry in listing.files():
        other = others.get(entry.path)
        if other is None or other.data_start != entry.data_start:
            continue
        mine = listing.chunk_ids[entry.first_chunk * 32 : (entry.first_chunk + entry.chunk_count) * 32]
        theirs = seed.listing.chunk_ids[other.first_chunk * 32 : (other.first_chunk + other.chunk_count) * 32]
        if mine == theirs:
            matches += entry.chunk_count
            continue
        for position in range(0, min(len(mine), len(theirs)), 32):
            if mine[position : position + 32] == theirs[position : position + 32]:
                matches += 1
    return matches


def _clonable(seeds: t.Sequence[Seed]) -> dict[str, tuple[Seed, Entry]]:
    found: dict[str, tuple[Seed, Entry]] = {}
    for seed in seeds:
        for entry in seed.listing.files():
            if entry.path in seed.trusted:
                found.setdefault(entry.path, (seed, entry))
    return found


def _plan_file(
    draft: _Draft,
    listing: Listing,
    entry: Entry,
    present_ids: t.Mapping[str, bytes],
    by_path: t.Mapping[str, tuple[Seed, Entry]],
) -> None:
    wanted = listing.chunk_ids[entry.first_chunk * 32 : (entry.first_chunk + entry.chunk_count) * 32]
    there = b""
    candidate = by_path.get(entry.path)
    if entry.path in present_ids:
        there = present_ids[entry.path]
        draft.starts.append(FileStart(entry, KEEP))
    elif candidate and candidate[1].data_start == entry.data_start and candidate[1].size and entry.size:
        seed, other = candidate
        there = seed.listing.chunk_ids[other.first_chunk * 32 : (other.first_chunk + other.chunk_count) * 32]
        draft.starts.append(FileStart(entry, CLONE, os.path.join(seed.root, other.path)))
    else:
        draft.starts.append(FileStart(entry, EMPTY))
    if wanted == there:
        draft.kept_bytes += entry.size
        return
    zero = chunks.ZERO_CHUNK_ID
    for number in range(entry.chunk_count):
        identity = wanted[number * 32 : number * 32 + 32]
        offset, length = chunks.chunk_span(number, entry.size, entry.data_start, listing.chunk_size)
        # Behind the end of what is there the file is extended, and reads as zeros.
        present = there[number * 32 : number * 32 + 32] or zero
        if identity == present:
            if identity == zero:
                draft.hole_bytes += length
            else:
                draft.kept_bytes += length
        elif identity == zero:
            draft.hole_bytes += length
            _add_zero_range(draft, entry, offset, length)
        else:
            draft.missing.append(entry.first_chunk + number)


def _add_zero_range(draft: _Draft, entry: Entry, offset: int, length: int) -> None:
    if draft.zero_ranges:
        last = draft.zero_ranges[-1]
        if last.entry is entry and last.offset + last.length == offset:
            draft.zero_ranges[-1] = ZeroRange(entry, last.offset, last.length + length)
            return
    draft.zero_ranges.append(ZeroRange(entry, offset, length))


def _find_sources(
    listing: Listing, missing: t.Sequence[int], seeds: t.Sequence[Seed]
) -> dict[bytes, tuple[Seed, Entry, int]]:
    """Where missing chunks lie in seeds: id → seed, entry, offset."""
    wanted = {listing.chunk_id(reference) for reference in missing}
    sources: dict[bytes, tuple[Seed, Entry, int]] = {}
    for seed in seeds:
        if not wanted:
            break
        ids = seed.listing.chunk_ids
        for entry in seed.listing.files():
            for number in range(entry.chunk_count):
                start = (entry.first_chunk + number) * 32
                identity = ids[start : start + 32]
                if identity in wanted:
                    offset = chunks.chunk_span(number, entry.size, entry.data_start, seed.listing.chunk_size)[0]
                    sources[identity] = (seed, entry, offset)
                    wanted.discard(identity)
    return sources


def _split(
    listing: Listing,
    rows: ChunkRows,
    missing: t.Sequence[int],
    sources: t.Mapping[bytes, tuple[Seed, Entry, int]],
) -> tuple[list[Copy], dict[int, list[int]]]:
    copies: list[Copy] = []
    positions: dict[int, list[int]] = {}
    references = References(listing)
    for reference in missing:
        identity = listing.chunk_id(reference)
        source = sources.get(identity)
        if source is None:
            positions.setdefault(rows.row_of[identity], []).append(reference)
            continue
        seed, other, source_offset = source
        entry, offset, length = references.find(reference)
        copy = Copy(
            entry,
            offset,
            length,
            os.path.join(seed.root, other.path),
            source_offset,
            reference,
            1,
            other.path not in seed.trusted,
        )
        copies.append(copy)
        if len(copies) > 1:
            joined = _join(copies[-2], copy)
            if joined:
                copies[-2:] = [joined]
    return copies, positions


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
    return Copy(
        one.entry,
        one.offset,
        one.length + two.length,
        one.source,
        one.source_offset,
        one.first,
        one.count + two.count,
        one.verify,
    )


def coalesce(
    locator: Locator,
    wanted_rows: t.Iterable[int],
    *,
    max_range_bytes: int = MAX_RANGE_BYTES,
    max_gap_bytes: int = MAX_GAP_BYTES,
) -> t.Iterator[Fetch]:
    """Join rows that lie near one another in a segment into ranges."""
    segment_numbers, offsets, lengths = locator.segment_numbers, locator.offsets, locator.lengths
    ordered = sorted(wanted_rows, key=lambda row: (segment_numbers[row], offsets[row]))
    run = array("I")
    start = end = 0
    for row in ordered:
        offset, row_end = offsets[row], offsets[row] + lengths[row]
        is_near = bool(run) and segment_numbers[row] == segment_numbers[run[-1]] and offset - end <= max_gap_bytes
        if is_near and max(end, row_end) - start <= max_range_bytes:
            run.append(row)
            end = max(end, row_end)
            continue
        if run:
            yield Fetch(locator.segments[segment_numbers[run[0]]], start, end - start, tuple(run))
        run = array("I", [row])
        start, end = offset, row_end
    if run:
        yield Fetch(locator.segments[segment_numbers[run[0]]], start, end - start, tuple(run))
