# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an update has to move at least: for each chunk, its changed blocks one after another, encoded.

The yardstick of deltas. It knows nothing of the pack format; the codec is the one of ``limit.py``.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.macfleet.parallels.tests.bench.limit import CODECS

BLOCK_BYTES = 4096
_READ_BYTES = 8 << 20
_LEVEL = 1


@dataclass(frozen=True)
class ChangedBlocks:
    """The blocks of an image that differ from those at the same place of an older one, in bytes."""

    raw_bytes: int
    encoded_bytes: int


def changed_blocks(before: Path, after: Path, chunk_size: int, provider: str) -> ChangedBlocks:
    """Compare two images of the same size block by block.

    :raises ValueError: they differ in size
    """
    if before.stat().st_size != after.stat().st_size:
        raise ValueError("the images differ in size")
    _codec, encode, _decode = CODECS[provider](_LEVEL)
    raw = encoded = 0
    with before.open("rb") as old, after.open("rb") as new:
        while piece := new.read(_READ_BYTES):
            base = old.read(_READ_BYTES)
            if piece == base:
                continue
            for at in range(0, len(piece), chunk_size):
                blocks = b"".join(_changed(base[at : at + chunk_size], piece[at : at + chunk_size]))
                if blocks:
                    raw += len(blocks)
                    encoded += len(encode(memoryview(blocks)))
    return ChangedBlocks(raw, encoded)


def _changed(base: bytes, chunk: bytes) -> t.Iterator[bytes]:
    if base == chunk:
        return
    for at in range(0, len(chunk), BLOCK_BYTES):
        block = chunk[at : at + BLOCK_BYTES]
        if block != base[at : at + BLOCK_BYTES]:
            yield block
