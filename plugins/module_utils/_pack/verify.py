# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What the files of a bundle on disk really hold, chunk by chunk.

Used to resume a partial bundle, and to check a cache entry.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import typing as t
import unicodedata

from ansible_collections.macfleet.parallels.plugins.module_utils._base import pipeline
from ansible_collections.macfleet.parallels.plugins.module_utils._base.left_out import is_left_out
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks, cut, reading
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    DIRECTORY,
    FILE,
    LINK,
    Entry,
    Listing,
)

Advance = t.Callable[[int], None]

# The id of a chunk that is not there or not whole; no SHA-256 is known that has this value.
MISSING_CHUNK_ID = b"\xff" * chunks.CHUNK_ID_BYTES


def hash_files(
    root: str,
    entries: t.Iterable[Entry],
    chunk_size: int,
    *,
    workers: t.Optional[int] = None,
    advance: Advance = lambda count: None,
) -> dict[str, bytes]:
    """Return the chunk ids (32 bytes each, one after another) of files as they lie below ``root``, by path.

    Only paths and sizes of ``entries`` are used. A file that is not there, is not a regular file, or is reached through
    a link, is left out. A chunk behind the end of a shorter file, or on a part of the disk that cannot be read, has
    ``MISSING_CHUNK_ID``. ``advance`` receives the bytes of each piece as soon as it is hashed, in the caller's thread.

    :raises OSError: a file cannot be read for another reason
    """
    workers = workers or pipeline.core_count()
    directories = {"": True}
    wanted = [entry for entry in entries if entry.kind == FILE and _is_regular(root, entry.path, directories)]
    found = {entry.path: bytearray() for entry in wanted}
    pool = pipeline.BufferPool(cut.buffer_bytes(chunk_size))

    def handle(order: cut.Order) -> tuple[cut.Order, bytes]:
        return order, _hash_order(root, order, pool)

    orders = (order for entry in wanted for order in cut.orders(entry, chunk_size))
    with contextlib.closing(pipeline.ordered_map(handle, orders, workers=workers, window=2 * workers + 2)) as stage:
        for order, identities in stage:
            found[order.path] += identities
            advance(order.length)
    return {path: bytes(identities) for path, identities in found.items()}


def _is_regular(root: str, path: str, directories: dict[str, bool]) -> bool:
    return _is_below_directories(root, os.path.dirname(path), directories) and stat.S_ISREG(_mode(root, path))


def _is_below_directories(root: str, path: str, directories: dict[str, bool]) -> bool:
    """Return True if a path and all above it are directories, not links; ``directories`` holds what is known."""
    if path not in directories:
        parent = os.path.dirname(path)
        directories[path] = _is_below_directories(root, parent, directories) and stat.S_ISDIR(_mode(root, path))
    return directories[path]


def _mode(root: str, path: str) -> int:
    try:
        return os.lstat(os.path.join(root, path)).st_mode
    except OSError:
        return 0


def _hash_order(root: str, order: cut.Order, pool: pipeline.BufferPool) -> bytes:
    start = order.start
    buffer = pool.take()
    try:
        with memoryview(buffer) as whole, whole[: order.length] as view:
            descriptor = reading.open_regular(os.path.join(root, order.path))
            try:
                there = reading.read_into(descriptor, view, start)
            except OSError as error:
                # A bad part of the disk: written anew, it is usually replaced.
                if error.errno != errno.EIO:
                    raise OSError(error.errno, error.strerror, os.path.join(root, order.path)) from error
                there = 0
            finally:
                os.close(descriptor)
            return b"".join(
                _identify(view[offset - start : offset - start + size])
                if offset - start + size <= there
                else MISSING_CHUNK_ID
                for offset, size in order.spans
            )
    finally:
        pool.give_back(buffer)


def _identify(chunk: memoryview) -> bytes:
    with chunk:
        return chunks.ZERO_CHUNK_ID if chunks.is_zero(chunk) else chunks.chunk_id(chunk)


def damaged_paths(
    root: str,
    listing: Listing,
    *,
    workers: t.Optional[int] = None,
    advance: Advance = lambda count: None,
) -> list[str]:
    """Return the paths below ``root`` that are not exactly as the listing says, or that it does not know."""
    identities = hash_files(root, listing.entries, listing.chunk_size, workers=workers, advance=advance)
    damaged = []
    for entry in listing.entries:
        path = os.path.join(root, entry.path)
        if entry.kind == FILE:
            wanted = listing.chunk_ids[entry.first_chunk * 32 : (entry.first_chunk + entry.chunk_count) * 32]
            is_whole = identities.get(entry.path) == wanted and os.lstat(path).st_size == entry.size
            if not is_whole or bool(os.lstat(path).st_mode & stat.S_IXUSR) != entry.executable:
                damaged.append(entry.path)
        elif entry.kind == DIRECTORY and (os.path.islink(path) or not os.path.isdir(path)):
            damaged.append(entry.path)
        elif entry.kind == LINK and not (os.path.islink(path) and os.readlink(path) == entry.target):
            damaged.append(entry.path)
    return sorted({*damaged, *(unicodedata.normalize("NFC", path) for path in strays(root, listing))})


def strays(root: str, listing: Listing, *, with_left_out: bool = False) -> t.Iterator[str]:
    """Paths below ``root`` that the listing does not know, or knows as another kind, as the file system spells them.

    What lies in a directory that is a stray is not named, and what a push leaves out only ``with_left_out``. The
    caller may remove each path at once.
    """
    kinds = {entry.path: entry.kind for entry in listing.entries}
    pending = [""]
    while pending:
        directory = pending.pop()
        with os.scandir(os.path.join(root, directory)) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for child in found:
            disk_path = f"{directory}/{child.name}" if directory else child.name
            # The listing's paths are NFC; a file system may hand out another form of them.
            path = unicodedata.normalize("NFC", disk_path)
            kind = _kind(child)
            if path not in kinds and is_left_out(path) and not with_left_out:
                continue
            if kind is None or kinds.get(path) != kind or not _is_reached(root, path, disk_path):
                yield disk_path
            elif kind == DIRECTORY:
                pending.append(disk_path)


def _kind(found: os.DirEntry[str]) -> t.Optional[str]:
    if found.is_symlink():
        return LINK
    if found.is_dir(follow_symlinks=False):
        return DIRECTORY
    return FILE if found.is_file(follow_symlinks=False) else None


def _is_reached(root: str, path: str, disk_path: str) -> bool:
    """Return True if ``path`` leads to what the file system spells ``disk_path``."""
    if path == disk_path:
        return True
    try:
        return os.path.samestat(os.lstat(os.path.join(root, path)), os.lstat(os.path.join(root, disk_path)))
    except FileNotFoundError:
        return False
