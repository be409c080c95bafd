# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes the bytes of format 1 by hand, as docs/pack-format.md describes them.

It shares nothing with the engine, so that the two check one another, and it writes broken bytes as readily
as good ones: whatever a header says can be changed, and every column is a parameter.
"""

from __future__ import annotations

import hashlib
import json
import struct
import typing as t
from dataclasses import dataclass

DIRECTORY, FILE, LINK = 0, 1, 2
RAW, DEFLATE, ZSTD = 0, 1, 2
EXECUTABLE = 1
CHUNK_SIZE = 65536
HOLE = bytes(32)
PACK = "0123456789abcdef0123456789abcdef"

Header = t.Dict[str, t.Any]


@dataclass(frozen=True)
class Row:
    """One entry of a listing, unchecked."""

    kind: int
    path: bytes
    flags: int = 0
    size: int = 0
    data_start: int = 0
    target: bytes = b""


@dataclass(frozen=True)
class Piece:
    """One chunk of a segment, unchecked."""

    raw: bytes
    codec: int
    encoded: bytes


@dataclass(frozen=True)
class Segment:
    """The bytes of a segment, and where its chunks lie: id to (offset, stored length, codec)."""

    data: bytes
    places: t.Mapping[bytes, tuple[int, int, int]]

    @property
    def sha256(self) -> bytes:
        """The name of the segment."""
        return hashlib.sha256(self.data).digest()


def chunk_id(data: bytes) -> bytes:
    """The name of a chunk."""
    return hashlib.sha256(data).digest() if any(data) else HOLE


def cut(content: bytes, data_start: int = 0) -> list[bytes]:
    """The chunks of a file."""
    runs = (content[:data_start], content[data_start:])
    return [run[offset : offset + CHUNK_SIZE] for run in runs for offset in range(0, len(run), CHUNK_SIZE)]


def canonical_json(header: Header) -> bytes:
    """A header: sorted keys, no spaces, ASCII."""
    return json.dumps(header, sort_keys=True, separators=(",", ":")).encode("ascii")


def stored(data: bytes) -> bytes:
    """DEFLATE without compression: the one encoding that every library would write in the same way."""
    blocks = [data[offset : offset + 65535] for offset in range(0, len(data), 65535)] or [b""]
    return b"".join(
        struct.pack("<BHH", number == len(blocks) - 1, len(block), len(block) ^ 0xFFFF) + block
        for number, block in enumerate(blocks)
    )


def zeros_without_end(repeats: int = 4096) -> bytes:
    """DEFLATE of one zero and ``repeats`` times the longest copy of it, each 13 bits for 258 bytes."""
    return from_bits("1" + "10" + "00110000" + ("11000101" + "00000") * repeats + "0000000")


def from_bits(bits: str) -> bytes:
    """The bytes of a DEFLATE stream: codes are written from their first bit on, bytes from the lowest bit on."""
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[start : start + 8][::-1], 2) for start in range(0, len(bits), 8))


def numbers(width: str, values: t.Iterable[int]) -> bytes:
    """A column of little-endian integers."""
    return b"".join(struct.pack("<" + width, value) for value in values)


def listing_header(rows: t.Sequence[Row], ids: t.Sequence[bytes]) -> Header:
    """The header of a listing."""
    return {
        "chunk_size": CHUNK_SIZE,
        "chunks": len(ids),
        "entries": len(rows),
        "features": [],
        "format": 1,
        "path_bytes": sum(len(row.path) for row in rows),
        "target_bytes": sum(len(row.target) for row in rows),
    }


def listing_columns(rows: t.Sequence[Row], ids: t.Sequence[bytes]) -> bytes:
    """The columns of a listing."""
    return b"".join(
        (
            bytes(row.kind for row in rows),
            bytes(row.flags for row in rows),
            numbers("Q", (row.size for row in rows)),
            numbers("Q", (row.data_start for row in rows)),
            numbers("I", (len(row.path) for row in rows)),
            numbers("I", (len(row.target) for row in rows)),
            b"".join(row.path for row in rows),
            b"".join(row.target for row in rows),
            b"".join(ids),
        )
    )


def locator_header(digest: str, packs: t.Sequence[str], segments: int, rows: int) -> Header:
    """The header of a locator."""
    return {"digest": digest, "features": [], "format": 1, "packs": list(packs), "rows": rows, "segments": segments}


def locator_columns(segments: t.Sequence[tuple[bytes, int, int]], rows: t.Sequence[tuple[int, int, int, int]]) -> bytes:
    """The columns of a locator: (name, size, pack number) of segments, (segment, offset, length, codec) of rows."""
    return b"".join(
        (
            b"".join(name for name, _size, _pack in segments),
            numbers("Q", (size for _name, size, _pack in segments)),
            numbers("I", (pack for _name, _size, pack in segments)),
            numbers("I", (row[0] for row in rows)),
            numbers("I", (row[1] for row in rows)),
            numbers("I", (row[2] for row in rows)),
            bytes(row[3] for row in rows),
        )
    )


def column_file(magic: bytes, header: bytes, body: bytes) -> bytes:
    """A file, with encoded columns as body; its canonical form, with the columns themselves."""
    return magic + struct.pack("<I", len(header)) + header + body


def listing_file(header: t.Union[Header, bytes], body: bytes) -> bytes:
    """The file or the canonical form of a listing."""
    return column_file(b"MFLIST1\n", header if isinstance(header, bytes) else canonical_json(header), body)


def locator_file(header: t.Union[Header, bytes], body: bytes) -> bytes:
    """The file or the canonical form of a locator."""
    return column_file(b"MFLOCA1\n", header if isinstance(header, bytes) else canonical_json(header), body)


def index(listing: bytes, locator: bytes, deltas: t.Sequence[bytes] = ()) -> bytes:
    """The body of a commit."""
    lengths = struct.pack(f"<QQI{len(deltas)}Q", len(listing), len(locator), len(deltas), *map(len, deltas))
    return b"MFINDX1\n" + lengths + listing + locator + b"".join(deltas)


def trailer_row(identity: bytes, offset: int, length: int, raw_length: int, codec: int) -> bytes:
    """One row of a trailer."""
    return identity + struct.pack("<IIIB", offset, length, raw_length, codec)


def trailer(rows: t.Sequence[bytes]) -> bytes:
    """Rows and footer."""
    body = b"".join(rows)
    return body + struct.pack("<II", len(rows), len(body)) + b"MFTRAI1\n"


def segment(pieces: t.Iterable[Piece]) -> Segment:
    """A segment of these chunks."""
    body = b"MFSEGM1\n"
    rows = []
    places = {}
    for piece in pieces:
        identity = chunk_id(piece.raw)
        places[identity] = (len(body), len(piece.encoded), piece.codec)
        rows.append(trailer_row(identity, len(body), len(piece.encoded), len(piece.raw), piece.codec))
        body += piece.encoded
    return Segment(body + trailer(rows), places)
