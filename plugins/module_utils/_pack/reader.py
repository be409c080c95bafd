# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Carries out a plan: makes the files of a bundle, chunk by verified chunk.

    strays removed ─ starts (clone, create, link) ─ holes ─ patches ─ copies ─ ranges ─ modes
    patches, copies and ranges in threads; range: fetch, decode, hash, write

Nothing is written that does not have the digest which the listing names, except chunks of trusted seeds. A chunk of
another seed that does not have it, or that a patch does not make, is downloaded.
"""

from __future__ import annotations

import contextlib
import functools
import os
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._base import files, pipeline, trees
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks, reading, verify
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.download import Advance, FetchRange, download
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import DIRECTORY, LINK
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.open_files import opened
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.patching import FetchPatches, apply_patches
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.plan import WholeLocator, plan_repair
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.positions import References
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.pull_plan import (
    CLONE,
    KEEP,
    MAX_COPY_BYTES,
    Copy,
    PullPlan,
)

CloneFile = t.Callable[[str, str], t.Any]

# Fetches at once: enough to hide the time to the first byte of a request behind the others.
TRANSFERS = 4
_COPY_BUFFER_BYTES = max(MAX_COPY_BYTES, chunks.MAX_CHUNK_SIZE)


@dataclass(frozen=True)
class Applied:
    """What was done, in bytes: downloaded as encoded, patched as raw bytes.

    ``repaired_chunks`` of ``repaired_bytes`` raw bytes were downloaded in place of damaged ones of seeds, and of
    ``failed_patches``, whose bytes are ``lost_patch_bytes``.
    """

    downloaded_bytes: int
    written_bytes: int
    copied_bytes: int
    repaired_chunks: int
    patched_bytes: int = 0
    failed_patches: int = 0
    lost_patch_bytes: int = 0
    repaired_bytes: int = 0


def apply_plan(
    pull_plan: PullPlan,
    root: str,
    *,
    fetch: FetchRange,
    clone_file: CloneFile,
    advance: Advance = lambda count: None,
    transfers: int = TRANSFERS,
    workers: t.Optional[int] = None,
    cancel: pipeline.Cancel = pipeline.ignore,
    fetch_patches: FetchPatches = lambda item, offset, length: None,
    whole_locator: t.Optional[WholeLocator] = None,
) -> Applied:
    """Make the bundle below the existing directory ``root``, and remove whatever else lies there.

    The files are not durable yet: who publishes the bundle fsyncs each of them, once.

    ``fetch`` runs in ``transfers`` threads, and ``cancel`` makes its calls end soon; ``advance`` receives encoded bytes
    as they arrive, in the caller's thread, and 0 for what is done without the network. ``fetch_patches`` does the same
    for patches, and ``whole_locator`` is asked for the locator in storage if something has to be downloaded whose place
    the plan does not know.

    :raises DamagedChunk: a downloaded chunk does not have its digest
    """
    for path in verify.strays(root, pull_plan.listing, with_left_out=True):
        _remove(os.path.join(root, path))
    _make_starts(pull_plan, root, clone_file)
    for hole in pull_plan.zero_ranges():
        with opened(root, hole.entry.path, os.O_RDWR) as descriptor:
            files.zero_range(descriptor, hole.offset, hole.length)
        advance(0)
    patched = apply_patches(pull_plan, root, fetch=fetch_patches, transfers=transfers, advance=advance, cancel=cancel)
    damaged = patched.failed + _copy(pull_plan, root, workers or pipeline.core_count(), advance)
    fetching = functools.partial(download, fetch=fetch, transfers=transfers, advance=advance, cancel=cancel)
    downloaded, written = fetching(pull_plan, root)
    repaired_chunks = repaired_bytes = 0
    if damaged:
        repair = plan_repair(pull_plan, damaged, whole_locator)
        more_downloaded, more_written = fetching(repair, root)
        downloaded, written = downloaded + more_downloaded, written + more_written
        repaired_chunks, repaired_bytes = repair.download_chunks, repair.download_raw_bytes
    for start in pull_plan.starts:
        with opened(root, start.entry.path, os.O_RDONLY) as descriptor:
            os.fchmod(descriptor, 0o755 if start.entry.executable else 0o644)
    return Applied(
        downloaded + patched.fetched_bytes,
        written + patched.written_bytes,
        pull_plan.copied_bytes,
        repaired_chunks,
        patched.patched_bytes,
        patched.failed_chunks,
        patched.lost_bytes,
        repaired_bytes,
    )


def _make_starts(pull_plan: PullPlan, root: str, clone_file: CloneFile) -> None:
    for entry in pull_plan.listing.entries:
        path = os.path.join(root, entry.path)
        if entry.kind == DIRECTORY and not os.path.lexists(path):
            os.mkdir(path, 0o755)
        elif entry.kind == LINK and not (os.path.lexists(path) and os.readlink(path) == entry.target):
            _remove(path)
            os.symlink(entry.target, path)
    for start in pull_plan.starts:
        path = os.path.join(root, start.entry.path)
        if start.start == KEEP:
            os.chmod(path, 0o644)
        else:
            # What the plan did not see must not show through the holes.
            _remove(path)
        if start.start == CLONE:
            clone_file(start.source, path)
            os.chmod(path, 0o644)
        with opened(root, start.entry.path, os.O_RDWR | os.O_CREAT) as descriptor:
            # It would move the mtime of a file that needs nothing, which tells that nobody writes to it.
            if os.fstat(descriptor).st_size != start.entry.size:
                os.ftruncate(descriptor, start.entry.size)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        trees.remove_directory(path, _refused)
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _refused(_path: str, error: OSError) -> t.NoReturn:
    raise error


def _copy(pull_plan: PullPlan, root: str, workers: int, advance: Advance) -> list[int]:
    """Copy from seeds; return the references whose chunks were not what the seed's listing promised."""
    references = References(pull_plan.listing)
    pool = pipeline.BufferPool(_COPY_BUFFER_BYTES)
    damaged: list[int] = []
    with contextlib.closing(
        pipeline.unordered_map(
            lambda copy: _copy_one(pull_plan, copy, references, root, pool),
            pull_plan.copies(),
            workers=workers,
            window=2 * workers,
        )
    ) as stage:
        for found in stage:
            damaged.extend(found)
            advance(0)
    return damaged


def _copy_one(
    pull_plan: PullPlan, copy: Copy, references: References, root: str, pool: pipeline.BufferPool
) -> list[int]:
    buffer = pool.take()
    sound: list[tuple[int, int]] = [(0, copy.length)]
    damaged: list[int] = []
    try:
        with memoryview(buffer) as whole, whole[: copy.length] as view:
            there = _read_seed(copy, view)
            if copy.verify or there != copy.length:
                sound, damaged = _tell_apart(pull_plan, copy, references, view[:there])
            with opened(root, copy.entry.path, os.O_RDWR) as descriptor:
                for begin, length in sound:
                    files.write_all(descriptor, view[begin : begin + length], copy.offset + begin)
    finally:
        pool.give_back(buffer)
    return damaged


def _read_seed(copy: Copy, view: memoryview) -> int:
    """Read what is to be copied; return the number of bytes that were there. A seed that vanished has none."""
    try:
        source = os.open(copy.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return reading.read_into(source, view, copy.source_offset)
        finally:
            os.close(source)
    except OSError:
        return 0


def _tell_apart(
    pull_plan: PullPlan, copy: Copy, references: References, view: memoryview
) -> tuple[list[tuple[int, int]], list[int]]:
    """Return begin and length in the view of sound chunks, and the references of those that are not."""
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
