# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The patches of a pull: fetched, applied in memory, hashed, and written, several batches at once.

Where the chunk that they start from lies at the same place of the file, only the blocks that change are written, so
that a clone shares all the others with its seed. A chunk that cannot be made is left to a download of the whole chunk.
"""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._base import files, pipeline
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks, patches, reading
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.codecs import Buffer
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import DamagedChunk
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import ObjectRef
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.open_files import OpenFiles
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.patch_plan import Batch, PatchedRows
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.positions import References
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.pull_plan import PullPlan

# Returns the bytes of a range, or None if they cannot be had.
FetchPatches = t.Callable[[ObjectRef, int, int], t.Optional[Buffer]]
Advance = t.Callable[[int], None]


@dataclass
class PatchOutcome:
    """What patches did, in bytes: fetched, raw bytes of what they made, written; and the references that they did not.

    ``lost_bytes`` were fetched, or should have been, for the ``failed_chunks``, which could not be made.
    """

    fetched_bytes: int = 0
    patched_bytes: int = 0
    written_bytes: int = 0
    lost_bytes: int = 0
    failed_chunks: int = 0
    failed: list[int] = field(default_factory=list)

    def add(self, other: PatchOutcome) -> None:
        """Add what another batch did."""
        self.fetched_bytes += other.fetched_bytes
        self.patched_bytes += other.patched_bytes
        self.written_bytes += other.written_bytes
        self.lost_bytes += other.lost_bytes
        self.failed_chunks += other.failed_chunks
        self.failed += other.failed


def apply_patches(
    pull_plan: PullPlan,
    root: str,
    *,
    fetch: FetchPatches,
    transfers: int,
    advance: Advance,
    cancel: pipeline.Cancel = pipeline.ignore,
) -> PatchOutcome:
    """Make the chunks of a plan that patches make; the caller downloads those that ``failed``."""
    done = PatchOutcome()
    patched = pull_plan.patched
    if patched is None:
        return done
    worker = _Worker(pull_plan, patched, root, fetch)
    stage = pipeline.unordered_map(
        worker.run, pull_plan.batches(), workers=transfers, window=transfers + 2, cancel=cancel
    )
    with contextlib.closing(stage) as outcomes:
        for outcome in outcomes:
            done.add(outcome)
            advance(outcome.fetched_bytes)
    return done


class _Worker:
    """Carries out batches, each in a thread of its own."""

    def __init__(self, pull_plan: PullPlan, patched: PatchedRows, root: str, fetch: FetchPatches) -> None:
        self._plan = pull_plan
        self._patched = patched
        self._root = root
        self._fetch = fetch
        self._references = References(pull_plan.listing)
        self._base_references = References(patched.base.listing)

    def run(self, batch: Batch) -> PatchOutcome:
        outcome = PatchOutcome()
        found: dict[int, Buffer] = {}
        for item in batch.fetches:
            data = self._fetch(item.segment, item.offset, item.length)
            if data is None:
                continue
            outcome.fetched_bytes += item.length
            table = self._patched.table
            # Copies: the gaps between patches may be much more than these, and must not stay in memory.
            with memoryview(data) as view:
                for patch in item.rows:
                    begin = table.offsets[patch] - item.offset
                    found[patch] = bytes(view[begin : begin + table.lengths[patch]])
        with contextlib.closing(OpenFiles(self._root)) as targets:
            for row in batch.rows:
                self._make(row, found, targets, outcome)
        return outcome

    def _make(self, row: int, found: t.Mapping[int, Buffer], targets: OpenFiles, outcome: PatchOutcome) -> None:
        """Make and write the chunk of one row."""
        plan, patched = self._plan, self._patched
        chain = patched.patches_of(plan.listing, plan.rows, row)
        references = list(patched.wanted.references(row))
        alike = next((reference for reference in references if patched.in_place[reference]), None)
        made: t.Optional[_Made] = None
        if all(patch in found for patch in chain):
            if alike is not None:
                # Not from the seed, which may change between.
                made = self._patch(row, self._own(alike, targets), chain, found)
            if made is None:
                # What lies at that place is not what it was taken for.
                alike, made = None, self._patch(row, self._of_seed(chain), chain, found)
        if made is None:
            outcome.failed += references
            outcome.failed_chunks += 1
            outcome.lost_bytes += sum(patched.table.lengths[patch] for patch in chain)
            return
        for reference in references:
            entry, offset, length = self._references.find(reference)
            descriptor = targets.descriptor(entry.path)
            pieces: tuple[tuple[int, int], ...] = ((0, length),)
            if made.changed is not None and patched.in_place[reference]:
                # Only the chunk that was patched is known to be right, wherever else it should lie as well.
                if reference == alike or _read(descriptor, offset, length) == made.origin:
                    pieces = made.changed
            with memoryview(made.chunk) as view:
                for begin, count in pieces:
                    files.write_all(descriptor, view[begin : begin + count], offset + begin)
                    outcome.written_bytes += count
            outcome.patched_bytes += length

    def _own(self, reference: int, targets: OpenFiles) -> t.Optional[bytearray]:
        """Return what lies at the place of a reference now."""
        entry, offset, length = self._references.find(reference)
        return _read(targets.descriptor(entry.path), offset, length)

    def _of_seed(self, chain: t.Sequence[int]) -> t.Optional[bytearray]:
        """Return the chunk of the seed that a chain starts from, None if it cannot be read."""
        reference = self._patched.table.origins[chain[-1]]
        entry, offset, length = self._base_references.find(reference)
        try:
            descriptor = reading.open_regular(os.path.join(self._patched.base.root, entry.path))
            try:
                return _read(descriptor, offset, length)
            finally:
                os.close(descriptor)
        except OSError:
            return None

    def _patch(
        self, row: int, origin: t.Optional[bytearray], chain: t.Sequence[int], found: t.Mapping[int, Buffer]
    ) -> t.Optional[_Made]:
        """Return what a chain makes of ``origin``, None if that is not the chunk of the row."""
        if origin is None:
            return None
        rows, table = self._plan.rows, self._patched.table
        chunk, marks, is_one_length = origin, 0, True
        try:
            for patch in chain:
                length = table.raw_lengths[patch]
                is_one_length = is_one_length and length == len(chunk)
                made = patches.apply_patch(chunk, length, table.codecs[patch], found[patch])
                chunk, marks = made.chunk, marks | made.marks
        except DamagedChunk:
            return None
        # Two listings may say different things about the length of one chunk.
        is_wanted = len(chunk) == rows.lengths[row]
        if not is_wanted or chunks.chunk_id(chunk) != self._plan.listing.chunk_id(rows.first[row]):
            return None
        return _Made(origin, chunk, patches.marked_ranges(marks, len(chunk)) if is_one_length else None)


@dataclass(frozen=True)
class _Made:
    """A chunk that patches made of ``origin``, and the ranges in which the two differ, None if that is not known."""

    origin: bytearray
    chunk: bytearray
    changed: t.Optional[tuple[tuple[int, int], ...]]


def _read(descriptor: int, offset: int, length: int) -> bytearray:
    """Return what lies there; what is behind the end of the file is zeros."""
    data = bytearray(length)
    with memoryview(data) as view:
        reading.read_into(descriptor, view, offset)
    return data
