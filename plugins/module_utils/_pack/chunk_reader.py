# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Reads the chunks of a bundle in threads: read, zero test, hash, encode, compare with bases."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._base import pipeline
from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import Stamp
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import bundle, chunks, cut, reading
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.codecs import Buffer
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import BundleChanged
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import FILE
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.patch_writer import BasePatch

Encode = t.Callable[[Buffer], t.Tuple[int, bytes]]
# Returns the patches for the chunk at a reference, whose id and bytes are given.
Compare = t.Callable[[int, bytes, memoryview], t.Tuple[BasePatch, ...]]


@dataclass(frozen=True)
class Chunk:
    """A chunk that was read.

    ``data`` is the encoded chunk, or empty for holes and for chunks that need not be stored. ``patches`` make it from
    chunks of bases.
    """

    identity: bytes
    length: int
    codec: int = 0
    data: bytes = b""
    patches: tuple[BasePatch, ...] = ()


@dataclass(frozen=True)
class Work:
    """What is done with the chunks that are read.

    Those that ``store`` returns True for are encoded by ``encode``; ``compare`` makes patches.
    """

    store: t.Callable[[bytes], bool]
    encode: Encode
    compare: t.Optional[Compare] = None


def _orders(snapshot: bundle.Snapshot) -> t.Iterator[tuple[str, cut.Order]]:
    """Yield the orders of all files, each with the path of its file as the file system spells it."""
    for entry, disk_path in zip(snapshot.entries, snapshot.disk_paths):
        if entry.kind == FILE:
            for order in cut.orders(entry, snapshot.chunk_size):
                yield disk_path, order


def _handle(
    disk_path: str,
    order: cut.Order,
    snapshot: bundle.Snapshot,
    pool: pipeline.BufferPool,
    work: t.Optional[Work],
) -> list[Chunk]:
    start, length = order.start, order.length
    buffer = pool.take()
    try:
        with memoryview(buffer) as whole, whole[:length] as view:
            descriptor = reading.open_file(snapshot.root, disk_path)
            try:
                with reading.reading(snapshot.root, disk_path):
                    is_same = Stamp.of(os.fstat(descriptor)).inode == snapshot.stamps[order.path].inode
                    if not is_same or reading.read_into(descriptor, view, start) != length:
                        raise _changed(snapshot, order.path)
            finally:
                os.close(descriptor)
            found = []
            for reference, (offset, size) in enumerate(order.spans, order.first):
                with view[offset - start : offset - start + size] as chunk:
                    found.append(_make_chunk(reference, chunk, work))
            return found
    finally:
        pool.give_back(buffer)


def _make_chunk(reference: int, chunk: memoryview, work: t.Optional[Work]) -> Chunk:
    if chunks.is_zero(chunk):
        return Chunk(chunks.ZERO_CHUNK_ID, len(chunk))
    identity = chunks.chunk_id(chunk)
    if work is None:
        return Chunk(identity, len(chunk))
    codec, data = work.encode(chunk) if work.store(identity) else (0, b"")
    patches = work.compare(reference, identity, chunk) if work.compare is not None else ()
    return Chunk(identity, len(chunk), codec, data, patches)


def _changed(snapshot: bundle.Snapshot, path: str) -> BundleChanged:
    return BundleChanged(
        f"The bundle {snapshot.root} changed while it was read ({path}).",
        hint="Stop the virtual machine, leave the bundle alone, and push it again.",
    )


def read_chunks(
    snapshot: bundle.Snapshot,
    workers: int,
    work: t.Optional[Work] = None,
) -> t.Generator[list[Chunk], None, None]:
    """Yield the chunks of all files in canonical order, some at a time; hold it in ``contextlib.closing``.

    ``work`` is done in the workers. Without it, the chunks are only hashed.

    :raises BundleChanged: a file has another length or identity than in the snapshot
    """
    pool = pipeline.BufferPool(cut.buffer_bytes(snapshot.chunk_size))
    return pipeline.ordered_map(
        lambda item: _handle(*item, snapshot, pool, work),
        _orders(snapshot),
        workers=workers,
        window=2 * workers + 2,
    )
