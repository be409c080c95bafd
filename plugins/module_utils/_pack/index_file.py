# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Listing and locator in one body, as a commit sends them. Pure."""

from __future__ import annotations

import struct

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import columns
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import MalformedIndex
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    MAX_CHUNKS,
    MAX_ENTRIES,
    MAX_HEADER_BYTES,
    MAX_SEGMENTS,
    MAX_TEXT_BYTES,
    Index,
    chunk_rows,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import LISTING_MAGIC, decode_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import LOCATOR_MAGIC, decode_locator

INDEX_MAGIC = b"MFINDX1\n"
_HEAD = 12 + MAX_HEADER_BYTES
# What a reader takes at most for one of each, and how many bytes that costs while it is decoded (measured).
_LISTING_COSTS = {
    "entries": (MAX_ENTRIES, 350),
    "path_bytes": (MAX_TEXT_BYTES, 3),
    "target_bytes": (MAX_TEXT_BYTES, 3),
    "chunks": (MAX_CHUNKS, 64),
}
_LOCATOR_COSTS = {"rows": (MAX_CHUNKS, 24), "segments": (MAX_SEGMENTS, 500)}


def encode_index(listing_file: bytes, locator_file: bytes) -> bytes:
    """Return both files in one body, as a commit sends them."""
    return b"".join((INDEX_MAGIC, struct.pack("<QQ", len(listing_file), len(locator_file)), listing_file, locator_file))


def decode_index(data: bytes) -> Index:
    """Read and check both files.

    :raises MalformedIndex: one breaks the grammar, or they do not belong together
    :raises UnsupportedFormat: one needs something that this version does not know
    """
    listing_bytes = _listing_bytes(data)
    listing_file = data[24 : 24 + listing_bytes]
    locator_file = data[24 + listing_bytes :]
    listing = decode_listing(listing_file)
    rows = chunk_rows(listing)
    return Index(listing, rows, decode_locator(locator_file, listing, rows), listing_file, locator_file)


def memory_bytes(data: bytes) -> int:
    """Return about how many bytes of memory ``decode_index`` will take beside ``data``, from the headers alone.

    :raises MalformedIndex: there are no such headers
    :raises UnsupportedFormat: they need something that this version does not know
    """
    locator_start = 24 + _listing_bytes(data)
    listing, _bytes, _columns = columns.split_file(LISTING_MAGIC, data[24 : min(locator_start, 24 + _HEAD)], "listing")
    locator, _bytes, _columns = columns.split_file(
        LOCATOR_MAGIC, data[locator_start : locator_start + _HEAD], "locator"
    )
    total = 0
    for header, costs, what in ((listing, _LISTING_COSTS, "listing"), (locator, _LOCATOR_COSTS, "locator")):
        for key, (limit, cost) in costs.items():
            if key not in header:
                raise MalformedIndex(f"The header of the {what} has no {key}.")
            total += cost * columns.bounded(header, key, limit, what)
    return total


def _listing_bytes(data: bytes) -> int:
    if len(data) < 24 or data[:8] != INDEX_MAGIC:
        raise MalformedIndex("The index does not begin with the magic bytes of one.")
    listing_bytes, locator_bytes = struct.unpack_from("<QQ", data, 8)
    if 24 + listing_bytes + locator_bytes != len(data):
        raise MalformedIndex("The index is shorter or longer than it says.")
    return int(listing_bytes)
