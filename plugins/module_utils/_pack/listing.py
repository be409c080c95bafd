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
_FIELDS = {"chunk_size", "chunks", "entries", "features", "format", "path_bytes", "target_bytes"}


def make_listing(chunk_size: int, entries: t.Sequence[Entry], chunk_ids: bytes) -> Listing:
    """Return the listing of entries in canonical order, and of the ids of their chunks.

    :raises MalformedIndex: they break the grammar
    """
    draft = Listing(chunk_size, tuple(entries), chunk_ids, digest="")
    _check_listing(draft)
    return dataclasses.replace(draft, digest=listing_digest(draft))


def listing_digest(listing: Listing) -> str:
    """Return the SHA-256 (64 hex) of a listing's canonical form."""
    digest = hashlib.sha256(columns.opening(LISTING_MAGIC, _header(listing)))
    for column in _table(listing):
        digest.update(column)
    return digest.hexdigest()


def encode_listing(listing: Listing) -> bytes:
    """Return the file of a listing."""
    return columns.encode_file(LISTING_MAGIC, _header(listing), _table(listing))


def decode_listing(data: bytes) -> Listing:
    """Read and check the file of a listing.

    :raises MalformedIndex: it breaks the grammar
    :raises UnsupportedFormat: it needs something that this version does not know
    """
    header, header_bytes, compressed = columns.split_file(LISTING_MAGIC, data, "listing")
    columns.check_keys(header, _FIELDS, "listing")
    chunk_total = columns.bounded(header, "chunks", MAX_CHUNKS, "listing")
    chunk_size = columns.bounded(header, "chunk_size", chunks.MAX_CHUNK_SIZE, "listing")
    if not chunks.is_chunk_size(chunk_size):
        raise MalformedIndex(f"The listing has the chunk size {chunk_size}.")
    digest = hashlib.sha256(columns.opening(LISTING_MAGIC, header_bytes))
    table = columns.ColumnReader(compressed, "listing", digest.update)
    entries = numbered(read_entries(table, header, "listing"), chunk_size)
    needed = sum(entry.chunk_count for entry in entries)
    if needed != chunk_total:
        raise MalformedIndex(f"The sizes of the files ask for {needed} chunks, the listing has {chunk_total}.")
    chunk_ids = table.raw(chunk_total * 32)
    table.end()
    listing = Listing(chunk_size, tuple(entries), chunk_ids, digest.hexdigest())
    _check_listing(listing)
    return listing


def read_entries(table: columns.ColumnReader, header: t.Mapping[str, t.Any], what: str) -> t.Iterator[Entry]:
    """Yield entries as ``entry_columns`` wrote them; their chunks are not numbered yet.

    ``what`` is the kind of file, for messages.

    :raises MalformedIndex: the columns break the grammar
    """
    total = columns.bounded(header, "entries", MAX_ENTRIES, what)
    path_bytes = columns.bounded(header, "path_bytes", MAX_TEXT_BYTES, what)
    target_bytes = columns.bounded(header, "target_bytes", MAX_TEXT_BYTES, what)
    kinds, flags = table.raw(total), table.raw(total)
    sizes, data_starts = table.numbers("Q", total), table.numbers("Q", total)
    path_lengths, target_lengths = table.numbers("I", total), table.numbers("I", total)
    entry_paths = columns.cut_texts(table.raw(path_bytes), path_lengths, what)
    targets = columns.cut_texts(table.raw(target_bytes), target_lengths, what)
    for number, (path, size, data_start) in enumerate(zip(entry_paths, sizes, data_starts)):
        if kinds[number] >= len(_KINDS) or flags[number] & ~_EXECUTABLE:
            raise MalformedIndex(f"Entry {number} of the {what} has an unknown type or flag.")
        if data_start > size:
            raise MalformedIndex(f"The data area of {path!r} starts behind its end.")
        kind, executable = _KINDS[kinds[number]], bool(flags[number])
        yield Entry(kind, path, executable, size, data_start, targets[number])


def numbered(entries: t.Iterable[Entry], chunk_size: int) -> list[Entry]:
    """Return entries with the numbers of their chunks, which follow one another."""
    found = []
    first_chunk = 0
    for entry in entries:
        count = chunks.chunk_count(entry.size, entry.data_start, chunk_size) if entry.kind == FILE else 0
        first = first_chunk if entry.kind == FILE else 0
        # Quicker than dataclasses.replace, which counts with a million files.
        found.append(
            Entry(entry.kind, entry.path, entry.executable, entry.size, entry.data_start, entry.target, first, count)
        )
        first_chunk += count
    return found


def _header(listing: Listing) -> bytes:
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


def _table(listing: Listing) -> t.Iterator[bytes]:
    """Yield the columns, in the order in which they lie in the file."""
    yield from entry_columns(listing.entries)
    yield listing.chunk_ids


def entry_columns(entries: t.Sequence[Entry]) -> t.Iterator[bytes]:
    """Yield the columns of entries, in the order in which they lie in a file."""
    entry_paths = [entry.path.encode("utf-8") for entry in entries]
    targets = [entry.target.encode("utf-8") for entry in entries]
    yield bytes(_KINDS.index(entry.kind) for entry in entries)
    yield bytes(_EXECUTABLE if entry.executable else 0 for entry in entries)
    yield columns.little_endian(array("Q", [entry.size for entry in entries]))
    yield columns.little_endian(array("Q", [entry.data_start for entry in entries]))
    yield columns.little_endian(array("I", [len(path) for path in entry_paths]))
    yield columns.little_endian(array("I", [len(target) for target in targets]))
    yield b"".join(entry_paths)
    yield b"".join(targets)


def _check_listing(listing: Listing) -> None:
    directories = {""}
    previous = b""
    first_chunk = 0
    for entry in listing.entries:
        paths.check_path(entry.path)
        encoded = entry.path.encode("utf-8")
        if encoded <= previous:
            raise MalformedIndex(f"The path {entry.path!r} does not come after the one before it.")
        previous = encoded
        if entry.path.rpartition("/")[0] not in directories:
            raise MalformedIndex(f"The directory of {entry.path!r} is not in the listing.")
        if entry.kind == DIRECTORY:
            directories.add(entry.path)
        if entry.kind == LINK:
            paths.check_link(entry.path, entry.target)
        elif entry.target:
            raise MalformedIndex(f"{entry.path!r} is not a link, but has a target.")
        if entry.kind != FILE and (entry.size or entry.data_start or entry.executable or entry.chunk_count):
            raise MalformedIndex(f"{entry.path!r} is not a file, but has the properties of one.")
        if entry.kind == FILE and entry.first_chunk != first_chunk:
            raise MalformedIndex(f"The chunks of {entry.path!r} do not follow those before.")
        first_chunk += entry.chunk_count
    paths.check_unique(entry.path for entry in listing.entries)
    if len(listing.chunk_ids) != first_chunk * 32:
        raise MalformedIndex("The listing does not have as many chunks as its files need.")
