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
import os
import typing as t
from array import array
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._base import pipeline
from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import Stamp
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import bundle, chunks, cut, reading
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.codecs import Buffer
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import BundleChanged
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.ids import IdTable
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    FILE,
    Listing,
    Locator,
    SegmentRef,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import make_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.reuse import KnownChunks
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.segments import TARGET_BYTES, SegmentBuilder

Encode = t.Callable[[Buffer], t.Tuple[int, bytes]]
Put = t.Callable[[bytes], SegmentRef]
Advance = t.Callable[[int], None]

# Segments that are on their way at once; each costs its size in memory.
_UPLOADS = 3
_ESTIMATE_CHUNKS = 256


@dataclass(frozen=True)
class _Chunk:
    """``data`` is None for holes and for chunks that need not be stored."""

    identity: bytes
    length: int
    codec: int = 0
    data: t.Optional[bytes] = None


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


def _orders(snapshot: bundle.Snapshot) -> t.Iterator[tuple[str, cut.Order]]:
    """Yield the orders of all files, each with the path of its file as the file system spells it."""
    for entry, disk_path in zip(snapshot.entries, snapshot.disk_paths):
        if entry.kind == FILE:
            for order in cut.orders(entry, snapshot.chunk_size):
                yield disk_path, order


def _handle(
    disk_path: str,
    order: cut.Order,
    snapshot: bundle.Snapshot,
    pool: pipeline.BufferPool,
    store: t.Optional[t.Callable[[bytes], bool]],
    encode: t.Optional[Encode],
) -> list[_Chunk]:
    start, length = order.start, order.length
    buffer = pool.take()
    try:
        with memoryview(buffer) as whole, whole[:length] as view:
            descriptor = reading.open_file(snapshot.root, disk_path)
            try:
                with reading.reading(snapshot.root, disk_path):
                    is_same = Stamp.of(os.fstat(descriptor)).inode == snapshot.stamps[order.path].inode
                    if not is_same or reading.read_into(descriptor, view, start) != length:
                        raise _changed(snapshot, order.path)
            finally:
                os.close(descriptor)
            made = []
            for offset, size in order.spans:
                with view[offset - start : offset - start + size] as chunk:
                    made.append(_make_chunk(chunk, store, encode))
            return made
    finally:
        pool.give_back(buffer)


def _make_chunk(chunk: memoryview, store: t.Optional[t.Callable[[bytes], bool]], encode: t.Optional[Encode]) -> _Chunk:
    if chunks.is_zero(chunk):
        return _Chunk(chunks.ZERO_CHUNK_ID, len(chunk))
    identity = chunks.chunk_id(chunk)
    if encode is None or store is None or not store(identity):
        return _Chunk(identity, len(chunk))
    codec, data = encode(chunk)
    return _Chunk(identity, len(chunk), codec, data)


def _changed(snapshot: bundle.Snapshot, path: str) -> BundleChanged:
    return BundleChanged(
        f"The bundle {snapshot.root} changed while it was read ({path}).",
        hint="Stop the virtual machine, leave the bundle alone, and push it again.",
    )


def _read_chunks(
    snapshot: bundle.Snapshot,
    workers: int,
    store: t.Optional[t.Callable[[bytes], bool]],
    encode: t.Optional[Encode],
) -> t.Generator[list[_Chunk], None, None]:
    pool = pipeline.BufferPool(cut.buffer_bytes(snapshot.chunk_size))
    return pipeline.ordered_map(
        lambda item: _handle(*item, snapshot, pool, store, encode),
        _orders(snapshot),
        workers=workers,
        window=2 * workers + 2,
    )


class _Placed:
    """Rows of the locator as they arise; the segments of new chunks are known only after their upload."""

    def __init__(self) -> None:
        self.row_of = IdTable()
        self.segment_numbers = array("I")
        self.offsets = array("I")
        self.lengths = array("I")
        self.codecs = bytearray()
        self.segments: list[t.Optional[SegmentRef]] = []
        self._known_segments: dict[SegmentRef, int] = {}

    def open_segment(self) -> int:
        self.segments.append(None)
        return len(self.segments) - 1

    def add(self, identity: bytes, segment_number: int, offset: int, length: int, codec: int) -> None:
        self.row_of.add(identity)
        self.segment_numbers.append(segment_number)
        self.offsets.append(offset)
        self.lengths.append(length)
        self.codecs.append(codec)

    def known_segment(self, segment: SegmentRef) -> int:
        number = self._known_segments.get(segment)
        if number is None:
            number = self.open_segment()
            self.segments[number] = segment
            self._known_segments[segment] = number
        return number

    def locator(self, digest: str) -> Locator:
        segments = tuple(segment for segment in self.segments if segment is not None)
        return Locator(digest, segments, self.segment_numbers, self.offsets, self.lengths, bytes(self.codecs))


def write_pack(
    snapshot: bundle.Snapshot,
    known: KnownChunks,
    encode: Encode,
    put: Put,
    *,
    workers: t.Optional[int] = None,
    segment_bytes: int = TARGET_BYTES,
    advance: Advance = lambda count: None,
) -> WrittenPack:
    """Read a bundle once, encode what is not ``known``, and ``put`` it as segments.

    ``encode`` and ``put`` run in threads; ``advance`` receives raw bytes as they are read, in the caller's
    thread.

    :raises BundleChanged: a file has another length or identity than in the snapshot
    """
    workers = workers or pipeline.core_count()
    placed = _Placed()
    identities = bytearray()
    counts = {"new": 0, "new_bytes": 0, "reused": 0, "reused_bytes": 0, "encoded": 0}

    def must_store(identity: bytes) -> bool:
        return identity not in known and identity not in placed.row_of

    def place(chunk: _Chunk, builder: SegmentBuilder, open_number: t.Optional[int]) -> t.Optional[int]:
        placement = known.placement(chunk.identity)
        if placement is not None:
            number = placed.known_segment(placement.segment)
            placed.add(chunk.identity, number, placement.offset, placement.length, placement.codec)
            counts["reused"] += 1
            counts["reused_bytes"] += chunk.length
            return open_number
        if open_number is None:
            open_number = placed.open_segment()
        codec, data = chunk.codec, t.cast(bytes, chunk.data)
        row = builder.add(chunk.identity, codec, data, chunk.length)
        placed.add(chunk.identity, open_number, row.offset, row.length, codec)
        counts["new"] += 1
        counts["new_bytes"] += chunk.length
        counts["encoded"] += row.length
        return open_number

    def segments() -> t.Generator[tuple[int, bytes], None, None]:
        builder = SegmentBuilder(segment_bytes)
        open_number: t.Optional[int] = None
        with contextlib.closing(_read_chunks(snapshot, workers, must_store, encode)) as stage:
            for batch in stage:
                for chunk in batch:
                    identities.extend(chunk.identity)
                    if chunk.identity == chunks.ZERO_CHUNK_ID or chunk.identity in placed.row_of:
                        continue
                    open_number = place(chunk, builder, open_number)
                    if open_number is not None and builder.is_full:
                        yield open_number, builder.finish()
                        open_number = None
                advance(sum(chunk.length for chunk in batch))
        if open_number is not None:
            yield open_number, builder.finish()

    with contextlib.ExitStack() as stack:
        made = stack.enter_context(contextlib.closing(segments()))
        uploads = pipeline.ordered_map(lambda item: (item[0], put(item[1])), made, workers=_UPLOADS, window=_UPLOADS)
        for number, segment in stack.enter_context(contextlib.closing(uploads)):
            placed.segments[number] = segment
    listing = make_listing(snapshot.chunk_size, snapshot.entries, bytes(identities))
    return WrittenPack(
        listing,
        placed.locator(listing.digest),
        counts["new"],
        counts["new_bytes"],
        counts["encoded"],
        counts["reused"],
        counts["reused_bytes"],
    )


def scan(
    snapshot: bundle.Snapshot,
    known: KnownChunks,
    encode: t.Optional[Encode] = None,
    *,
    workers: t.Optional[int] = None,
    advance: Advance = lambda count: None,
) -> Scan:
    """Read a bundle without storing anything.

    With ``encode``, the encoded size of the new chunks is estimated from a sample of them.
    """
    workers = workers or pipeline.core_count()
    identities = bytearray()
    seen = IdTable()
    new: list[int] = []
    new_bytes = reused = reused_bytes = 0
    reference = 0
    with contextlib.closing(_read_chunks(snapshot, workers, None, None)) as stage:
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
