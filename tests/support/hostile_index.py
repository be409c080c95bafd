# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Indexes that need much memory to be read: one that must be refused, one that is just small enough."""

from __future__ import annotations

import random
from array import array

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import columns
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import DIRECTORY, Entry, Locator
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index_file import encode_index
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import (
    LISTING_MAGIC,
    encode_listing,
    make_listing,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import LOCATOR_MAGIC, encode_locator

CHUNK_SIZE = 65536
_ENTRIES = 1_000_000
_PATH_BYTES = 64 << 20
_CHUNKS = 4_000_000
_NOISE_BYTES = 2_700_000
_DIRECTORIES = 285_000


def hostile_index() -> bytes:
    """About 3 MB: a million directories with long paths, and noise."""
    listing = {
        "chunk_size": CHUNK_SIZE,
        "chunks": _CHUNKS,
        "entries": _ENTRIES,
        "features": [],
        "format": 1,
        "path_bytes": _PATH_BYTES,
        "target_bytes": 0,
    }
    noise = random.Random(1).randbytes(_NOISE_BYTES)
    lengths = (_PATH_BYTES // _ENTRIES).to_bytes(4, "little") * _ENTRIES
    table = [
        bytes(_ENTRIES * 18),
        lengths,
        bytes(_ENTRIES * 4),
        b"a" * _PATH_BYTES,
        noise + bytes(_CHUNKS * 32 - _NOISE_BYTES),
    ]
    locator = {"digest": "0" * 64, "features": [], "format": 1, "packs": [], "rows": 0, "segments": 0}
    return encode_index(
        columns.encode_file(LISTING_MAGIC, columns.canonical_json(listing), table),
        columns.encode_file(LOCATOR_MAGIC, columns.canonical_json(locator), []),
    )


def large_index() -> bytes:
    """About 2.5 MB: as many directories as an index of that size may have, with names that do not compress."""
    noise = random.Random(1)
    names = sorted({f"{'a' * 56}{noise.randbytes(8).hex()}" for _number in range(_DIRECTORIES)})
    listing = make_listing(CHUNK_SIZE, [Entry(DIRECTORY, name) for name in names], b"")
    locator = Locator(listing.digest, (), array("I"), array("I"), array("I"), b"")
    return encode_index(encode_listing(listing), encode_locator(locator))
