# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Listing, locator and deltas in one body, as a commit sends them. Pure."""

from __future__ import annotations

import struct
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import columns
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import MalformedIndex
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    MAX_CHUNKS,
    MAX_ENTRIES,
    MAX_SEGMENTS,
    MAX_TEXT_BYTES,
    Index,
    chunk_rows,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import LISTING_MAGIC, decode_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import LOCATOR_MAGIC, decode_locator

INDEX_MAGIC = b"MFINDX1\n"
# Deltas in one commit.
MAX_DELTAS = 3
_FIXED_BYTES = 28
# What a reader takes at most for one of each, and how many bytes that costs while it is decoded (measured).
_LISTING_COSTS = {
    "entries": (MAX_ENTRIES, 350),
    "path_bytes": (MAX_TEXT_BYTES, 3),
    "target_bytes": (MAX_TEXT_BYTES, 3),
    "chunks": (MAX_CHUNKS, 64),
}
_LOCATOR_COSTS = {"rows": (MAX_CHUNKS, 24), "segments": (MAX_SEGMENTS, 500)}


def encode_index(listing_file: bytes, locator_file: bytes, delta_files: t.Sequence[bytes] = ()) -> bytes:
    """Return all files in one body, as a commit sends them."""
    lengths = [len(delta_file) for delta_file in delta_files]
    head = struct.pack(f"<QQI{len(lengths)}Q", len(listing_file), len(locator_file), len(lengths), *lengths)
    return b"".join((INDEX_MAGIC, head, listing_file, locator_file, *delta_files))


def decode_index(data: bytes) -> Index:
    """Read and check listing and locator; deltas are only cut out.

    :raises MalformedIndex: one breaks the grammar, or they do not belong together
    :raises UnsupportedFormat: one needs something that this version does not know
    """
    listing_file, locator_file, *delta_files = (data[start:end] for start, end in _spans(data))
    listing = decode_listing(listing_file)
    rows = chunk_rows(listing)
    locator = decode_locator(locator_file, listing, rows)
    return Index(listing, rows, locator, listing_file, locator_file, tuple(delta_files))


def memory_bytes(data: bytes) -> int:
    """Return about how many bytes of memory ``decode_index`` will take beside ``data``, from the headers alone.

    :raises MalformedIndex: there are no such headers
    :raises UnsupportedFormat: they need something that this version does not know
    """
    (listing_start, listing_end), (locator_start, locator_end), *_deltas = _spans(data)
    return columns.memory_bytes(
        LISTING_MAGIC,
        data[listing_start : min(listing_end, listing_start + columns.HEAD_BYTES)],
        "listing",
        _LISTING_COSTS,
    ) + columns.memory_bytes(
        LOCATOR_MAGIC,
        data[locator_start : min(locator_end, locator_start + columns.HEAD_BYTES)],
        "locator",
        _LOCATOR_COSTS,
    )


def _spans(data: bytes) -> list[tuple[int, int]]:
    """Return where listing, locator and deltas begin and end."""
    if len(data) < _FIXED_BYTES or data[:8] != INDEX_MAGIC:
        raise MalformedIndex("The index does not begin with the magic bytes of one.")
    listing_bytes, locator_bytes, deltas = struct.unpack_from("<QQI", data, 8)
    start = _FIXED_BYTES + 8 * deltas
    if deltas > MAX_DELTAS or start > len(data):
        raise MalformedIndex(f"The index has {deltas} deltas, allowed is {MAX_DELTAS}, or is shorter than it says.")
    lengths = (listing_bytes, locator_bytes, *struct.unpack_from(f"<{deltas}Q", data, _FIXED_BYTES))
    spans = []
    for length in lengths:
        spans.append((start, start + length))
        start += length
    if start != len(data):
        raise MalformedIndex("The index is shorter or longer than it says.")
    return spans
