# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every reader must refuse, one fault a case, and with which error."""

from __future__ import annotations

import hashlib
import struct
import types
import typing as t
import zlib

from ansible_collections.macfleet.parallels.tests.formats import craft
from ansible_collections.macfleet.parallels.tests.formats.cases import Case, make_pack, pack_case, raw, text
from ansible_collections.macfleet.parallels.tests.formats.craft import CHUNK_SIZE, DIRECTORY, FILE, LINK, Piece, Row

CONTENT = b"<ParallelsVirtualMachine/>\n"
ID = craft.chunk_id(CONTENT)
SEGMENT = craft.segment([Piece(CONTENT, craft.RAW, CONTENT)])
NAMED = (SEGMENT.sha256, len(SEGMENT.data), 0)
PLACED = (0, 8, len(CONTENT), craft.RAW)
REMOVED = "removed"
UNCHANGED: t.Mapping[str, t.Any] = types.MappingProxyType({})


def file(path: bytes, **changes: t.Any) -> Row:
    """A file of the one chunk of these cases."""
    fields: dict[str, t.Any] = {"size": len(CONTENT), **changes}
    return Row(FILE, path, **fields)


def link(path: bytes, target: bytes) -> Row:
    """A link."""
    return Row(LINK, path, target=target)


def changed(header: craft.Header, changes: t.Mapping[str, t.Any]) -> craft.Header:
    """A header with other values, or without a field."""
    return {key: value for key, value in {**header, **changes}.items() if value is not REMOVED}


def make_index(
    rows: t.Sequence[Row] = (file(b"config.pvs"),),
    ids: t.Optional[t.Sequence[bytes]] = None,
    *,
    listing_header: t.Optional[bytes] = None,
    listing_changes: t.Mapping[str, t.Any] = UNCHANGED,
    listing_columns: t.Optional[bytes] = None,
    listing_body: t.Optional[bytes] = None,
    segments: t.Sequence[tuple[bytes, int, int]] = (NAMED,),
    placed: t.Sequence[tuple[int, int, int, int]] = (PLACED,),
    locator_changes: t.Mapping[str, t.Any] = UNCHANGED,
    locator_body: t.Optional[bytes] = None,
) -> bytes:
    """An index that is right in all that is not named."""
    ids = [ID for row in rows if row.kind == FILE] if ids is None else ids
    header = changed(craft.listing_header(rows, ids), listing_changes)
    columns = craft.listing_columns(rows, ids) if listing_columns is None else listing_columns
    canonical = craft.listing_file(header, columns)
    where = changed(
        craft.locator_header(hashlib.sha256(canonical).hexdigest(), [craft.PACK], len(segments), len(placed)),
        locator_changes,
    )
    return craft.index(
        craft.listing_file(listing_header or header, craft.stored(columns) if listing_body is None else listing_body),
        craft.locator_file(
            where, craft.stored(craft.locator_columns(segments, placed)) if locator_body is None else locator_body
        ),
    )


def refused(name: str, about: str, says: str, error: str = "invalid_index", **changes: t.Any) -> Case:
    """A broken index."""
    return Case(name, about, "index", {"index.bin": make_index(**changes)}, error=error, says=says)


def unsafe(name: str, about: str, says: str, *rows: Row) -> Case:
    """An index that would write where it must not."""
    return refused(name, about, says, "unsafe_path", rows=rows)


def path_cases() -> list[Case]:
    """Paths of entries."""
    a, b = file(b"a"), file(b"b")
    return [
        unsafe("path-dotdot", "A path that goes up.", "'..'", file(b"../a")),
        unsafe("path-dotdot-inside", "A path that goes down and up.", "'..'", file(b"a/../b")),
        unsafe("path-dot", "A path with a component that is a dot.", "'.'", file(b"./a")),
        unsafe("path-empty-component", "A path with two slashes.", "''", Row(DIRECTORY, b"a"), file(b"a//b")),
        unsafe("path-trailing-slash", "A directory that is written with a slash.", "''", Row(DIRECTORY, b"a/")),
        unsafe("path-absolute", "A path from the root of the file system.", "is absolute", file(b"/etc/hosts")),
        unsafe("path-empty", "An entry without a path.", "empty path", file(b"")),
        unsafe("path-nul", "A path that holds a NUL.", "NUL", file(b"a\0b")),
        unsafe("path-not-nfc", "A path in normal form D.", "normal form C", file("cafe\u0301".encode())),
        unsafe(
            "path-nfc-equal",
            "Two paths that are one in normal form C.",
            "normal form C",
            file("cafe\u0301".encode()),
            file("caf\u00e9".encode()),
        ),
        unsafe("path-case-equal", "Two paths that differ in case alone.", "name one file", file(b"A"), file(b"a")),
        unsafe(
            "path-fold-equal",
            "Two paths that are one when case is folded.",
            "name one file",
            file(b"STRASSE"),
            file("stra\u00dfe".encode()),
        ),
        unsafe("path-too-long", "A path of more than 1024 bytes.", "longer than 1024", file(b"/".join([b"a"] * 513))),
        unsafe("path-component-too-long", "A component of more than 255 bytes.", "longer than 255", file(b"a" * 256)),
        refused("path-duplicate", "The same path twice.", "does not come after", rows=[a, a]),
        refused("path-order", "Paths that are not in order.", "does not come after", rows=[b, a]),
        refused("path-not-utf8", "A path that is not UTF-8.", "not UTF-8", rows=[file(b"caf\xe9")]),
        refused("path-surrogate", "A path with half a surrogate pair.", "not UTF-8", rows=[file(b"\xed\xa0\x80")]),
        refused(
            "path-without-directory", "A file in a directory that is not listed.", "not in the", rows=[file(b"a/b")]
        ),
        refused("path-below-file", "A file below a file.", "not in the", rows=[a, file(b"a/b")]),
        refused("path-below-link", "A file below a link.", "not in the", rows=[link(b"a", b"."), file(b"a/b")]),
        refused(
            "path-lengths",
            "Lengths of paths that do not add up.",
            "shorter or longer",
            listing_changes={"path_bytes": 9},
            listing_columns=craft.listing_columns([file(b"config.pv")], [ID])[:18]
            + struct.pack("<II", 10, 0)
            + b"config.pv"
            + ID,
        ),
    ]


def link_cases() -> list[Case]:
    """Targets of links."""
    directory = Row(DIRECTORY, b"d")
    return [
        unsafe("link-escape", "A link out of the bundle.", "leaves the bundle", link(b"a", b"../b")),
        unsafe(
            "link-escape-deep", "A link that goes up once too often.", "leaves the", directory, link(b"d/a", b"../../b")
        ),
        unsafe("link-absolute", "A link to an absolute path.", "absolute", link(b"a", b"/etc/hosts")),
        unsafe("link-empty", "A link without a target.", "no usable target", link(b"a", b"")),
        unsafe("link-nul", "A link whose target holds a NUL.", "no usable target", link(b"a", b"b\0")),
        unsafe("link-too-long", "A target of more than 1024 bytes.", "longer", link(b"a", b"b" * 1025)),
        unsafe(
            "link-up-behind-component",
            "A link that goes up behind a component, which may be a link itself.",
            "behind a component",
            directory,
            link(b"d/a", b"b/../c"),
        ),
        refused("link-not-utf8", "A target that is not UTF-8.", "not UTF-8", rows=[link(b"a", b"\xe9")]),
        refused("target-of-file", "A file with a target.", "not a link", rows=[file(b"a", target=b"b")]),
        refused(
            "target-of-directory", "A directory with a target.", "not a link", rows=[Row(DIRECTORY, b"a", target=b"b")]
        ),
    ]


def entry_cases() -> list[Case]:
    """Fields of entries, sizes and chunks."""
    return [
        refused(
            "size-wrong", "A file that needs more chunks than there are.", "ask for 2", rows=[file(b"a", size=65537)]
        ),
        refused("size-zero", "A file that needs no chunk, and has one.", "ask for 0", rows=[file(b"a", size=0)]),
        refused("size-huge", "A file of 2^64 - 1 bytes.", "ask for", rows=[file(b"a", size=2**64 - 1)]),
        refused("size-of-directory", "A directory with a size.", "not a file", rows=[Row(DIRECTORY, b"a", size=1)]),
        refused("size-of-link", "A link with a size.", "not a file", rows=[Row(LINK, b"a", 0, 1, 0, b"b")]),
        refused(
            "executable-directory",
            "A directory with the executable flag.",
            "not a file",
            rows=[Row(DIRECTORY, b"a", 1)],
        ),
        refused(
            "executable-link", "A link with the executable flag.", "not a file", rows=[Row(LINK, b"a", 1, target=b"b")]
        ),
        refused(
            "data-start-behind-end", "A data area behind the end.", "behind its end", rows=[file(b"a", data_start=99)]
        ),
        refused("kind-unknown", "An entry of the type 3.", "unknown type", rows=[Row(3, b"a")]),
        refused("flag-unknown", "An entry with the flag 2.", "unknown type or flag", rows=[file(b"a", flags=2)]),
        refused(
            "chunk-two-lengths",
            "One chunk with two lengths.",
            "two lengths",
            rows=[file(b"a"), file(b"b", size=CHUNK_SIZE)],
        ),
        refused("chunk-size-small", "Chunks of 32 KiB.", "chunk size", listing_changes={"chunk_size": 32768}),
        refused("chunk-size-odd", "Chunks of 96 KiB.", "chunk size", listing_changes={"chunk_size": 98304}),
        refused("chunk-size-huge", "Chunks of 8 MiB.", "chunk_size", listing_changes={"chunk_size": 8 << 20}),
    ]


def header_cases() -> list[Case]:
    """Headers of listings and locators."""
    header = craft.listing_header([file(b"config.pvs")], [ID])
    plain = craft.canonical_json(header)
    nested = b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"," + plain[1:]

    def bytes_of(name: str, about: str, says: str, data: bytes) -> Case:
        return refused(name, about, says, listing_header=data)

    def whole(name: str, about: str, data: bytes) -> Case:
        return Case(name, about, "index", {"index.bin": data}, error="invalid_index", says="longer than it may be")

    def patched(header_bytes: int) -> bytes:
        good = make_index()
        return good[:36] + struct.pack("<I", header_bytes) + good[40:]

    def fields(name: str, about: str, says: str, error: str = "invalid_index", **changes: t.Any) -> Case:
        return refused(name, about, says, error, listing_changes=changes)

    return [
        bytes_of("header-not-json", "A header that is no JSON.", "not JSON", b"{]"),
        bytes_of(
            "header-not-ascii", "A header beyond ASCII.", "not JSON", plain.replace(b"chunks", "ch\u00fcnks".encode())
        ),
        bytes_of("header-not-object", "A header that is a list.", "not an object", b"[]"),
        bytes_of("header-not-canonical", "A header with spaces.", "canonical", plain.replace(b",", b", ")),
        bytes_of(
            "header-unsorted",
            "A header in another order.",
            "canonical",
            b'{"format":1,' + plain.replace(b'"format":1,', b"")[1:],
        ),
        bytes_of("header-duplicate-key", "A field twice.", "canonical", plain[:-1] + b',"entries":1}'),
        bytes_of("header-nested", "A header nested three thousand times.", "", nested),
        whole("header-too-long", "A header that says it has more than 1 MiB.", patched((1 << 20) + 1)),
        whole("header-longer-than-file", "A header that is longer than its file.", patched(4096)),
        fields("header-field-missing", "A header without a field.", "fields", chunks=REMOVED),
        fields("header-field-unknown", "A header with a field more.", "fields", colour="red"),
        fields("header-number-float", "A number with a fraction.", "entries", entries=1.0),
        fields("header-number-boolean", "A truth value as number.", "entries", entries=True),
        fields("header-number-negative", "A negative number.", "entries", entries=-1),
        fields("header-number-huge", "More entries than there may be.", "entries", entries=1_000_001),
        fields("header-number-text", "A number written as text.", "chunks", chunks="1"),
        fields("format-missing", "A header that does not say its format.", "which format", format=REMOVED),
        fields("format-boolean", "A truth value as format.", "which format", format=True),
        fields("format-float", "A format with a fraction.", "which format", format=1.0),
        fields("format-future", "Format 2.", "format 2", "unsupported_format", format=2),
        fields("feature-unknown", "A feature of the future.", "seal", "unsupported_format", features=["seal"]),
        fields("features-missing", "A header without features.", "which features", features=REMOVED),
        fields("features-malformed", "A feature that is no word.", "which features", features=[{"a": 1}]),
    ]


def column_cases() -> list[Case]:
    """Compressed columns, and what holds both files together."""
    good = make_index()
    columns = craft.listing_columns([file(b"config.pvs")], [ID])
    listing_bytes = struct.unpack_from("<Q", good, 8)[0]

    def whole(name: str, about: str, says: str, data: bytes) -> Case:
        return Case(name, about, "index", {"index.bin": data}, error="invalid_index", says=says)

    return [
        refused("columns-short", "Columns that end early.", "shorter or longer", listing_columns=columns[:-1]),
        refused("columns-long", "Columns with a byte more.", "shorter or longer", listing_columns=columns + b"\0"),
        refused(
            "columns-bomb",
            "Columns that grow without end.",
            "shorter or longer",
            listing_body=craft.zeros_without_end(),
        ),
        refused("columns-not-deflate", "Columns that are not DEFLATE.", "do not decompress", listing_body=b"\xff" * 90),
        refused(
            "columns-cut", "Columns whose DEFLATE is cut.", "shorter or longer", listing_body=craft.stored(columns)[:-1]
        ),
        refused(
            "columns-rest", "Bytes behind the columns.", "shorter or longer", listing_body=craft.stored(columns) + b"\0"
        ),
        refused("columns-zlib", "Columns in the wrapper of RFC 1950.", "", listing_body=zlib_wrapped(columns)),
        whole("index-magic", "Another magic.", "does not begin", b"MFINDX9\n" + good[8:]),
        whole("index-empty", "No byte at all.", "does not begin", b""),
        whole("index-truncated", "An index without its last byte.", "shorter or longer", good[:-1]),
        whole("index-rest", "An index with a byte more.", "shorter or longer", good + b"\0"),
        whole(
            "listing-magic",
            "Another magic of the listing.",
            "listing does not begin",
            good[:28] + b"MFLIST9\n" + good[36:],
        ),
        whole(
            "locator-magic",
            "Another magic of the locator.",
            "locator does not begin",
            good[: 28 + listing_bytes] + b"MFLOCA9\n" + good[36 + listing_bytes :],
        ),
    ]


def zlib_wrapped(columns: bytes) -> bytes:
    """The wrapper of RFC 1950 around stored blocks."""
    return b"\x78\x01" + craft.stored(columns) + struct.pack(">I", zlib.adler32(columns))


def locator_cases() -> list[Case]:
    """Where chunks are said to lie."""
    name, size, _pack = NAMED
    other = hashlib.sha256(b"another segment").digest()

    def rows(case: str, about: str, says: str, *placed: tuple[int, int, int, int]) -> Case:
        return refused(case, about, says, placed=placed)

    def named(case: str, about: str, says: str, *segments: tuple[bytes, int, int]) -> Case:
        return refused(case, about, says, segments=segments)

    def fields(case: str, about: str, says: str, error: str = "invalid_index", **changes: t.Any) -> Case:
        return refused(case, about, says, error, locator_changes=changes)

    text_chunk = text(1000)
    packed = craft.segment([Piece(text_chunk, craft.DEFLATE, craft.stored(text_chunk))])
    return [
        rows(
            "locator-outside-segment", "A chunk that reaches over the end of its segment.", "outside", (0, size, 27, 0)
        ),
        rows("locator-offset-huge", "An offset of 2^32 - 1.", "outside", (0, 2**32 - 1, 27, 0)),
        rows("locator-segment-number", "A segment that is not there.", "not there", (1, 8, 27, 0)),
        rows("locator-row-missing", "A chunk without a place.", "places 0 chunks"),
        rows("locator-row-more", "A place without a chunk.", "places 2 chunks", PLACED, PLACED),
        rows("stored-length", "A raw chunk that is shorter than the chunk.", "stored length", (0, 8, 26, 0)),
        rows("stored-length-zero", "A chunk of no bytes.", "outside", (0, 8, 0, 0)),
        rows(
            "stored-length-not-smaller",
            "An encoded chunk that is as long as the chunk.",
            "stored length",
            (0, 8, 27, 1),
        ),
        refused(
            "stored-length-larger",
            "An encoded chunk that is longer than the chunk.",
            "stored length",
            rows=[file(b"a", size=len(text_chunk))],
            ids=[craft.chunk_id(text_chunk)],
            segments=[(packed.sha256, len(packed.data), 0)],
            placed=[(0, *packed.places[craft.chunk_id(text_chunk)])],
        ),
        rows("codec-unknown", "The codec 3.", "unknown codec 3", (0, 8, 20, 3)),
        named("locator-unused-segment", "A segment without a chunk.", "does not use", NAMED, (other, 99, 0)),
        named("locator-segment-twice", "A segment that is named twice.", "twice", NAMED, NAMED),
        named("locator-segment-empty", "A segment of no bytes.", "has the size 0", (name, 0, 0)),
        named("locator-segment-huge", "A segment of more than 64 MiB.", "has the size", (name, (64 << 20) + 1, 0)),
        named("locator-pack-number", "A pack that is not there.", "not those of its segments", (name, size, 1)),
        fields("locator-pack-unused", "A pack without a segment.", "not those", packs=[craft.PACK, "f" * 32]),
        fields("locator-pack-name", "A pack that is not an upload id.", "not an upload id", packs=["../../../../etc"]),
        fields("locator-pack-type", "A pack that is a number.", "not an upload id", packs=[1]),
        fields("locator-packs-twice", "A pack twice.", "not in order", packs=[craft.PACK, craft.PACK]),
        fields("locator-packs-text", "Packs that are not a list.", "not an upload id", packs=craft.PACK),
        fields("digest-wrong", "A locator of another listing.", "belongs to", digest="0" * 64),
        fields("digest-type", "A locator whose digest is a list.", "does not say", digest=[[[]]]),
        fields("locator-format-future", "A locator of format 2.", "format 2", "unsupported_format", format=2),
        fields("locator-feature-unknown", "A feature of the future.", "seal", "unsupported_format", features=["seal"]),
        refused(
            "locator-columns-short", "Columns that end early.", "shorter or longer", locator_body=craft.stored(b"")
        ),
    ]


def trailer_cases() -> list[Case]:
    """Segments that cannot be read without an index."""
    head, body = b"MFSEGM1\n", CONTENT
    row = craft.trailer_row(ID, 8, 27, 27, 0)
    good = head + body + craft.trailer([row])

    def case(name: str, about: str, says: str, data: bytes) -> Case:
        return Case(name, about, "segment", {"segment.bin": data}, error="invalid_index", says=says)

    def one(name: str, about: str, says: str, *fields: int) -> Case:
        return case(name, about, says, head + body + craft.trailer([craft.trailer_row(ID, *fields)]))

    return [
        case("trailer-empty", "No byte at all.", "shorter than its footer", b""),
        case("trailer-magic", "A segment that does not end as one.", "does not end", good[:-1] + b"\0"),
        case("trailer-truncated", "A segment whose last bytes are missing.", "does not end", good[:-5]),
        case("trailer-cut", "A segment whose first bytes are missing.", "", good[9:]),
        case("trailer-longer-than-segment", "More rows than the segment has bytes.", "", craft.trailer([row])),
        case("trailer-gap", "Bytes that no row lists.", "not list", head + body + b"!" + craft.trailer([row])),
        case(
            "trailer-gap-in-front",
            "A first chunk that begins late.",
            "follow",
            head + b"!" + body + craft.trailer([craft.trailer_row(ID, 9, 27, 27, 0)]),
        ),
        case("trailer-overlap", "Two chunks in one place.", "follow", head + body + craft.trailer([row, row])),
        case(
            "trailer-row-count",
            "A footer that counts another number of rows.",
            "does not end",
            head + body + row + struct.pack("<II", 2, len(row)) + b"MFTRAI1\n",
        ),
        one("trailer-outside", "A chunk that reaches into the trailer.", "follow", 8, 28, 28, 0),
        one("trailer-length-zero", "A chunk of no bytes.", "follow", 8, 0, 27, 0),
        one("trailer-codec-unknown", "The codec 9.", "unknown codec", 8, 27, 28, 9),
        one("trailer-raw-length-zero", "A raw length of nothing.", "impossible", 8, 27, 0, 0),
        one("trailer-raw-length-huge", "A raw length above 4 MiB.", "impossible", 8, 27, (4 << 20) + 1, 1),
        one("trailer-stored-length", "A raw chunk that is shorter than the chunk.", "stored length", 8, 27, 28, 0),
        one("trailer-not-smaller", "An encoded chunk that is as long as the chunk.", "stored length", 8, 27, 27, 1),
    ]


def content_cases() -> list[Case]:
    """Packs whose index is right and whose segments are not: found when they are pulled."""
    pack = make_pack(raw)

    def broken(name: str, about: str, change: t.Callable[[bytes], bytes]) -> Case:
        good = pack_case(name, about, pack)
        files = {
            path: change(data) if path.startswith(f"segment-{pack.segments[0].sha256.hex()}") else data
            for path, data in good.files.items()
            if not path.endswith("canonical.bin")
        }
        return Case(name, about, "pack", files, {"digest": pack.digest}, "damaged_chunk", "does not have its digest")

    return [
        broken(
            "segment-flipped",
            "One bit of a segment is another.",
            lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:],
        ),
        broken("segment-truncated", "A segment whose second half is missing.", lambda data: data[: len(data) // 2]),
        broken("segment-other", "Another object of the same size.", lambda data: bytes(len(data))),
    ]


def exact_faults() -> list[Case]:
    """Every broken vector that is the same bytes whoever makes it."""
    return [
        *path_cases(),
        *link_cases(),
        *entry_cases(),
        *header_cases(),
        *column_cases(),
        *locator_cases(),
        *trailer_cases(),
        *content_cases(),
    ]
