# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The records of an index: listing (what a pack contains) and locator (where that lies), and their bounds. Pure.

``listing.py``, ``locator.py`` and ``index_file.py`` read and write them, and check their grammar.
"""

from __future__ import annotations

import typing as t
from array import array
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import MalformedIndex
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.ids import ColumnTable

FORMAT = 1

DIRECTORY = "directory"
FILE = "file"
LINK = "link"

CODEC_RAW = 0
CODEC_DEFLATE = 1
CODEC_ZSTD = 2
CODEC_NAMES = {CODEC_RAW: "raw", CODEC_DEFLATE: "deflate", CODEC_ZSTD: "zstd"}

# Bounds of what a reader accepts; they keep a hostile index from filling the memory.
MAX_HEADER_BYTES = 1 << 20
MAX_ENTRIES = 1_000_000
MAX_CHUNKS = 4_194_304
MAX_TEXT_BYTES = 64 << 20
MAX_SEGMENTS = 262_144
MAX_SEGMENT_BYTES = 64 << 20

# The row of a hole, which has none.
NO_ROW = 0xFFFFFFFF
# The segment of a row whose place is not known here: only the locator in storage has it.
NO_SEGMENT = 0xFFFFFFFF


@dataclass(frozen=True)
class Entry:
    """One file, directory or link of a bundle.

    ``size`` and ``data_start`` are bytes; the file's chunks are ``first_chunk`` up to
    ``first_chunk + chunk_count`` of the listing's chunk ids.
    """

    kind: str
    path: str
    executable: bool = False
    size: int = 0
    data_start: int = 0
    target: str = ""
    first_chunk: int = 0
    chunk_count: int = 0


@dataclass(frozen=True)
class Listing:
    """What a pack contains.

    ``chunk_ids`` is the 32-byte ids of all chunks of all files, in order; ``digest`` the SHA-256 (64 hex) of the
    canonical form. ``listing.make_listing`` makes one from the rest.
    """

    chunk_size: int
    entries: tuple[Entry, ...]
    chunk_ids: bytes
    digest: str

    @property
    def chunk_total(self) -> int:
        """Number of chunk references, holes included."""
        return len(self.chunk_ids) // chunks.CHUNK_ID_BYTES

    @property
    def logical_bytes(self) -> int:
        """Sum of the sizes of the files."""
        return sum(entry.size for entry in self.entries)

    @property
    def unpacked_bytes(self) -> int:
        """Sum of the lengths of all chunks that are not holes: what the files take on disk if none is a clone."""
        zero = chunks.ZERO_CHUNK_ID
        total = 0
        for entry in self.files():
            short = chunks.short_chunks(entry.size, entry.data_start, self.chunk_size)
            for number in range(entry.chunk_count):
                if self.chunk_id(entry.first_chunk + number) != zero:
                    total += short.get(number, self.chunk_size)
        return total

    @property
    def file_total(self) -> int:
        """Number of regular files."""
        return sum(1 for entry in self.entries if entry.kind == FILE)

    def chunk_id(self, number: int) -> bytes:
        """Return the id (32 bytes) of chunk reference ``number``."""
        return self.chunk_ids[number * 32 : number * 32 + 32]

    def files(self) -> t.Iterator[Entry]:
        """Yield the regular files, in canonical order."""
        return (entry for entry in self.entries if entry.kind == FILE)


@dataclass(frozen=True)
class SegmentRef:
    """One storage object: the upload that made it (32 hex), its SHA-256 (64 hex), its size in bytes."""

    kind: t.ClassVar[str] = "segment"

    pack: str
    sha256: str
    size: int


@dataclass(frozen=True)
class DeltaRef:
    """The object of a delta, with the same fields as ``SegmentRef``."""

    kind: t.ClassVar[str] = "delta"

    pack: str
    sha256: str
    size: int


@dataclass(frozen=True)
class PatchesRef:
    """An object of patches, with the same fields as ``SegmentRef``."""

    kind: t.ClassVar[str] = "patches"

    pack: str
    sha256: str
    size: int


# What a pull reads from storage.
ObjectRef = t.Union[SegmentRef, DeltaRef, PatchesRef]


@dataclass(frozen=True)
class Placement:
    """Where one chunk lies: offset and stored length in bytes within ``segment``, and how it is encoded."""

    segment: SegmentRef
    offset: int
    length: int
    codec: int


@dataclass(frozen=True)
class Locator:
    """Where the chunks of the listing with ``digest`` lie.

    The four columns have one row for each distinct non-zero chunk, in the order in which these first
    appear in the listing. A locator that was made of deltas has ``NO_SEGMENT`` for chunks whose place they do not tell.
    """

    digest: str
    segments: tuple[SegmentRef, ...]
    segment_numbers: array[int]
    offsets: array[int]
    lengths: array[int]
    codecs: bytes

    @property
    def row_total(self) -> int:
        """Number of distinct non-zero chunks."""
        return len(self.codecs)

    @property
    def stored_bytes(self) -> int:
        """Encoded bytes of all chunks."""
        return sum(self.lengths)

    def is_placed(self, row: int) -> bool:
        """Return True if the place of the chunk of ``row`` is known."""
        return self.segment_numbers[row] != NO_SEGMENT

    def placement(self, row: int) -> Placement:
        """Return where the chunk of ``row`` lies."""
        return Placement(
            self.segments[self.segment_numbers[row]], self.offsets[row], self.lengths[row], self.codecs[row]
        )


@dataclass(frozen=True)
class ChunkRows:
    """The distinct non-zero chunks of a listing, numbered as rows in order of first appearance.

    ``first`` holds for each row the number of the chunk reference where it appears first, ``lengths`` its raw length
    in bytes. ``numbers`` holds for each chunk reference its row, or ``NO_ROW`` for a hole. ``row_of`` finds the row of
    a chunk id.
    """

    first: array[int]
    lengths: array[int]
    numbers: array[int]
    row_of: ColumnTable

    @property
    def data_bytes(self) -> int:
        """Raw bytes of the distinct non-zero chunks."""
        return sum(self.lengths)


@dataclass(frozen=True)
class Index:
    """A checked listing and locator, the rows of both, and the files that they were read from.

    ``locator_file`` is None if the locator was made of deltas. ``delta_files`` came with it in a commit; they are not
    checked.
    """

    listing: Listing
    rows: ChunkRows
    locator: Locator
    listing_file: bytes
    locator_file: t.Optional[bytes]
    delta_files: tuple[bytes, ...] = ()


def chunk_rows(listing: Listing) -> ChunkRows:
    """Number the distinct non-zero chunks of a listing.

    :raises MalformedIndex: the listing uses one id for chunks of two lengths
    """
    ids, zero = listing.chunk_ids, chunks.ZERO_CHUNK_ID
    # Not all of those that are counted lie at the place of an id, but nearly all.
    table = ColumnTable(ids, listing.chunk_total - ids.count(zero))
    lengths = array("I")
    numbers = array("I", [NO_ROW]) * listing.chunk_total
    for entry in listing.files():
        short = chunks.short_chunks(entry.size, entry.data_start, listing.chunk_size)
        for number in range(entry.chunk_count):
            reference = entry.first_chunk + number
            identity = ids[reference * 32 : reference * 32 + 32]
            if identity == zero:
                continue
            length = short.get(number, listing.chunk_size)
            row = table.add(reference, identity)
            numbers[reference] = row
            if row == len(lengths):
                lengths.append(length)
            elif lengths[row] != length:
                raise MalformedIndex(f"The listing uses the chunk {identity.hex()} with two lengths.")
    return ChunkRows(table.first, lengths, numbers, table)
