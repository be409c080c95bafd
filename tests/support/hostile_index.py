# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An index that says little and needs much memory to be read."""

from __future__ import annotations

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import columns
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index_file import encode_index
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import LISTING_MAGIC
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import LOCATOR_MAGIC

CHUNK_SIZE = 65536
_ENTRIES = 1_000_000
_PATH_BYTES = 64 << 20
_CHUNKS = 4_000_000


def hostile_index() -> bytes:
    """Less than 3 MB: a million directories with long paths."""
    listing = {
        "chunk_size": CHUNK_SIZE,
        "chunks": _CHUNKS,
        "entries": _ENTRIES,
        "features": [],
        "format": 1,
        "path_bytes": _PATH_BYTES,
        "target_bytes": 0,
    }
    lengths = (_PATH_BYTES // _ENTRIES).to_bytes(4, "little") * _ENTRIES
    table = [bytes(_ENTRIES * 18), lengths, bytes(_ENTRIES * 4), b"a" * _PATH_BYTES, bytes(_CHUNKS * 32)]
    locator = {"digest": "0" * 64, "features": [], "format": 1, "packs": [], "rows": 0, "segments": 0}
    return encode_index(
        columns.encode_file(LISTING_MAGIC, columns.canonical_json(listing), table),
        columns.encode_file(LOCATOR_MAGIC, columns.canonical_json(locator), []),
    )
