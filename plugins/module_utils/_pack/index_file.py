# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Listing and locator in one body, as a commit sends them. Pure."""

from __future__ import annotations

import struct

from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import MalformedIndex
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import Index, chunk_rows
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import decode_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import decode_locator

INDEX_MAGIC = b"MFINDX1\n"


def encode_index(listing_file: bytes, locator_file: bytes) -> bytes:
    """Return both files in one body, as a commit sends them."""
    return b"".join((INDEX_MAGIC, struct.pack("<QQ", len(listing_file), len(locator_file)), listing_file, locator_file))


def decode_index(data: bytes) -> Index:
    """Read and check both files.

    :raises MalformedIndex: one breaks the grammar, or they do not belong together
    :raises UnsupportedFormat: one needs something that this version does not know
    """
    if len(data) < 24 or data[:8] != INDEX_MAGIC:
        raise MalformedIndex("The index does not begin with the magic bytes of one.")
    listing_bytes, locator_bytes = struct.unpack_from("<QQ", data, 8)
    if 24 + listing_bytes + locator_bytes != len(data):
        raise MalformedIndex("The index is shorter or longer than it says.")
    listing_file = data[24 : 24 + listing_bytes]
    locator_file = data[24 + listing_bytes :]
    listing = decode_listing(listing_file)
    rows = chunk_rows(listing)
    return Index(listing, rows, decode_locator(locator_file, listing, rows), listing_file, locator_file)
