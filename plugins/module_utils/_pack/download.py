# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The downloads of a pull: ranges are fetched, decoded, hashed and written, several at once."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base import files, pipeline
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks, codecs
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.codecs import Buffer
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import DamagedChunk
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import ObjectRef
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.open_files import OpenFiles, opened
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.positions import References
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.pull_plan import PullPlan
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.ranges import Fetch

FetchRange = t.Callable[[ObjectRef, int, int], Buffer]
Advance = t.Callable[[int], None]

# After so many bytes the files are flushed, so that flushing at the end does not take long.
_FLUSH_BYTES = 256 << 20


def download(
    pull_plan: PullPlan,
    root: str,
    *,
    fetch: FetchRange,
    transfers: int,
    advance: Advance,
    cancel: pipeline.Cancel = pipeline.ignore,
) -> tuple[int, int]:
    """Fetch what the plan wants, ``transfers`` ranges at once; return bytes fetched and bytes written.

    ``cancel`` makes the calls of ``fetch`` that run end soon, when one has failed.

    :raises DamagedChunk: a chunk does not have its digest, even when its range is fetched once more
    """
    references = References(pull_plan.listing)

    def fetch_one(item: Fetch) -> tuple[int, int]:
        return _fetch_one(pull_plan, item, references, root, fetch)

    downloaded = written = unflushed = 0
    with contextlib.ExitStack() as stack:
        stage = pipeline.unordered_map(
            fetch_one, pull_plan.fetches(), workers=transfers, window=transfers + 2, cancel=cancel
        )
        ranges = stack.enter_context(contextlib.closing(stage))
        flusher = stack.enter_context(contextlib.closing(_Flusher(root, pull_plan)))
        for fetched, count in ranges:
            downloaded += fetched
            written += count
            unflushed += count
            if unflushed >= _FLUSH_BYTES and flusher.begin():
                unflushed = 0
            advance(fetched)
    return downloaded, written


class _Flusher:
    """Lets the disk write while the network still delivers; one flush at a time."""

    def __init__(self, root: str, pull_plan: PullPlan) -> None:
        self._paths = [start.entry.path for start in pull_plan.starts if start.entry.size >= _FLUSH_BYTES]
        self._root = root
        self._runner = pipeline.OneAtATime(self._flush)

    def begin(self) -> bool:
        return self._runner.begin()

    def _flush(self) -> None:
        for path in self._paths:
            with opened(self._root, path, os.O_RDWR) as descriptor:
                os.fsync(descriptor)

    def close(self) -> None:
        self._runner.close()


def _fetch_one(
    pull_plan: PullPlan, item: Fetch, references: References, root: str, fetch: FetchRange
) -> tuple[int, int]:
    """Fetch and write one range; return bytes fetched and bytes written."""
    try:
        data = fetch(item.segment, item.offset, item.length)
        return item.length, _write_range(pull_plan, item, references, root, data)
    except DamagedChunk:
        # A bit may have flipped on the way: the storage is accused only when it happens again.
        data = fetch(item.segment, item.offset, item.length)
        return 2 * item.length, _write_range(pull_plan, item, references, root, data)


def _write_range(pull_plan: PullPlan, item: Fetch, references: References, root: str, data: Buffer) -> int:
    """Decode, check and write the chunks of a range; return bytes written."""
    locator, listing, lengths = pull_plan.locator, pull_plan.listing, pull_plan.rows.lengths
    written = 0
    with memoryview(data) as view, contextlib.closing(OpenFiles(root)) as targets:
        for row in item.rows:
            begin = locator.offsets[row] - item.offset
            identity = listing.chunk_id(pull_plan.rows.first[row])
            with view[begin : begin + locator.lengths[row]] as encoded:
                chunk = _decode(locator.codecs[row], encoded, lengths[row], identity, item.segment)
                for reference in pull_plan.wanted.references(row):
                    entry, offset, length = references.find(reference)
                    files.write_all(targets.descriptor(entry.path), chunk, offset)
                    written += length
                del chunk
    return written


def _decode(codec: int, encoded: memoryview, length: int, identity: bytes, segment: ObjectRef) -> Buffer:
    try:
        chunk = codecs.decode(codec, encoded, length)
        found = chunks.chunk_id(chunk)
    except DamagedChunk as error:
        raise _damaged(segment, identity) from error
    if found != identity:
        raise _damaged(segment, identity)
    return chunk


def _damaged(segment: ObjectRef, identity: bytes) -> DamagedChunk:
    return DamagedChunk(
        f"The chunk {identity.hex()} downloaded from the segment {segment.sha256} does not have its digest, twice, "
        "so the segment is damaged in storage or on the way.",
        hint="Pull again later. If it fails on the same segment, ask the administrator of the catalog to check the "
        "storage. If the pushed bundle still exists, it can be pushed as another version, with an empty list of bases.",
        details={"segment": segment.sha256, "pack": segment.pack},
    )
