# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Carries out a plan: makes the files of a bundle, chunk by verified chunk.

    strays removed ─ starts (clone, create, link) ─ holes ─ copies (threads) ─ ranges ─ fsync
    range: fetch, decode, hash, write (threads)

Nothing is written that has not the digest which the listing names; a chunk that does not is an error when
it was downloaded, and is downloaded when it was copied from a seed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._base import files, pipeline
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import (
    chunks,
    codecs,
    plan,
    reading,
    verify,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.codecs import Buffer
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import DamagedChunk
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import DIRECTORY, LINK, SegmentRef

FetchRange = t.Callable[[SegmentRef, int, int], Buffer]
CloneFile = t.Callable[[str, str], t.Any]
Advance = t.Callable[[int], None]

# Transfers at once: enough to hide the time to the first byte of a request behind the others.
TRANSFERS = 4
_COPY_BUFFER_BYTES = max(plan.MAX_COPY_BYTES, chunks.MAX_CHUNK_SIZE)
# Written bytes after which the disk is made to begin, so that the last fsync is short.
_FLUSH_BYTES = 256 << 20


@dataclass(frozen=True)
class Applied:
    """What was done, in bytes: downloaded as encoded, repaired as raw bytes of damaged seeds."""

    downloaded_bytes: int
    written_bytes: int
    copied_bytes: int
    repaired_chunks: int


def apply_plan(
    pull_plan: plan.PullPlan,
    root: str,
    *,
    fetch: FetchRange,
    clone_file: CloneFile,
    advance: Advance = lambda count: None,
    workers: t.Optional[int] = None,
) -> Applied:
    """Make the bundle below the existing directory ``root``; every file is fsynced at the end.

    Whatever else lies there is removed.

    ``fetch`` runs in threads; ``advance`` receives encoded bytes as they arrive, in the caller's thread, and 0 for
    what is done without the network: whoever watches learns that it goes on.

    :raises DamagedChunk: a downloaded chunk does not have its digest
    """
    for path in verify.strays(root, pull_plan.listing, with_left_out=True):
        _remove(os.path.join(root, path))
    _make_starts(pull_plan, root, clone_file)
    for hole in pull_plan.zero_ranges:
        with _open(root, hole.entry.path, os.O_RDWR) as descriptor:
            files.zero_range(descriptor, hole.offset, hole.length)
        advance(0)
    damaged = _copy(pull_plan, root, workers or pipeline.core_count(), advance)
    downloaded, written = _download(pull_plan, root, fetch, advance)
    if damaged:
        repair = plan.plan_repair(pull_plan, damaged)
        more_downloaded, more_written = _download(repair, root, fetch, advance)
        downloaded, written = downloaded + more_downloaded, written + more_written
    for start in pull_plan.starts:
        with _open(root, start.entry.path, os.O_RDWR) as descriptor:
            os.fchmod(descriptor, 0o755 if start.entry.executable else 0o644)
            os.fsync(descriptor)
    return Applied(downloaded, written, pull_plan.copied_bytes, len(damaged))


@contextlib.contextmanager
def _open(root: str, path: str, flags: int) -> t.Iterator[int]:
    descriptor = os.open(os.path.join(root, path), flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _make_starts(pull_plan: plan.PullPlan, root: str, clone_file: CloneFile) -> None:
    for entry in pull_plan.listing.entries:
        path = os.path.join(root, entry.path)
        if entry.kind == DIRECTORY and not os.path.lexists(path):
            os.mkdir(path, 0o755)
        elif entry.kind == LINK and not (os.path.lexists(path) and os.readlink(path) == entry.target):
            _remove(path)
            os.symlink(entry.target, path)
    for start in pull_plan.starts:
        path = os.path.join(root, start.entry.path)
        if start.start == plan.KEEP:
            os.chmod(path, 0o644)
        else:
            # What the plan did not see must not show through the holes.
            _remove(path)
        if start.start == plan.CLONE:
            clone_file(start.source, path)
            os.chmod(path, 0o644)
        with _open(root, start.entry.path, os.O_RDWR | os.O_CREAT) as descriptor:
            os.ftruncate(descriptor, start.entry.size)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _copy(pull_plan: plan.PullPlan, root: str, workers: int, advance: Advance) -> list[int]:
    """Copy from seeds; the references whose chunks were not what the seed's listing promised."""
    pool = pipeline.BufferPool(_COPY_BUFFER_BYTES)
    damaged: list[int] = []
    with contextlib.closing(
        pipeline.unordered_map(
            lambda copy: _copy_one(pull_plan, copy, root, pool), pull_plan.copies, workers=workers, window=2 * workers
        )
    ) as stage:
        for references in stage:
            damaged.extend(references)
            advance(0)
    return damaged


def _copy_one(pull_plan: plan.PullPlan, copy: plan.Copy, root: str, pool: pipeline.BufferPool) -> list[int]:
    buffer = pool.take()
    sound: list[tuple[int, int]] = [(0, copy.length)]
    damaged: list[int] = []
    try:
        with memoryview(buffer) as whole, whole[: copy.length] as view:
            there = _read_seed(copy, view)
            if copy.verify or there != copy.length:
                sound, damaged = _tell_apart(pull_plan, copy, view[:there])
            with _open(root, copy.entry.path, os.O_RDWR) as descriptor:
                for begin, length in sound:
                    files.write_all(descriptor, view[begin : begin + length], copy.offset + begin)
    finally:
        pool.give_back(buffer)
    return damaged


def _read_seed(copy: plan.Copy, view: memoryview) -> int:
    """Read what is to be copied; the number of bytes that were there. A seed that vanished has none."""
    try:
        source = os.open(copy.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return reading.read_into(source, view, copy.source_offset)
        finally:
            os.close(source)
    except OSError:
        return 0


def _tell_apart(pull_plan: plan.PullPlan, copy: plan.Copy, view: memoryview) -> tuple[list[tuple[int, int]], list[int]]:
    """Begin and length in the view of chunks that have their digest, and the references of those that have not."""
    references = plan.References(pull_plan.listing)
    sound: list[tuple[int, int]] = []
    damaged = []
    for reference in range(copy.first, copy.first + copy.count):
        _entry, offset, length = references.find(reference)
        begin = offset - copy.offset
        if chunks.chunk_id(view[begin : begin + length]) != pull_plan.listing.chunk_id(reference):
            damaged.append(reference)
        elif sound and sum(sound[-1]) == begin:
            sound[-1] = (sound[-1][0], sound[-1][1] + length)
        else:
            sound.append((begin, length))
    return sound, damaged


def _download(pull_plan: plan.PullPlan, root: str, fetch: FetchRange, advance: Advance) -> tuple[int, int]:
    references = plan.References(pull_plan.listing)
    downloaded = written = unflushed = 0
    with contextlib.ExitStack() as stack:
        stage = stack.enter_context(
            contextlib.closing(
                pipeline.unordered_map(
                    lambda item: _download_one(pull_plan, item, references, root, fetch),
                    pull_plan.fetches,
                    workers=TRANSFERS,
                    window=TRANSFERS + 2,
                )
            )
        )
        flusher = stack.enter_context(contextlib.closing(_Flusher(root, pull_plan)))
        for item, count in stage:
            downloaded += item.length
            written += count
            unflushed += count
            if unflushed >= _FLUSH_BYTES and flusher.begin():
                unflushed = 0
            advance(item.length)
    return downloaded, written


class _Flusher:
    """Lets the disk write while the network still delivers; one flush at a time."""

    def __init__(self, root: str, pull_plan: plan.PullPlan) -> None:
        self._paths = [start.entry.path for start in pull_plan.starts if start.entry.size >= _FLUSH_BYTES]
        self._root = root
        self._runner = pipeline.OneAtATime(self._flush)

    def begin(self) -> bool:
        return self._runner.begin()

    def _flush(self) -> None:
        for path in self._paths:
            with _open(self._root, path, os.O_RDWR) as descriptor:
                os.fsync(descriptor)

    def close(self) -> None:
        self._runner.close()


def _download_one(
    pull_plan: plan.PullPlan, item: plan.Fetch, references: plan.References, root: str, fetch: FetchRange
) -> tuple[plan.Fetch, int]:
    locator, listing = pull_plan.locator, pull_plan.listing
    written = 0
    data = fetch(item.segment, item.offset, item.length)
    with memoryview(data) as view, contextlib.ExitStack() as stack:
        open_files: dict[str, int] = {}
        for row in item.rows:
            begin = locator.offsets[row] - item.offset
            identity = listing.chunk_id(pull_plan.rows.first[row])
            with view[begin : begin + locator.lengths[row]] as encoded:
                chunk = _decode(locator.codecs[row], encoded, pull_plan.rows.lengths[row], identity, item.segment)
                for reference in pull_plan.positions[row]:
                    entry, offset, length = references.find(reference)
                    if entry.path not in open_files:
                        open_files[entry.path] = stack.enter_context(_open(root, entry.path, os.O_RDWR))
                    files.write_all(open_files[entry.path], chunk, offset)
                    written += length
                del chunk
    return item, written


def _decode(codec: int, encoded: memoryview, length: int, identity: bytes, segment: SegmentRef) -> Buffer:
    try:
        chunk = codecs.decode(codec, encoded, length)
        found = chunks.chunk_id(chunk)
    except DamagedChunk as error:
        raise _damaged(segment, identity) from error
    if found != identity:
        raise _damaged(segment, identity)
    return chunk


def _damaged(segment: SegmentRef, identity: bytes) -> DamagedChunk:
    return DamagedChunk(
        f"The chunk {identity.hex()} downloaded from the segment {segment.sha256} does not have its digest, "
        "so the segment is damaged in storage or on the way.",
        hint="Pull again; if it fails on the same segment, delete the version, and push it again with an empty list "
        "of bases.",
        details={"segment": segment.sha256, "pack": segment.pack},
    )
