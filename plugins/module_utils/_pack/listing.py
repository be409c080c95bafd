# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Makes, writes, reads and checks listings. Pure.

The SHA-256 of a listing's canonical form is the **digest** of the content.
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct
import typing as t
from array import array

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks, columns, paths
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import MalformedIndex
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    DIRECTORY,
    FILE,
    FORMAT,
    LINK,
    MAX_CHUNKS,
    MAX_ENTRIES,
    MAX_TEXT_BYTES,
    Entry,
    Listing,
)

LISTING_MAGIC = b"MFLIST1\n"
_KINDS = (DIRECTORY, FILE, LINK)
_EXECUTABLE = 1


def make_listing(chunk_size: int, entries: t.Sequence[Entry], chunk_ids: bytes) -> Listing:
    """Return the listing of entries in canonical order, and of the ids of their chunks.

    :raises MalformedIndex: they break the grammar
    """
    draft = Listing(chunk_size, tuple(entries), chunk_ids, digest="")
    _check_listing(draft)
    return dataclasses.replace(draft, digest=listing_digest(draft))


def listing_digest(listing: Listing) -> str:
    """Return the SHA-256 (64 hex) of a listing's canonical form."""
    return hashlib.sha256(_canonical_listing(listing)).hexdigest()


def encode_listing(listing: Listing) -> bytes:
    """The file of a listing."""
    return columns.encode_file(LISTING_MAGIC, _listing_header(listing), _listing_columns(listing))


def decode_listing(data: bytes) -> Listing:
    """Read and check the file of a listing.

    :raises MalformedIndex: it breaks the grammar
    :raises UnsupportedFormat: it needs something that this version does not know
    """
    header, header_bytes, compressed = columns.split_file(LISTING_MAGIC, data, "listing")
    columns.check_keys(
        header, {"chunk_size", "chunks", "entries", "features", "format", "path_bytes", "target_bytes"}, "listing"
    )
    entry_total = columns.bounded(header, "entries", MAX_ENTRIES, "listing")
    chunk_total = columns.bounded(header, "chunks", MAX_CHUNKS, "listing")
    path_bytes = columns.bounded(header, "path_bytes", MAX_TEXT_BYTES, "listing")
    target_bytes = columns.bounded(header, "target_bytes", MAX_TEXT_BYTES, "listing")
    chunk_size = columns.bounded(header, "chunk_size", chunks.MAX_CHUNK_SIZE, "listing")
    length = entry_total * (1 + 1 + 8 + 8 + 4 + 4) + path_bytes + target_bytes + chunk_total * 32
    table = columns.Columns(columns.inflate(compressed, length, "listing"))
    kinds = table.raw(entry_total)
    flags = table.raw(entry_total)
    sizes = table.numbers("Q", entry_total)
    data_starts = table.numbers("Q", entry_total)
    path_lengths = table.numbers("I", entry_total)
    target_lengths = table.numbers("I", entry_total)
    entry_paths = columns.cut_texts(table.raw(path_bytes), path_lengths)
    targets = columns.cut_texts(table.raw(target_bytes), target_lengths)
    chunk_ids = table.raw(chunk_total * 32)
    if not chunks.is_chunk_size(chunk_size):
        raise MalformedIndex(f"The listing has the chunk size {chunk_size}.")
    entries = []
    first_chunk = 0
    for number in range(entry_total):
        if kinds[number] >= len(_KINDS) or flags[number] & ~_EXECUTABLE:
            raise MalformedIndex(f"Entry {number} of the listing has an unknown type or flag.")
        size, data_start = sizes[number], data_starts[number]
        if data_start > size:
            raise MalformedIndex(f"The data area of {entry_paths[number]!r} starts behind its end.")
        kind = _KINDS[kinds[number]]
        count = chunks.chunk_count(size, data_start, chunk_size) if kind == FILE else 0
        entries.append(
            Entry(
                kind,
                entry_paths[number],
                bool(flags[number] & _EXECUTABLE),
                size,
                data_start,
                targets[number],
                first_chunk if kind == FILE else 0,
                count,
            )
        )
        first_chunk += count
    digest = hashlib.sha256(LISTING_MAGIC + struct.pack("<I", len(header_bytes)) + header_bytes)
    digest.update(table.data)
    listing = Listing(chunk_size, tuple(entries), chunk_ids, digest.hexdigest())
    if first_chunk != chunk_total:
        raise MalformedIndex(f"The sizes of the files ask for {first_chunk} chunks, the listing has {chunk_total}.")
    _check_listing(listing)
    return listing


def _listing_header(listing: Listing) -> bytes:
    return columns.canonical_json(
        {
            "chunk_size": listing.chunk_size,
            "chunks": listing.chunk_total,
            "entries": len(listing.entries),
            "features": [],
            "format": FORMAT,
            "path_bytes": sum(len(entry.path.encode("utf-8")) for entry in listing.entries),
            "target_bytes": sum(len(entry.target.encode("utf-8")) for entry in listing.entries),
        }
    )


def _listing_columns(listing: Listing) -> bytes:
    entries = listing.entries
    entry_paths = [entry.path.encode("utf-8") for entry in entries]
    targets = [entry.target.encode("utf-8") for entry in entries]
    return b"".join(
        (
            bytes(_KINDS.index(entry.kind) for entry in entries),
            bytes(_EXECUTABLE if entry.executable else 0 for entry in entries),
            columns.little_endian(array("Q", [entry.size for entry in entries])),
            columns.little_endian(array("Q", [entry.data_start for entry in entries])),
            columns.little_endian(array("I", [len(path) for path in entry_paths])),
            columns.little_endian(array("I", [len(target) for target in targets])),
            b"".join(entry_paths),
            b"".join(targets),
            listing.chunk_ids,
        )
    )


def _canonical_listing(listing: Listing) -> bytes:
    header = _listing_header(listing)
    return LISTING_MAGIC + struct.pack("<I", len(header)) + header + _listing_columns(listing)


def _check_listing(listing: Listing) -> None:
    directories = {""}
    previous = b""
    first_chunk = 0
    for entry in listing.entries:
        paths.check_path(entry.path)
        encoded = entry.path.encode("utf-8")
        if encoded <= previous:
            raise MalformedIndex(f"The path {entry.path!r} is not behind the one before it.")
        previous = encoded
        if entry.path.rpartition("/")[0] not in directories:
            raise MalformedIndex(f"The directory of {entry.path!r} is not in the listing.")
        if entry.kind == DIRECTORY:
            directories.add(entry.path)
        if entry.kind == LINK:
            paths.check_link(entry.path, entry.target)
        elif entry.target:
            raise MalformedIndex(f"{entry.path!r} is no link, but has a target.")
        if entry.kind != FILE and (entry.size or entry.data_start or entry.executable or entry.chunk_count):
            raise MalformedIndex(f"{entry.path!r} is no file, but has the properties of one.")
        if entry.kind == FILE and entry.first_chunk != first_chunk:
            raise MalformedIndex(f"The chunks of {entry.path!r} do not follow those before.")
        first_chunk += entry.chunk_count
    paths.check_unique(entry.path for entry in listing.entries)
    if len(listing.chunk_ids) != first_chunk * 32:
        raise MalformedIndex("The listing does not have as many chunks as its files need.")
