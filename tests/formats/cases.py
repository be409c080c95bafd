# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every reader must accept: packs, indexes, segments and chunks of format 1."""

from __future__ import annotations

import functools
import hashlib
import struct
import typing as t
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.tests.formats import craft
from ansible_collections.macfleet.parallels.tests.formats.craft import CHUNK_SIZE, DIRECTORY, FILE, LINK, Piece, Row

# An encoder from raw bytes to (codec, encoded bytes).
Encoder = t.Callable[[bytes], t.Tuple[int, bytes]]

# Chunks and trailer rows that take a segment to this size end it.
SEGMENT_BYTES = 65536


@dataclass(frozen=True)
class Case:
    """A directory of vectors: its files, and what ``case.json`` says of them."""

    name: str
    about: str
    reads: str
    files: t.Mapping[str, bytes]
    facts: t.Mapping[str, t.Any] = field(default_factory=dict)
    error: str = ""
    says: t.Optional[str] = ""

    def description(self) -> dict[str, t.Any]:
        """The content of ``case.json``."""
        made: dict[str, t.Any] = {"about": self.about, "reads": self.reads, **self.facts}
        if self.error:
            made["error"] = self.error
            if self.says is not None:
                made["says"] = self.says
        return made


def text(length: int) -> bytes:
    """Lines that any codec shrinks."""
    lines = []
    total = number = 0
    while total < length:
        lines.append(b"%d bytes of a virtual machine\n" % (number * number % 9973))
        total += len(lines[-1])
        number += 1
    return b"".join(lines)[:length]


def image() -> bytes:
    """An expandable image: a header of 1 KiB and clusters, one of them empty, one there twice."""
    header = struct.pack("<16sIIIIIQIIIQ", b"WithouFreSpacExt", 2, 16, 32, 128, 16, 4096, 0, 2, 0, 0)
    cluster = text(CHUNK_SIZE)
    return header.ljust(1024, b"\xff") + cluster + bytes(CHUNK_SIZE) + cluster + b"the end of the data area"


EXECUTABLES = frozenset({"Scripts/run.sh"})
LINKS = {"Scripts/config": "../config.pvs", "disk": "harddisk.hdd"}


@functools.lru_cache(maxsize=None)
def files() -> dict[str, bytes]:
    """The files of the sample bundle."""
    return {
        "Caf\u00e9/hole.bin": bytes(CHUNK_SIZE + 10),
        "NVRAM.dat": bytes(range(100)),
        "Scripts/run.sh": b"#!/bin/sh\n",
        "config.pvs": b"<ParallelsVirtualMachine/>\n",
        "empty": b"",
        "harddisk.hdd/DiskDescriptor.xml": b"<Disk><File>disk.hds</File></Disk>\n",
        "harddisk.hdd/disk.hds": image(),
        # The same bytes as a file before it: no second row in the locator
        "harddisk.hdd/same.sh": b"#!/bin/sh\n",
    }


def rows() -> list[Row]:
    """The entries of the sample bundle."""
    directories = {path.rpartition("/")[0] for path in files()} - {""}
    found = [Row(DIRECTORY, path.encode()) for path in directories]
    found += [Row(LINK, path.encode(), target=target.encode()) for path, target in LINKS.items()]
    for path, content in files().items():
        data_start = 1024 if path.endswith(".hds") else 0
        flags = craft.EXECUTABLE if path in EXECUTABLES else 0
        found.append(Row(FILE, path.encode(), flags, len(content), data_start))
    return sorted(found, key=lambda row: row.path)


def chunks() -> list[bytes]:
    """The chunks of the sample bundle, in canonical order."""
    found = []
    for row in rows():
        if row.kind == FILE:
            found += craft.cut(files()[row.path.decode()], row.data_start)
    return found


@dataclass(frozen=True)
class Pack:
    """A pack in all its parts."""

    listing: bytes
    locator: bytes
    index: bytes
    segments: tuple[craft.Segment, ...]

    @property
    def digest(self) -> str:
        """The digest of the listing."""
        return hashlib.sha256(self.listing).hexdigest()


def make_pack(encode: Encoder, pack_columns: t.Callable[[bytes], bytes] = craft.stored) -> Pack:
    """The sample bundle as a pack: ``listing`` and ``locator`` are the canonical forms."""
    ids = [craft.chunk_id(chunk) for chunk in chunks()]
    distinct = {identity: chunk for identity, chunk in zip(ids, chunks()) if identity != craft.HOLE}
    batches: list[list[Piece]] = [[]]
    length = 8
    for chunk in distinct.values():
        codec, encoded = encode(chunk)
        batches[-1].append(Piece(chunk, codec, encoded))
        length += len(encoded) + 45
        if length >= SEGMENT_BYTES:
            batches.append([])
            length = 8
    segments = tuple(craft.segment(batch) for batch in batches if batch)
    places = [
        (number, *segment.places[identity])
        for identity in distinct
        for number, segment in enumerate(segments)
        if identity in segment.places
    ]
    header, columns = craft.listing_header(rows(), ids), craft.listing_columns(rows(), ids)
    canonical = craft.listing_file(header, columns)
    digest = hashlib.sha256(canonical).hexdigest()
    where = craft.locator_header(digest, [craft.PACK], len(segments), len(places))
    where_columns = craft.locator_columns([(one.sha256, len(one.data), 0) for one in segments], places)
    return Pack(
        canonical,
        craft.locator_file(where, where_columns),
        craft.index(
            craft.listing_file(header, pack_columns(columns)), craft.locator_file(where, pack_columns(where_columns))
        ),
        segments,
    )


def pack_case(name: str, about: str, pack: Pack, **facts: t.Any) -> Case:
    """A whole pack and what a pull of it must make."""
    made: dict[str, bytes] = {
        "listing.canonical.bin": pack.listing,
        "locator.canonical.bin": pack.locator,
        "index.bin": pack.index,
    }
    for segment in pack.segments:
        made[f"segment-{segment.sha256.hex()}.bin"] = segment.data
    tree: dict[str, t.Any] = {}
    for row in rows():
        path = row.path.decode()
        if row.kind == DIRECTORY:
            tree[path] = {"type": "directory"}
        elif row.kind == LINK:
            tree[path] = {"type": "link", "target": row.target.decode()}
        else:
            content = files()[path]
            tree[path] = {
                "type": "file",
                "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "executable": path in EXECUTABLES,
            }
    return Case(name, about, "pack", made, {"digest": pack.digest, "tree": tree, **facts})


def raw(chunk: bytes) -> tuple[int, bytes]:
    """The encoder of vectors that are the same on every machine."""
    return craft.RAW, chunk


def listing_case(name: str, about: str, entries: t.Sequence[Row], ids: t.Sequence[bytes]) -> Case:
    """A listing and a locator that places its chunks raw, one behind the other, in one segment."""
    header, columns = craft.listing_header(entries, ids), craft.listing_columns(entries, ids)
    canonical = craft.listing_file(header, columns)
    digest = hashlib.sha256(canonical).hexdigest()
    where = craft.locator_header(digest, [], 0, 0)
    return Case(
        name,
        about,
        "index",
        {
            "listing.canonical.bin": canonical,
            "index.bin": craft.index(
                craft.listing_file(header, craft.stored(columns)), craft.locator_file(where, craft.stored(b""))
            ),
        },
        {"digest": digest},
    )


def segment_case(name: str, about: str, pieces: t.Sequence[Piece]) -> Case:
    """A segment and its trailer: how many rows, and the last of them."""
    made = craft.segment(pieces)
    identity, (offset, length, codec) = list(made.places.items())[-1]
    last = {"sha256": identity.hex(), "offset": offset, "length": length, "codec": codec}
    return Case(name, about, "segment", {"segment.bin": made.data}, {"rows": len(made.places), "last_row": last})


def exact_cases() -> list[Case]:
    """Vectors that are the same bytes whoever makes them."""
    many = [b"chunk %d" % number for number in range(400)]
    return [
        pack_case(
            "pack-raw", "A whole pack of two segments, not compressed.", make_pack(raw), segment_bytes=SEGMENT_BYTES
        ),
        listing_case("listing-empty", "A bundle without entries.", [], []),
        listing_case(
            "listing-holes",
            "Files of zeros only, whole chunks, a short one, and an image whose header and data area are holes.",
            [
                Row(FILE, b"a", size=2 * CHUNK_SIZE),
                Row(FILE, b"b", size=1),
                Row(FILE, b"c.hds", size=CHUNK_SIZE + 513, data_start=512),
            ],
            [craft.HOLE] * 6,
        ),
        listing_case(
            "listing-order",
            "The order of UTF-8 bytes, not that of directories, of letters or of UTF-16 units.",
            [
                Row(DIRECTORY, b"Z"),
                Row(DIRECTORY, b"a"),
                Row(FILE, b"a-b"),
                Row(FILE, b"a.b"),
                Row(FILE, b"a/b"),
                Row(FILE, b"ab"),
                Row(FILE, "\u00e9".encode()),
                Row(FILE, "\ufb03".encode()),
                Row(FILE, "\U0001f34e".encode()),
            ],
            [],
        ),
        segment_case(
            "segment-raw", "Two chunks, not compressed.", [Piece(b"one", 0, b"one"), Piece(b"chunk", 0, b"chunk")]
        ),
        segment_case(
            "segment-long-trailer",
            "A trailer that is longer than what a reader asks for first.",
            [Piece(chunk, 0, chunk) for chunk in many],
        ),
    ]
