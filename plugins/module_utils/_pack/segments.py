# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Segments: encoded chunks one after another, and a trailer that lists them. Pure.

    magic | encoded chunks | trailer rows | u32 rows | u32 trailer bytes | magic

A trailer row is digest (32), offset (u32), stored length (u32), raw length (u32), codec (u8). All integers
are little endian. ``docs/pack-format.md`` specifies it.
"""

from __future__ import annotations

import struct
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import MalformedIndex
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    CODEC_NAMES,
    CODEC_RAW,
    MAX_SEGMENT_BYTES,
)

MAGIC = b"MFSEGM1\n"
TRAILER_MAGIC = b"MFTRAI1\n"
TARGET_BYTES = 32 << 20
_ROW = struct.Struct("<32sIIIB")
_FOOTER = struct.Struct("<II8s")
FOOTER_BYTES = _FOOTER.size
# What a reader asks for first: the whole trailer of a segment of ordinary chunks.
TRAILER_GUESS_BYTES = 16 << 10


@dataclass(frozen=True)
class TrailerRow:
    """One chunk of a segment; offset and lengths in bytes."""

    identity: bytes
    offset: int
    length: int
    raw_length: int
    codec: int


class SegmentBuilder:
    """Takes encoded chunks in order and makes whole segments of them.

    A segment ends with the chunk that takes it to ``target_bytes``. Its trailer counts, too: of chunks that
    shrink to a few bytes, the trailer is the larger part.
    """

    def __init__(self, target_bytes: int = TARGET_BYTES) -> None:
        self._target_bytes = target_bytes
        self._parts: list[bytes] = []
        self._rows: list[TrailerRow] = []
        self._length = 0
        self._open()

    def _open(self) -> None:
        self._parts = [MAGIC]
        self._rows = []
        self._length = len(MAGIC)

    def add(self, identity: bytes, codec: int, data: bytes, raw_length: int) -> TrailerRow:
        """Append one encoded chunk to the open segment; return where it lies.

        :raises ValueError: the chunk has no bytes, which no reader would accept
        """
        if not data:
            raise ValueError("A chunk without bytes cannot be stored.")
        row = TrailerRow(identity, self._length, len(data), raw_length, codec)
        self._parts.append(data)
        self._rows.append(row)
        self._length += len(data)
        return row

    @property
    def is_full(self) -> bool:
        """True if the open segment should be finished."""
        return self._length + len(self._rows) * _ROW.size >= self._target_bytes

    def finish(self) -> bytes:
        """Return the bytes of the open segment; the next chunk opens another."""
        trailer = b"".join(
            _ROW.pack(row.identity, row.offset, row.length, row.raw_length, row.codec) for row in self._rows
        )
        self._parts.append(trailer)
        self._parts.append(_FOOTER.pack(len(self._rows), len(trailer), TRAILER_MAGIC))
        segment = b"".join(self._parts)
        self._open()
        return segment


def trailer_length(tail: bytes) -> int:
    """Return the bytes of trailer and footer together, from the last ``FOOTER_BYTES`` bytes or more of a segment.

    :raises MalformedIndex: it is not a segment
    """
    if len(tail) < FOOTER_BYTES:
        raise MalformedIndex("A segment is shorter than its footer.")
    rows, length, magic = _FOOTER.unpack_from(tail, len(tail) - FOOTER_BYTES)
    if magic != TRAILER_MAGIC or length != rows * _ROW.size or length > MAX_SEGMENT_BYTES:
        raise MalformedIndex("A segment does not end with the magic bytes of one.")
    return int(length) + FOOTER_BYTES


def read_trailer(tail: bytes, segment_bytes: int) -> list[TrailerRow]:
    """Return the rows of a trailer, from the last ``trailer_length`` bytes or more of a segment of that size.

    :raises MalformedIndex: it breaks the grammar
    """
    length = trailer_length(tail)
    if length > len(tail) or length + len(MAGIC) > segment_bytes:
        raise MalformedIndex("The trailer of a segment is longer than the segment.")
    end = segment_bytes - length
    rows = []
    position = len(MAGIC)
    for fields in _ROW.iter_unpack(tail[len(tail) - length : len(tail) - FOOTER_BYTES]):
        row = TrailerRow(*fields)
        if row.offset != position or row.length == 0 or row.offset + row.length > end:
            raise MalformedIndex("The chunks of a segment do not follow one another.")
        if row.codec not in CODEC_NAMES or not 0 < row.raw_length <= chunks.MAX_CHUNK_SIZE:
            raise MalformedIndex("A chunk of a segment has an unknown codec or an impossible length.")
        if row.length > row.raw_length or (row.codec == CODEC_RAW) != (row.length == row.raw_length):
            raise MalformedIndex("A chunk of a segment has a stored length that does not fit its codec.")
        position += row.length
        rows.append(row)
    if position != end:
        raise MalformedIndex("A segment holds bytes that its trailer does not list.")
    return rows


def fetch_tail(fetch: t.Callable[[int, int], bytes], segment_bytes: int) -> bytes:
    """Return the end of a segment with its trailer, read by ``fetch(offset, length)``: one request, seldom two.

    :raises MalformedIndex: it is not a segment
    """
    guess = min(segment_bytes, TRAILER_GUESS_BYTES)
    tail = bytes(fetch(segment_bytes - guess, guess))
    needed = trailer_length(tail)
    if guess < needed <= segment_bytes:
        tail = bytes(fetch(segment_bytes - needed, needed))
    return tail


def fetch_trailer(fetch: t.Callable[[int, int], bytes], segment_bytes: int) -> list[TrailerRow]:
    """Return the rows of a segment's trailer, read by ``fetch``; see ``fetch_tail``."""
    return read_trailer(fetch_tail(fetch, segment_bytes), segment_bytes)


class TrailerSearch:
    """Finds single rows of a trailer that may have very many, ``count``, and is not checked as a whole.

    :raises MalformedIndex: the trailer is longer than the tail of the segment that is given
    """

    def __init__(self, tail: bytes) -> None:
        length = trailer_length(tail)
        if length > len(tail):
            raise MalformedIndex("The trailer of a segment is longer than the segment.")
        self._tail = tail
        self._start = len(tail) - length
        self.count = (length - FOOTER_BYTES) // _ROW.size
        self._next = 0

    def at(self, offset: int) -> TrailerRow | None:
        """Return the row of the chunk at an offset, None if there is none. Ascending offsets are found at once."""
        number = self._next
        if number >= self.count or self._row(number).offset != offset:
            number = self._first_from(offset)
        if number == self.count or self._row(number).offset != offset:
            return None
        self._next = number + 1
        return self._row(number)

    def _first_from(self, offset: int) -> int:
        low, high = 0, self.count
        while low < high:
            middle = (low + high) // 2
            if self._row(middle).offset < offset:
                low = middle + 1
            else:
                high = middle
        return low

    def _row(self, number: int) -> TrailerRow:
        return TrailerRow(*_ROW.unpack_from(self._tail, self._start + number * _ROW.size))
