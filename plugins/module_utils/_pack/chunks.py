# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""How a file is cut into chunks, which of them are holes, and their names. Pure.

A file is cut at multiples of the chunk size from its start. One with a data area (an expandable disk
image) is cut as two runs, the header ``[0, data_start)`` and the data area, each from its own start, so
that a cluster of the guest keeps its digest wherever the header's length puts it.
"""

from __future__ import annotations

import hashlib
import typing as t

CHUNK_ID_BYTES = 32
# Stands for a chunk of zeros of any length; no SHA-256 is known that has this value.
ZERO_CHUNK_ID = bytes(CHUNK_ID_BYTES)
MIN_CHUNK_SIZE = 64 * 1024
MAX_CHUNK_SIZE = 4 * 1024 * 1024
# Measured: docs/chunk-size.md.
DEFAULT_CHUNK_SIZE = 256 * 1024
# Larger sizes for larger bundles, few of them: each step ends the sharing of chunks with the versions before it.
_DEFAULT_CHUNK_SIZES = (DEFAULT_CHUNK_SIZE, 1024 * 1024, MAX_CHUNK_SIZE)
# Half of what a pack may have (index.MAX_CHUNKS), so that a disk can grow to twice its size in one lineage.
_COMFORTABLE_CHUNKS = 1 << 21

_ZEROS = bytearray(MAX_CHUNK_SIZE)


def is_chunk_size(value: int) -> bool:
    """Return True if ``value`` is a chunk size of the format: a power of two from 64 KiB to 4 MiB."""
    return MIN_CHUNK_SIZE <= value <= MAX_CHUNK_SIZE and value & (value - 1) == 0


def chunk_size_for(logical_bytes: int) -> int:
    """Returns the default chunk size in bytes of a bundle: 256 KiB up to 512 GiB, 1 MiB up to 2 TiB, else 4 MiB."""
    fitting = (size for size in _DEFAULT_CHUNK_SIZES if logical_bytes <= size * _COMFORTABLE_CHUNKS)
    return next(fitting, MAX_CHUNK_SIZE)


def chunk_count(size: int, data_start: int, chunk_size: int) -> int:
    """Return the number of chunks of a file of ``size`` bytes."""
    return -(-data_start // chunk_size) + -(-(size - data_start) // chunk_size)


def chunk_span(number: int, size: int, data_start: int, chunk_size: int) -> tuple[int, int]:
    """Return offset and length in bytes of chunk ``number`` of a file."""
    header_chunks = -(-data_start // chunk_size)
    if number < header_chunks:
        offset = number * chunk_size
        return offset, min(chunk_size, data_start - offset)
    offset = data_start + (number - header_chunks) * chunk_size
    return offset, min(chunk_size, size - offset)


def chunk_spans(size: int, data_start: int, chunk_size: int) -> t.Iterator[tuple[int, int]]:
    """Yield offset and length in bytes of every chunk of a file, in order."""
    for number in range(chunk_count(size, data_start, chunk_size)):
        yield chunk_span(number, size, data_start, chunk_size)


def short_chunks(size: int, data_start: int, chunk_size: int) -> dict[int, int]:
    """Return the lengths in bytes of those chunks of a file that are shorter than ``chunk_size``, by their number."""
    lasts = {-(-data_start // chunk_size) - 1, chunk_count(size, data_start, chunk_size) - 1} - {-1}
    spans = {number: chunk_span(number, size, data_start, chunk_size)[1] for number in lasts}
    return {number: length for number, length in spans.items() if length < chunk_size}


def is_zero(view: memoryview) -> bool:
    """Return True if a chunk holds zeros only.

    A bytearray on the left makes CPython compare with memcmp; two memoryviews would be compared element
    by element.
    """
    if len(view) == MAX_CHUNK_SIZE:
        return _ZEROS == view
    # For most chunks the first bytes are enough; only the rest is compared as a whole.
    head = min(len(view), 64)
    if bytes(view[:head]) != bytes(head):
        return False
    return _zeros(len(view)) == view


def _zeros(length: int) -> bytearray:
    known = _ZEROS_BY_LENGTH.get(length)
    if known is not None:
        return known
    return bytearray(length)


_ZEROS_BY_LENGTH = {1 << shift: bytearray(1 << shift) for shift in range(16, 22)}


def chunk_id(view: t.Union[bytes, bytearray, memoryview]) -> bytes:
    """Return the id of a chunk: the SHA-256 (32 bytes) of its bytes."""
    return hashlib.sha256(view).digest()
