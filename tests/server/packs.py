# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packs made by hand: a few files as chunks, segments, listing, locator and index, with the code of the engine."""

from __future__ import annotations

import hashlib
import random
import typing as t
from array import array
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks, segments
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    CODEC_RAW,
    DIRECTORY,
    FILE,
    Entry,
    Listing,
    Locator,
    SegmentRef,
    chunk_rows,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index_file import encode_index
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import encode_listing, make_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import encode_locator

CHUNK_SIZE = 64 * 1024


def content(seed: int, chunk_count: int = 4) -> bytes:
    """Bytes that do not shrink, the same for the same seed; the last chunk is a short one."""
    return random.Random(seed).randbytes(chunk_count * CHUNK_SIZE - 100)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class HandMade:
    """One pack of raw chunks; ``segments`` holds the new ones by their SHA-256."""

    listing: Listing
    locator: Locator
    segments: dict[str, bytes] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return self.listing.digest

    @property
    def listing_file(self) -> bytes:
        return encode_listing(self.listing)

    @property
    def locator_file(self) -> bytes:
        return encode_locator(self.locator)

    @property
    def index(self) -> bytes:
        return encode_index(self.listing_file, self.locator_file)


def make_pack(
    upload_id: str,
    files: t.Mapping[str, bytes],
    *,
    base: HandMade | None = None,
    chunk_size: int = CHUNK_SIZE,
    segment_bytes: int = 3 * CHUNK_SIZE,
) -> HandMade:
    """Cut files into chunks and store those that ``base`` lacks in segments of ``upload_id``."""
    known = _placements(base) if base else {}
    entries: list[Entry] = []
    identities = bytearray()
    order: list[bytes] = []
    fresh: dict[bytes, bytes] = {}
    folders = {str(parent) for path in files for parent in PurePosixPath(path).parents} - {"."}
    for path in sorted({*files, *folders}, key=str.encode):
        if path in folders:
            entries.append(Entry(DIRECTORY, path, first_chunk=len(identities) // 32))
            continue
        data = files[path]
        count = chunks.chunk_count(len(data), 0, chunk_size)
        entries.append(Entry(FILE, path, size=len(data), first_chunk=len(identities) // 32, chunk_count=count))
        for offset, length in chunks.chunk_spans(len(data), 0, chunk_size):
            chunk = data[offset : offset + length]
            identity = chunks.ZERO_CHUNK_ID if chunks.is_zero(memoryview(chunk)) else chunks.chunk_id(chunk)
            identities.extend(identity)
            if identity != chunks.ZERO_CHUNK_ID and identity not in order:
                order.append(identity)
                if identity not in known:
                    fresh[identity] = chunk
    stored: dict[str, bytes] = {}
    builder = segments.SegmentBuilder(segment_bytes)
    waiting: list[segments.TrailerRow] = []

    def finish() -> None:
        body = builder.finish()
        name = sha256(body)
        stored[name] = body
        reference = SegmentRef(upload_id, name, len(body))
        for row in waiting:
            known[row.identity] = (reference, row.offset, row.length)
        waiting.clear()

    for identity, chunk in fresh.items():
        waiting.append(builder.add(identity, CODEC_RAW, chunk, len(chunk)))
        if builder.is_full:
            finish()
    if waiting:
        finish()
    listing = make_listing(chunk_size, entries, bytes(identities))
    used: list[SegmentRef] = []
    for identity in order:
        if known[identity][0] not in used:
            used.append(known[identity][0])
    locator = Locator(
        listing.digest,
        tuple(used),
        array("I", [used.index(known[identity][0]) for identity in order]),
        array("I", [known[identity][1] for identity in order]),
        array("I", [known[identity][2] for identity in order]),
        bytes([CODEC_RAW] * len(order)),
    )
    return HandMade(listing, locator, stored)


def _placements(base: HandMade) -> dict[bytes, tuple[SegmentRef, int, int]]:
    return {
        identity: (
            base.locator.placement(row).segment,
            base.locator.placement(row).offset,
            base.locator.placement(row).length,
        )
        for identity, row in chunk_rows(base.listing).row_of.items()
    }
