# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""From a bundle to an index and segments, in one pass and in bounded memory.

    orders ─ read, zero test, hash, encode (threads) ─ in order ─ segments ─ put (threads) ─ locator

The order of the chunks is the canonical one, so the same bundle, base, codec provider and options give
the same segments whatever the number of threads.
"""

from __future__ import annotations

import contextlib
import typing as t
from array import array
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._base import pipeline
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import bundle, chunks, reading
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.chunk_reader import Chunk, Encode, read_chunks
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.ids import IdTable
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    FILE,
    Listing,
    Locator,
    Placement,
    SegmentRef,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import make_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.reuse import KnownChunks
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.segments import TARGET_BYTES, SegmentBuilder

Put = t.Callable[[bytes], SegmentRef]
Advance = t.Callable[[int], None]

# Segments that are on their way at once; each costs its size in memory.
UPLOADS = 3
_ESTIMATE_CHUNKS = 256


@dataclass(frozen=True)
class WrittenPack:
    """What a pass made; chunks count distinct ones, bytes are raw unless named encoded."""

    listing: Listing
    locator: Locator
    new_chunks: int
    new_bytes: int
    new_encoded_bytes: int
    reused_chunks: int
    reused_bytes: int


@dataclass(frozen=True)
class Scan:
    """What a pass would make: the listing, and the distinct chunks that are not stored yet."""

    listing: Listing
    new_chunks: int
    new_bytes: int
    estimated_encoded_bytes: int
    reused_chunks: int
    reused_bytes: int


class _Placed:
    """Rows of the locator as they arise; the segments of new chunks are known only after their upload."""

    def __init__(self) -> None:
        self.row_of = IdTable()
        self.segments: list[t.Optional[SegmentRef]] = []
        self._segment_numbers = array("I")
        self._offsets = array("I")
        self._lengths = array("I")
        self._codecs = bytearray()
        self._known_segments: dict[SegmentRef, int] = {}

    def open_segment(self) -> int:
        """Return the number of a segment that is not stored yet."""
        self.segments.append(None)
        return len(self.segments) - 1

    def add(self, identity: bytes, segment_number: int, offset: int, length: int, codec: int) -> None:
        """Add the row of a chunk."""
        self.row_of.add(identity)
        self._segment_numbers.append(segment_number)
        self._offsets.append(offset)
        self._lengths.append(length)
        self._codecs.append(codec)

    def add_known(self, identity: bytes, placement: Placement) -> None:
        """Add the row of a chunk that is stored already."""
        number = self._known_segments.get(placement.segment)
        if number is None:
            number = self.open_segment()
            self.segments[number] = placement.segment
            self._known_segments[placement.segment] = number
        self.add(identity, number, placement.offset, placement.length, placement.codec)

    def locator(self, digest: str) -> Locator:
        """Return the locator, after all segments are stored."""
        segments = tuple(segment for segment in self.segments if segment is not None)
        return Locator(digest, segments, self._segment_numbers, self._offsets, self._lengths, bytes(self._codecs))


class _Pass:
    """One pass over the chunks of a bundle in order: places the known ones, puts the others into segments."""

    def __init__(self, known: KnownChunks, segment_bytes: int) -> None:
        self.placed = _Placed()
        self.identities = bytearray()
        self.new_chunks = self.new_bytes = self.new_encoded_bytes = self.reused_chunks = self.reused_bytes = 0
        self._known = known
        self._builder = SegmentBuilder(segment_bytes)
        self._open_number: t.Optional[int] = None

    def must_store(self, identity: bytes) -> bool:
        """Return True if a chunk is not stored yet. Workers ask; the answer may be late, which costs an encoding."""
        return identity not in self._known and identity not in self.placed.row_of

    def segments(self, batches: t.Iterable[list[Chunk]], advance: Advance) -> t.Iterator[tuple[int, bytes]]:
        """Yield number and bytes of each segment as it gets full, and of the last one."""
        for batch in batches:
            for chunk in batch:
                self.identities.extend(chunk.identity)
                if chunk.identity != chunks.ZERO_CHUNK_ID and chunk.identity not in self.placed.row_of:
                    self._place(chunk)
                if self._open_number is not None and self._builder.is_full:
                    yield self._finish(self._open_number)
            advance(sum(chunk.length for chunk in batch))
        if self._open_number is not None:
            yield self._finish(self._open_number)

    def _place(self, chunk: Chunk) -> None:
        placement = self._known.placement(chunk.identity)
        if placement is not None:
            self.placed.add_known(chunk.identity, placement)
            self.reused_chunks += 1
            self.reused_bytes += chunk.length
            return
        if self._open_number is None:
            self._open_number = self.placed.open_segment()
        row = self._builder.add(chunk.identity, chunk.codec, chunk.data, chunk.length)
        self.placed.add(chunk.identity, self._open_number, row.offset, row.length, chunk.codec)
        self.new_chunks += 1
        self.new_bytes += chunk.length
        self.new_encoded_bytes += row.length

    def _finish(self, number: int) -> tuple[int, bytes]:
        self._open_number = None
        return number, self._builder.finish()


def write_pack(
    snapshot: bundle.Snapshot,
    known: KnownChunks,
    encode: Encode,
    put: Put,
    *,
    workers: t.Optional[int] = None,
    uploads: int = UPLOADS,
    segment_bytes: int = TARGET_BYTES,
    advance: Advance = lambda count: None,
    cancel: pipeline.Cancel = pipeline.ignore,
) -> WrittenPack:
    """Read a bundle once, encode what is not ``known``, and ``put`` it as segments; return what was made.

    ``encode`` and ``put`` run in threads, ``put`` in ``uploads`` of them, and ``cancel`` makes the calls of ``put`` end
    soon; ``advance`` receives raw bytes as they are read, in the caller's thread.

    :raises BundleChanged: a file has another length or identity than in the snapshot
    """
    one = _Pass(known, segment_bytes)
    with contextlib.ExitStack() as stack:
        batches = read_chunks(snapshot, workers or pipeline.core_count(), one.must_store, encode)
        full = one.segments(stack.enter_context(contextlib.closing(batches)), advance)
        stored = pipeline.ordered_map(
            lambda item: (item[0], put(item[1])), full, workers=uploads, window=uploads, cancel=cancel
        )
        for number, segment in stack.enter_context(contextlib.closing(stored)):
            one.placed.segments[number] = segment
    listing = make_listing(snapshot.chunk_size, snapshot.entries, bytes(one.identities))
    return WrittenPack(
        listing,
        one.placed.locator(listing.digest),
        one.new_chunks,
        one.new_bytes,
        one.new_encoded_bytes,
        one.reused_chunks,
        one.reused_bytes,
    )


def scan(
    snapshot: bundle.Snapshot,
    known: KnownChunks,
    encode: t.Optional[Encode] = None,
    *,
    workers: t.Optional[int] = None,
    advance: Advance = lambda count: None,
) -> Scan:
    """Read a bundle without storing anything; return what a pass would make.

    With ``encode``, the encoded size of the new chunks is estimated from a sample of them.
    """
    workers = workers or pipeline.core_count()
    identities = bytearray()
    seen = IdTable()
    new = array("I")
    new_bytes = reused = reused_bytes = 0
    reference = 0
    with contextlib.closing(read_chunks(snapshot, workers, None, None)) as stage:
        for batch in stage:
            for chunk in batch:
                identities.extend(chunk.identity)
                if chunk.identity != chunks.ZERO_CHUNK_ID and chunk.identity not in seen:
                    seen.add(chunk.identity)
                    if chunk.identity in known:
                        reused += 1
                        reused_bytes += chunk.length
                    else:
                        new.append(reference)
                        new_bytes += chunk.length
                reference += 1
            advance(sum(chunk.length for chunk in batch))
    listing = make_listing(snapshot.chunk_size, snapshot.entries, bytes(identities))
    estimate = _estimate(snapshot, new, encode, new_bytes) if encode and new else 0
    return Scan(listing, len(new), new_bytes, estimate, reused, reused_bytes)


def _estimate(snapshot: bundle.Snapshot, references: t.Sequence[int], encode: Encode, total_bytes: int) -> int:
    step = max(1, len(references) // _ESTIMATE_CHUNKS)
    wanted = references[::step]
    raw_bytes = encoded_bytes = 0
    position = 0
    for entry, disk_path in zip(snapshot.entries, snapshot.disk_paths):
        if entry.kind != FILE:
            continue
        while position < len(wanted) and wanted[position] < entry.first_chunk + entry.chunk_count:
            offset, length = chunks.chunk_span(
                wanted[position] - entry.first_chunk, entry.size, entry.data_start, snapshot.chunk_size
            )
            data = reading.read_range(snapshot.root, disk_path, offset, length)
            raw_bytes += length
            encoded_bytes += len(encode(data)[1])
            position += 1
    return total_bytes * encoded_bytes // max(1, raw_bytes)
