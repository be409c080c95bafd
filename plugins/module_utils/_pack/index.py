# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The index of a segmented pack: listing (what it contains) and locator (where that lies).

Records, their binary columns, and every check of their grammar, as ``docs/pack-format.md`` specifies
them. A listing or locator file is

    8 bytes magic, u32 header length, header (canonical JSON), columns (raw DEFLATE)

and its canonical form is the same with the columns not compressed. The SHA-256 of a listing's canonical
form is the **digest** of the content. All integers are little endian.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import sys
import typing as t
import zlib
from array import array
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks, paths
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import MalformedIndex, UnsupportedFormat
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.ids import IdTable

FORMAT = 1
LISTING_MAGIC = b"MFLIST1\n"
LOCATOR_MAGIC = b"MFLOCA1\n"
INDEX_MAGIC = b"MFINDX1\n"

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

_KINDS = (DIRECTORY, FILE, LINK)
_EXECUTABLE = 1
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_PACK_ID = re.compile(r"[0-9a-f]{32}\Z")
_FEATURE = re.compile(r"[a-z0-9-]{1,64}\Z")
_FEATURES_SHOWN = 5
_COLUMN_LEVEL = 6


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
    """What a pack contains. ``chunk_ids`` is the 32-byte ids of all chunks of all files, in order."""

    chunk_size: int
    entries: tuple[Entry, ...]
    chunk_ids: bytes
    digest: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.digest:
            object.__setattr__(self, "digest", hashlib.sha256(_canonical_listing(self)).hexdigest())

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
        """Sum of the lengths of all chunks that are no holes: what the files take on disk if none is a clone."""
        zero = chunks.ZERO_CHUNK_ID
        return sum(
            chunks.chunk_span(number, entry.size, entry.data_start, self.chunk_size)[1]
            for entry in self.files()
            for number in range(entry.chunk_count)
            if self.chunk_id(entry.first_chunk + number) != zero
        )

    @property
    def file_total(self) -> int:
        """Number of regular files."""
        return sum(1 for entry in self.entries if entry.kind == FILE)

    def chunk_id(self, number: int) -> bytes:
        """Id of chunk reference ``number``."""
        return self.chunk_ids[number * 32 : number * 32 + 32]

    def files(self) -> t.Iterator[Entry]:
        """The regular files, in canonical order."""
        return (entry for entry in self.entries if entry.kind == FILE)


@dataclass(frozen=True)
class SegmentRef:
    """One storage object: the upload that made it (32 hex), its SHA-256 (64 hex), its size in bytes."""

    pack: str
    sha256: str
    size: int


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
    appear in the listing.
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

    def placement(self, row: int) -> Placement:
        """Where the chunk of ``row`` lies."""
        return Placement(
            self.segments[self.segment_numbers[row]], self.offsets[row], self.lengths[row], self.codecs[row]
        )


@dataclass(frozen=True)
class Index:
    """A checked listing and locator with the files that they were read from."""

    listing: Listing
    locator: Locator
    listing_file: bytes
    locator_file: bytes


@dataclass(frozen=True)
class ChunkRows:
    """The distinct non-zero chunks of a listing, in order of first appearance.

    ``first`` holds for each row the number of the chunk reference where it appears first, ``lengths`` its
    raw length in bytes, ``row_of`` the row of a chunk id.
    """

    first: array[int]
    lengths: array[int]
    row_of: IdTable

    @property
    def data_bytes(self) -> int:
        """Raw bytes of the distinct non-zero chunks."""
        return sum(self.lengths)


def chunk_rows(listing: Listing) -> ChunkRows:
    """Number the distinct non-zero chunks of a listing; refuses one id with two lengths."""
    first = array("I")
    lengths = array("I")
    row_of = IdTable()
    ids = listing.chunk_ids
    zero = chunks.ZERO_CHUNK_ID
    for entry in listing.files():
        for number in range(entry.chunk_count):
            reference = entry.first_chunk + number
            identity = ids[reference * 32 : reference * 32 + 32]
            if identity == zero:
                continue
            length = chunks.chunk_span(number, entry.size, entry.data_start, listing.chunk_size)[1]
            row = row_of.add(identity)
            if row == len(first):
                first.append(reference)
                lengths.append(length)
            elif lengths[row] != length:
                raise MalformedIndex(f"The listing uses the chunk {identity.hex()} with two lengths.")
    return ChunkRows(first, lengths, row_of)


# --- listing ---------------------------------------------------------------------------------------------


def make_listing(chunk_size: int, entries: t.Sequence[Entry], chunk_ids: bytes) -> Listing:
    """A listing from entries in any order of fields but canonical order of paths; checks the grammar."""
    listing = Listing(chunk_size, tuple(entries), chunk_ids)
    _check_listing(listing)
    return listing


def encode_listing(listing: Listing) -> bytes:
    """The file of a listing."""
    return _pack_file(LISTING_MAGIC, _listing_header(listing), _listing_columns(listing))


def decode_listing(data: bytes) -> Listing:
    """Read and check the file of a listing.

    :raises MalformedIndex: it breaks the grammar
    :raises UnsupportedFormat: it needs something that this version does not know
    """
    header, header_bytes, compressed = _split_file(LISTING_MAGIC, data, "listing")
    _check_keys(
        header, {"chunk_size", "chunks", "entries", "features", "format", "path_bytes", "target_bytes"}, "listing"
    )
    entry_total = _bounded(header, "entries", MAX_ENTRIES, "listing")
    chunk_total = _bounded(header, "chunks", MAX_CHUNKS, "listing")
    path_bytes = _bounded(header, "path_bytes", MAX_TEXT_BYTES, "listing")
    target_bytes = _bounded(header, "target_bytes", MAX_TEXT_BYTES, "listing")
    chunk_size = _bounded(header, "chunk_size", chunks.MAX_CHUNK_SIZE, "listing")
    length = entry_total * (1 + 1 + 8 + 8 + 4 + 4) + path_bytes + target_bytes + chunk_total * 32
    columns = _Columns(_inflate(compressed, length, "listing"))
    kinds = columns.raw(entry_total)
    flags = columns.raw(entry_total)
    sizes = columns.numbers("Q", entry_total)
    data_starts = columns.numbers("Q", entry_total)
    path_lengths = columns.numbers("I", entry_total)
    target_lengths = columns.numbers("I", entry_total)
    entry_paths = _cut_texts(columns.raw(path_bytes), path_lengths)
    targets = _cut_texts(columns.raw(target_bytes), target_lengths)
    chunk_ids = columns.raw(chunk_total * 32)
    if not chunks.is_chunk_size(chunk_size):
        raise MalformedIndex(f"The listing has the chunk size {chunk_size}.")
    entries = []
    first_chunk = 0
    for number in range(entry_total):
        if kinds[number] >= len(_KINDS) or flags[number] & ~_EXECUTABLE:
            raise MalformedIndex(f"Entry {number} of the listing has an unknown type or flag.")
        size, data_start = sizes[number], data_starts[number]
        if data_start > size:
            raise MalformedIndex(f"The data area of {entry_paths[number]!r} starts behind its end.")
        kind = _KINDS[kinds[number]]
        count = chunks.chunk_count(size, data_start, chunk_size) if kind == FILE else 0
        entries.append(
            Entry(
                kind,
                entry_paths[number],
                bool(flags[number] & _EXECUTABLE),
                size,
                data_start,
                targets[number],
                first_chunk if kind == FILE else 0,
                count,
            )
        )
        first_chunk += count
    digest = hashlib.sha256(LISTING_MAGIC + struct.pack("<I", len(header_bytes)) + header_bytes)
    digest.update(columns.data)
    listing = Listing(chunk_size, tuple(entries), chunk_ids, digest.hexdigest())
    if first_chunk != chunk_total:
        raise MalformedIndex(f"The sizes of the files ask for {first_chunk} chunks, the listing has {chunk_total}.")
    _check_listing(listing)
    return listing


def _listing_header(listing: Listing) -> bytes:
    return _canonical_json(
        {
            "chunk_size": listing.chunk_size,
            "chunks": listing.chunk_total,
            "entries": len(listing.entries),
            "features": [],
            "format": FORMAT,
            "path_bytes": sum(len(entry.path.encode("utf-8")) for entry in listing.entries),
            "target_bytes": sum(len(entry.target.encode("utf-8")) for entry in listing.entries),
        }
    )


def _listing_columns(listing: Listing) -> bytes:
    entries = listing.entries
    entry_paths = [entry.path.encode("utf-8") for entry in entries]
    targets = [entry.target.encode("utf-8") for entry in entries]
    return b"".join(
        (
            bytes(_KINDS.index(entry.kind) for entry in entries),
            bytes(_EXECUTABLE if entry.executable else 0 for entry in entries),
            _little_endian(array("Q", [entry.size for entry in entries])),
            _little_endian(array("Q", [entry.data_start for entry in entries])),
            _little_endian(array("I", [len(path) for path in entry_paths])),
            _little_endian(array("I", [len(target) for target in targets])),
            b"".join(entry_paths),
            b"".join(targets),
            listing.chunk_ids,
        )
    )


def _canonical_listing(listing: Listing) -> bytes:
    header = _listing_header(listing)
    return LISTING_MAGIC + struct.pack("<I", len(header)) + header + _listing_columns(listing)


def _check_listing(listing: Listing) -> None:
    directories = {""}
    previous = b""
    first_chunk = 0
    for entry in listing.entries:
        paths.check_path(entry.path)
        encoded = entry.path.encode("utf-8")
        if encoded <= previous:
            raise MalformedIndex(f"The path {entry.path!r} is not behind the one before it.")
        previous = encoded
        if entry.path.rpartition("/")[0] not in directories:
            raise MalformedIndex(f"The directory of {entry.path!r} is not in the listing.")
        if entry.kind == DIRECTORY:
            directories.add(entry.path)
        if entry.kind == LINK:
            paths.check_link(entry.path, entry.target)
        elif entry.target:
            raise MalformedIndex(f"{entry.path!r} is no link, but has a target.")
        if entry.kind != FILE and (entry.size or entry.data_start or entry.executable or entry.chunk_count):
            raise MalformedIndex(f"{entry.path!r} is no file, but has the properties of one.")
        if entry.kind == FILE and entry.first_chunk != first_chunk:
            raise MalformedIndex(f"The chunks of {entry.path!r} do not follow those before.")
        first_chunk += entry.chunk_count
    paths.check_unique(entry.path for entry in listing.entries)
    if len(listing.chunk_ids) != first_chunk * 32:
        raise MalformedIndex("The listing does not have as many chunks as its files need.")


# --- locator ---------------------------------------------------------------------------------------------


def encode_locator(locator: Locator) -> bytes:
    """The file of a locator."""
    packs = sorted({segment.pack for segment in locator.segments})
    numbers = {pack: number for number, pack in enumerate(packs)}
    header = _canonical_json(
        {
            "digest": locator.digest,
            "features": [],
            "format": FORMAT,
            "packs": packs,
            "rows": locator.row_total,
            "segments": len(locator.segments),
        }
    )
    columns = b"".join(
        (
            b"".join(bytes.fromhex(segment.sha256) for segment in locator.segments),
            _little_endian(array("Q", [segment.size for segment in locator.segments])),
            _little_endian(array("I", [numbers[segment.pack] for segment in locator.segments])),
            _little_endian(locator.segment_numbers),
            _little_endian(locator.offsets),
            _little_endian(locator.lengths),
            locator.codecs,
        )
    )
    return _pack_file(LOCATOR_MAGIC, header, columns)


def decode_locator(data: bytes, listing: Listing) -> Locator:
    """Read the file of a locator and check it against its listing.

    :raises MalformedIndex: it breaks the grammar, or does not belong to the listing
    :raises UnsupportedFormat: it needs something that this version does not know
    """
    header, _header_bytes, compressed = _split_file(LOCATOR_MAGIC, data, "locator")
    _check_keys(header, {"digest", "features", "format", "packs", "rows", "segments"}, "locator")
    row_total = _bounded(header, "rows", MAX_CHUNKS, "locator")
    segment_total = _bounded(header, "segments", MAX_SEGMENTS, "locator")
    packs = header["packs"]
    if not isinstance(packs, list) or not all(isinstance(pack, str) and _PACK_ID.match(pack) for pack in packs):
        raise MalformedIndex("The locator names a pack that is no upload id.")
    if packs != sorted(set(packs)):
        raise MalformedIndex("The packs of the locator are not in order.")
    if not isinstance(header["digest"], str) or not _SHA256.match(header["digest"]):
        raise MalformedIndex("The locator does not say to which listing it belongs.")
    if header["digest"] != listing.digest:
        raise MalformedIndex(f"The locator belongs to {header['digest']}, not to the listing {listing.digest}.")
    columns = _Columns(_inflate(compressed, segment_total * (32 + 8 + 4) + row_total * (4 + 4 + 4 + 1), "locator"))
    names = columns.raw(segment_total * 32)
    sizes = columns.numbers("Q", segment_total)
    pack_numbers = columns.numbers("I", segment_total)
    if any(number >= len(packs) for number in pack_numbers) or len(set(pack_numbers)) != len(packs):
        raise MalformedIndex("The packs of the locator are not those of its segments.")
    segments = tuple(
        SegmentRef(packs[pack_numbers[number]], names[number * 32 : number * 32 + 32].hex(), sizes[number])
        for number in range(segment_total)
    )
    locator = Locator(
        listing.digest,
        segments,
        columns.numbers("I", row_total),
        columns.numbers("I", row_total),
        columns.numbers("I", row_total),
        columns.raw(row_total),
    )
    _check_locator(locator, chunk_rows(listing))
    return locator


def _check_locator(locator: Locator, rows: ChunkRows) -> None:
    if locator.row_total != len(rows.first):
        raise MalformedIndex(
            f"The locator places {locator.row_total} chunks, the listing has {len(rows.first)} distinct ones."
        )
    if len({(segment.pack, segment.sha256) for segment in locator.segments}) != len(locator.segments):
        raise MalformedIndex("The locator names a segment twice.")
    for segment in locator.segments:
        if not 0 < segment.size <= MAX_SEGMENT_BYTES:
            raise MalformedIndex(f"The segment {segment.sha256} has the size {segment.size}.")
    used = bytearray(len(locator.segments))
    sizes = [segment.size for segment in locator.segments]
    for row in range(locator.row_total):
        number, offset, length = locator.segment_numbers[row], locator.offsets[row], locator.lengths[row]
        if number >= len(sizes):
            raise MalformedIndex(f"Row {row} of the locator names a segment that is not there.")
        if length == 0 or offset + length > sizes[number]:
            raise MalformedIndex(f"Row {row} of the locator reaches outside its segment.")
        codec, raw_length = locator.codecs[row], rows.lengths[row]
        if codec not in CODEC_NAMES:
            raise MalformedIndex(f"Row {row} of the locator has the unknown codec {codec}.")
        if length > raw_length or (codec == CODEC_RAW) != (length == raw_length):
            raise MalformedIndex(f"Row {row} of the locator has a stored length that does not fit its codec.")
        used[number] = 1
    if not all(used):
        raise MalformedIndex("The locator names a segment that it does not use.")


# --- index -----------------------------------------------------------------------------------------------


def encode_index(listing_file: bytes, locator_file: bytes) -> bytes:
    """Both files in one body, as a commit sends them."""
    return b"".join((INDEX_MAGIC, struct.pack("<QQ", len(listing_file), len(locator_file)), listing_file, locator_file))


def decode_index(data: bytes) -> Index:
    """Read and check both files.

    :raises MalformedIndex: one breaks the grammar, or they do not belong together
    :raises UnsupportedFormat: one needs something that this version does not know
    """
    if len(data) < 24 or data[:8] != INDEX_MAGIC:
        raise MalformedIndex("The index does not begin as one.")
    listing_bytes, locator_bytes = struct.unpack_from("<QQ", data, 8)
    if 24 + listing_bytes + locator_bytes != len(data):
        raise MalformedIndex("The index is shorter or longer than it says.")
    listing_file = data[24 : 24 + listing_bytes]
    locator_file = data[24 + listing_bytes :]
    listing = decode_listing(listing_file)
    return Index(listing, decode_locator(locator_file, listing), listing_file, locator_file)


# --- files of columns ------------------------------------------------------------------------------------


class _Columns:
    """Cuts the columns of a file one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._position = 0

    def raw(self, length: int) -> bytes:
        """The next ``length`` bytes."""
        self._position += length
        return self.data[self._position - length : self._position]

    def numbers(self, typecode: str, count: int) -> array[int]:
        """The next ``count`` integers."""
        column = array(typecode)
        column.frombytes(self.raw(count * column.itemsize))
        if sys.byteorder == "big":
            column.byteswap()
        return column


def _little_endian(column: array[int]) -> bytes:
    if sys.byteorder == "big":
        column = array(column.typecode, column)
        column.byteswap()
    return column.tobytes()


def _canonical_json(header: t.Mapping[str, t.Any]) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def _pack_file(magic: bytes, header: bytes, columns: bytes) -> bytes:
    compressor = zlib.compressobj(_COLUMN_LEVEL, zlib.DEFLATED, -15)
    return b"".join((magic, struct.pack("<I", len(header)), header, compressor.compress(columns), compressor.flush()))


def _split_file(magic: bytes, data: bytes, what: str) -> tuple[dict[str, t.Any], bytes, bytes]:
    if len(data) < 12 or data[:8] != magic:
        raise MalformedIndex(f"The {what} does not begin as one.")
    (length,) = struct.unpack_from("<I", data, 8)
    if length > MAX_HEADER_BYTES or 12 + length > len(data):
        raise MalformedIndex(f"The header of the {what} is longer than it may be.")
    header_bytes = data[12 : 12 + length]
    try:
        header = json.loads(header_bytes.decode("ascii"))
        canonical = _canonical_json(header)
    except ValueError as error:
        raise MalformedIndex(f"The header of the {what} is not JSON.") from error
    except RecursionError as error:
        raise MalformedIndex(f"The header of the {what} is nested too deep.") from error
    if not isinstance(header, dict):
        raise MalformedIndex(f"The header of the {what} is not an object.")
    _check_format(header, what)
    if canonical != header_bytes:
        raise MalformedIndex(f"The header of the {what} is not in canonical form.")
    return header, header_bytes, data[12 + length :]


def _check_format(header: t.Mapping[str, t.Any], what: str) -> None:
    version = header.get("format")
    if not _is_integer(version):
        raise MalformedIndex(f"The {what} does not say which format it has.")
    if version != FORMAT:
        raise UnsupportedFormat(
            f"The {what} has the format {str(version)[:40]}, this version reads {FORMAT}.",
            hint="Update the collection on the controller.",
        )
    features = header.get("features")
    if not isinstance(features, list) or not all(isinstance(name, str) and _FEATURE.match(name) for name in features):
        raise MalformedIndex(f"The {what} does not say which features it needs.")
    if features:
        names = ", ".join(features[:_FEATURES_SHOWN])
        raise UnsupportedFormat(
            f"The {what} needs features that this version does not know: {names}.",
            hint="Update the collection on the controller.",
        )


def _is_integer(value: t.Any) -> bool:
    # JSON has 1.0 and true as well, which Python takes for 1.
    return isinstance(value, int) and not isinstance(value, bool)


def _check_keys(header: t.Mapping[str, t.Any], wanted: set[str], what: str) -> None:
    if set(header) != wanted:
        raise MalformedIndex(f"The header of the {what} does not have the fields of format {FORMAT}.")


def _bounded(header: t.Mapping[str, t.Any], key: str, limit: int, what: str) -> int:
    value = header[key]
    if not _is_integer(value) or not 0 <= value <= limit:
        raise MalformedIndex(f"The {what} has {key} = {str(value)[:40]}, allowed is 0 to {limit}.")
    return value


def _inflate(data: bytes, length: int, what: str) -> bytes:
    decompressor = zlib.decompressobj(-15)
    try:
        columns = decompressor.decompress(data, length + 1)
    except zlib.error as error:
        raise MalformedIndex(f"The columns of the {what} do not decompress.") from error
    if len(columns) != length or not decompressor.eof or decompressor.unused_data or decompressor.unconsumed_tail:
        raise MalformedIndex(f"The columns of the {what} are shorter or longer than its header says.")
    return columns


def _cut_texts(data: bytes, lengths: array[int]) -> list[str]:
    if sum(lengths) != len(data):
        raise MalformedIndex("The texts of the listing are shorter or longer than their lengths.")
    texts = []
    position = 0
    for length in lengths:
        try:
            texts.append(data[position : position + length].decode("utf-8"))
        except UnicodeDecodeError as error:
            raise MalformedIndex("A path or target of the listing is not UTF-8.") from error
        position += length
    return texts
