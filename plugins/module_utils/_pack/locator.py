# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Writes, reads and checks locators. Pure."""

from __future__ import annotations

import re
import typing as t
from array import array

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import columns
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import MalformedIndex
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    CODEC_NAMES,
    CODEC_RAW,
    FORMAT,
    MAX_CHUNKS,
    MAX_SEGMENT_BYTES,
    MAX_SEGMENTS,
    ChunkRows,
    Listing,
    Locator,
    SegmentRef,
)

LOCATOR_MAGIC = b"MFLOCA1\n"
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_FIELDS = {"digest", "features", "format", "packs", "rows", "segments"}
_PACK_ID = re.compile(r"[0-9a-f]{32}\Z")


def encode_locator(locator: Locator) -> bytes:
    """Return the file of a locator."""
    packs = sorted({segment.pack for segment in locator.segments})
    numbers = {pack: number for number, pack in enumerate(packs)}
    header = columns.canonical_json(
        {
            "digest": locator.digest,
            "features": [],
            "format": FORMAT,
            "packs": packs,
            "rows": locator.row_total,
            "segments": len(locator.segments),
        }
    )
    table = (
        b"".join(bytes.fromhex(segment.sha256) for segment in locator.segments),
        columns.little_endian(array("Q", [segment.size for segment in locator.segments])),
        columns.little_endian(array("I", [numbers[segment.pack] for segment in locator.segments])),
        columns.little_endian(locator.segment_numbers),
        columns.little_endian(locator.offsets),
        columns.little_endian(locator.lengths),
        locator.codecs,
    )
    return columns.encode_file(LOCATOR_MAGIC, header, table)


def decode_locator(data: bytes, listing: Listing, rows: ChunkRows) -> Locator:
    """Read the file of a locator and check it against its listing and the ``rows`` of that.

    :raises MalformedIndex: it breaks the grammar, or does not belong to the listing
    :raises UnsupportedFormat: it needs something that this version does not know
    """
    header, _header_bytes, compressed = columns.split_file(LOCATOR_MAGIC, data, "locator")
    columns.check_keys(header, _FIELDS, "locator")
    row_total = columns.bounded(header, "rows", MAX_CHUNKS, "locator")
    if not isinstance(header["digest"], str) or not _SHA256.match(header["digest"]):
        raise MalformedIndex("The locator does not say to which listing it belongs.")
    if header["digest"] != listing.digest:
        raise MalformedIndex(f"The locator belongs to {header['digest']}, not to the listing {listing.digest}.")
    if row_total != len(rows.first):
        raise MalformedIndex(f"The locator places {row_total} chunks, the listing has {len(rows.first)} distinct ones.")
    table = columns.ColumnReader(compressed, "locator")
    locator = Locator(
        listing.digest,
        _read_segments(table, header),
        table.numbers("I", row_total),
        table.numbers("I", row_total),
        table.numbers("I", row_total),
        table.raw(row_total),
    )
    table.end()
    _check_locator(locator, rows)
    return locator


def _read_segments(table: columns.ColumnReader, header: t.Mapping[str, t.Any]) -> tuple[SegmentRef, ...]:
    total = columns.bounded(header, "segments", MAX_SEGMENTS, "locator")
    packs = header["packs"]
    if not isinstance(packs, list) or not all(isinstance(pack, str) and _PACK_ID.match(pack) for pack in packs):
        raise MalformedIndex("The locator names a pack that is not an upload id.")
    if packs != sorted(set(packs)):
        raise MalformedIndex("The packs of the locator are not in order.")
    names = table.raw(total * 32)
    sizes = table.numbers("Q", total)
    pack_numbers = table.numbers("I", total)
    if any(number >= len(packs) for number in pack_numbers) or len(set(pack_numbers)) != len(packs):
        raise MalformedIndex("The packs of the locator are not those of its segments.")
    segments = tuple(
        SegmentRef(packs[pack], names[number * 32 : number * 32 + 32].hex(), size)
        for number, (pack, size) in enumerate(zip(pack_numbers, sizes))
    )
    if len({(segment.pack, segment.sha256) for segment in segments}) != total:
        raise MalformedIndex("The locator names a segment twice.")
    for segment in segments:
        if not 0 < segment.size <= MAX_SEGMENT_BYTES:
            raise MalformedIndex(f"The segment {segment.sha256} has the size {segment.size}.")
    return segments


def _check_locator(locator: Locator, rows: ChunkRows) -> None:
    used = bytearray(len(locator.segments))
    sizes = [segment.size for segment in locator.segments]
    placed = zip(locator.segment_numbers, locator.offsets, locator.lengths, locator.codecs, rows.lengths)
    for row, (number, offset, length, codec, raw_length) in enumerate(placed):
        if number >= len(sizes):
            raise MalformedIndex(f"Row {row} of the locator names a segment that is not there.")
        if length == 0 or offset + length > sizes[number]:
            raise MalformedIndex(f"Row {row} of the locator reaches outside its segment.")
        if codec not in CODEC_NAMES:
            raise MalformedIndex(f"Row {row} of the locator has the unknown codec {codec}.")
        if length > raw_length or (codec == CODEC_RAW) != (length == raw_length):
            raise MalformedIndex(f"Row {row} of the locator has a stored length that does not fit its codec.")
        used[number] = 1
    if not all(used):
        raise MalformedIndex("The locator names a segment that it does not use.")
