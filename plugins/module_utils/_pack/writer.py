# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""From a bundle to an index and segments, in one pass and in bounded memory.

    orders ─ read, zero test, hash, encode, compare (threads) ─ in order ─ segments, patches ─ put (threads)

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
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.chunk_reader import (
    Chunk,
    Encode,
    Work,
    read_chunks,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.codecs import Buffer
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta_file import encode_delta
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta_make import StoredPatches, make_delta
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.ids import IdTable
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    FILE,
    Listing,
    Locator,
    PatchesRef,
    Placement,
    SegmentRef,
    chunk_rows,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import encode_listing, make_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import encode_locator
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.patch_writer import (
    Base,
    FinishedPatches,
    PatchWriter,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.reuse import KnownChunks
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.segments import TARGET_BYTES, SegmentBuilder

Put = t.Callable[[bytes], SegmentRef]
PutPatches = t.Callable[[bytes], PatchesRef]
Advance = t.Callable[[int], None]

# Segments that are on their way at once; each costs its size in memory.
UPLOADS = 3
_ESTIMATE_CHUNKS = 256
_ESTIMATE_PATCHES = 32
# What a new chunk takes in a delta: its id, and the columns of its place and its patch.
_DELTA_BYTES = 44
# Stands for the pack of an upload that is not begun.
_NO_PACK = "0" * 32


@dataclass(frozen=True)
class WrittenDelta:
    """A delta from the listing ``base``: its file, and the bytes of its patches."""

    base: str
    file: bytes
    patch_bytes: int


@dataclass(frozen=True)
class WrittenPack:
    """What a pass made; chunks count distinct ones, bytes are raw unless named encoded."""

    listing: Listing
    locator: Locator
    deltas: tuple[WrittenDelta, ...]
    new_chunks: int
    new_bytes: int
    new_encoded_bytes: int
    reused_chunks: int
    reused_bytes: int


@dataclass(frozen=True)
class DeltaSize:
    """The bytes of a delta from the listing ``base``, and those of its patches."""

    base: str
    delta_bytes: int
    patch_bytes: int


@dataclass(frozen=True)
class Scan:
    """What a pass would make: the listing, and the distinct chunks that are not stored yet.

    Encoded bytes and deltas are exact unless ``is_estimate``.
    """

    listing: Listing
    new_chunks: int
    new_bytes: int
    encoded_bytes: int
    reused_chunks: int
    reused_bytes: int
    deltas: tuple[DeltaSize, ...] = ()
    is_estimate: bool = True


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


@dataclass(frozen=True)
class _Segment:
    """The bytes of a full segment, and its number."""

    number: int
    data: bytes


class _Pass:
    """One pass over the chunks of a bundle in order: places the known ones, puts the others into segments."""

    def __init__(self, known: KnownChunks, segment_bytes: int, patches: PatchWriter) -> None:
        self.placed = _Placed()
        self.identities = bytearray()
        self.new_chunks = self.new_bytes = self.new_encoded_bytes = self.reused_chunks = self.reused_bytes = 0
        self.patches = patches
        self._known = known
        self._builder = SegmentBuilder(segment_bytes)
        self._open_number: t.Optional[int] = None

    def must_store(self, identity: bytes) -> bool:
        """Return True if a chunk is not stored yet. Workers ask; the answer may be late, which costs an encoding."""
        return identity not in self._known and identity not in self.placed.row_of

    def objects(
        self, batches: t.Iterable[list[Chunk]], advance: Advance
    ) -> t.Iterator[t.Union[_Segment, FinishedPatches]]:
        """Yield each segment and object of patches as it gets full, and the last ones."""
        for batch in batches:
            for chunk in batch:
                self.identities.extend(chunk.identity)
                if chunk.identity != chunks.ZERO_CHUNK_ID and chunk.identity not in self.placed.row_of:
                    self.patches.add(chunk.identity, chunk.patches, self._place(chunk))
                    yield from self.patches.finished()
                if self._open_number is not None and self._builder.is_full:
                    yield self._finish(self._open_number)
            advance(sum(chunk.length for chunk in batch))
        if self._open_number is not None:
            yield self._finish(self._open_number)
        yield from self.patches.finished(everything=True)

    def _place(self, chunk: Chunk) -> int:
        """Place a chunk; return its stored bytes."""
        placement = self._known.placement(chunk.identity)
        if placement is not None:
            self.placed.add_known(chunk.identity, placement)
            self.reused_chunks += 1
            self.reused_bytes += chunk.length
            return placement.length
        if self._open_number is None:
            self._open_number = self.placed.open_segment()
        row = self._builder.add(chunk.identity, chunk.codec, chunk.data, chunk.length)
        self.placed.add(chunk.identity, self._open_number, row.offset, row.length, chunk.codec)
        self.new_chunks += 1
        self.new_bytes += chunk.length
        self.new_encoded_bytes += row.length
        return row.length

    def _finish(self, number: int) -> _Segment:
        self._open_number = None
        return _Segment(number, self._builder.finish())


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
    bases: t.Sequence[Base] = (),
    put_patches: t.Optional[PutPatches] = None,
    encoded: t.Callable[[int], None] = lambda count: None,
) -> WrittenPack:
    """Read a bundle once, encode what is not ``known``, and ``put`` it as segments; return what was made.

    ``encode`` and ``put`` run in threads, ``put`` in ``uploads`` of them, and ``cancel`` makes the calls of ``put`` end
    soon; ``advance`` receives raw bytes as they are read, in the caller's thread. A delta is made for each of the
    ``bases``, whose patches ``put_patches`` stores. ``encoded`` receives the encoded bytes of each new chunk, in the
    worker, before the chunk is compared with bases.

    :raises BundleChanged: a file has another length or identity than in the snapshot
    """
    patches = PatchWriter(snapshot.entries, snapshot.chunk_size, bases if put_patches is not None else (), encode)
    one = _Pass(known, segment_bytes, patches)

    def encode_chunk(chunk: Buffer) -> tuple[int, bytes]:
        codec, data = encode(chunk)
        encoded(len(data))
        return codec, data

    def store(item: t.Union[_Segment, FinishedPatches]) -> None:
        if isinstance(item, _Segment):
            one.placed.segments[item.number] = put(item.data)
        elif put_patches is not None:
            patches.stored[item.base].objects[item.number] = put_patches(item.data)

    with contextlib.ExitStack() as stack:
        work = Work(one.must_store, encode_chunk, patches.compare if bases else None)
        batches = read_chunks(snapshot, workers or pipeline.core_count(), work)
        full = one.objects(stack.enter_context(contextlib.closing(batches)), advance)
        stored = pipeline.ordered_map(store, full, workers=uploads, window=uploads, cancel=cancel)
        for _done in stack.enter_context(contextlib.closing(stored)):
            pass
    listing = make_listing(snapshot.chunk_size, snapshot.entries, bytes(one.identities))
    locator = one.placed.locator(listing.digest)
    return WrittenPack(
        listing,
        locator,
        _deltas(listing, locator, bases, patches.stored),
        one.new_chunks,
        one.new_bytes,
        one.new_encoded_bytes,
        one.reused_chunks,
        one.reused_bytes,
    )


def _deltas(
    listing: Listing, locator: Locator, bases: t.Sequence[Base], stored: t.Sequence[StoredPatches]
) -> tuple[WrittenDelta, ...]:
    """Return a delta for each base, unless it would be no smaller than the index."""
    if not bases:
        return ()
    rows = chunk_rows(listing)
    most = len(encode_listing(listing)) + len(encode_locator(locator))
    found = []
    for base, patches in zip(bases, stored):
        delta = make_delta(base.listing, listing, rows, locator, patches)
        file = encode_delta(delta)
        if len(file) < most:
            found.append(WrittenDelta(base.listing.digest, file, delta.patches.stored_bytes))
    return tuple(found)


def rehearse(
    snapshot: bundle.Snapshot,
    known: KnownChunks,
    encode: Encode,
    bases: t.Sequence[Base],
    *,
    workers: t.Optional[int] = None,
    advance: Advance = lambda count: None,
) -> Scan:
    """Read and encode as ``write_pack`` does, without storing anything; return exactly what it would make."""
    pack = write_pack(
        snapshot,
        known,
        encode,
        lambda data: SegmentRef(_NO_PACK, chunks.chunk_id(data).hex(), len(data)),
        workers=workers,
        advance=advance,
        bases=bases,
        put_patches=lambda data: PatchesRef(_NO_PACK, chunks.chunk_id(data).hex(), len(data)),
    )
    return Scan(
        pack.listing,
        pack.new_chunks,
        pack.new_bytes,
        pack.new_encoded_bytes,
        pack.reused_chunks,
        pack.reused_bytes,
        tuple(DeltaSize(delta.base, len(delta.file), delta.patch_bytes) for delta in pack.deltas),
        is_estimate=False,
    )


def scan(
    snapshot: bundle.Snapshot,
    known: KnownChunks,
    encode: t.Optional[Encode] = None,
    *,
    bases: t.Sequence[Base] = (),
    workers: t.Optional[int] = None,
    advance: Advance = lambda count: None,
) -> Scan:
    """Read a bundle without storing anything; return what a pass would make.

    With ``encode``, the encoded size of the new chunks and that of deltas from ``bases`` are estimated from a sample.
    """
    workers = workers or pipeline.core_count()
    identities = bytearray()
    seen = IdTable()
    new = array("I")
    new_bytes = reused = reused_bytes = 0
    reference = 0
    with contextlib.closing(read_chunks(snapshot, workers)) as stage:
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
    encoded_bytes = 0
    deltas: tuple[DeltaSize, ...] = ()
    if encode and new:
        encoded_bytes = _estimate(snapshot, new, encode, new_bytes)
        deltas = tuple(_estimate_delta(snapshot, new, encode, base) for base in bases)
    return Scan(listing, len(new), new_bytes, encoded_bytes, reused, reused_bytes, deltas)


def _estimate(snapshot: bundle.Snapshot, references: t.Sequence[int], encode: Encode, total_bytes: int) -> int:
    raw_bytes = encoded_bytes = 0
    for _reference, data in _read_some(snapshot, _sample(references, _ESTIMATE_CHUNKS)):
        raw_bytes += len(data)
        encoded_bytes += len(encode(data)[1])
    return total_bytes * encoded_bytes // max(1, raw_bytes)


def _estimate_delta(snapshot: bundle.Snapshot, references: t.Sequence[int], encode: Encode, base: Base) -> DeltaSize:
    """Estimate the delta from a base; ``references`` are those of the new chunks."""
    patches = PatchWriter(snapshot.entries, snapshot.chunk_size, [base], encode)
    wanted = _sample(references, _ESTIMATE_PATCHES)
    patch_bytes = 0
    for reference, data in _read_some(snapshot, wanted):
        with memoryview(data) as view:
            for found in patches.compare(reference, chunks.chunk_id(data), view):
                patch_bytes += len(found.patch.data)
    total = len(references)
    return DeltaSize(base.listing.digest, _DELTA_BYTES * total, patch_bytes * total // len(wanted))


def _sample(references: t.Sequence[int], most: int) -> t.Sequence[int]:
    return references[:: max(1, len(references) // most)]


def _read_some(snapshot: bundle.Snapshot, wanted: t.Sequence[int]) -> t.Iterator[tuple[int, bytes]]:
    """Yield the bytes at chunk references, which ascend."""
    position = 0
    for entry, disk_path in zip(snapshot.entries, snapshot.disk_paths):
        if entry.kind != FILE:
            continue
        while position < len(wanted) and wanted[position] < entry.first_chunk + entry.chunk_count:
            offset, length = chunks.chunk_span(
                wanted[position] - entry.first_chunk, entry.size, entry.data_start, snapshot.chunk_size
            )
            yield wanted[position], reading.read_range(snapshot.root, disk_path, offset, length)
            position += 1
