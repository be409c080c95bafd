# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The delta between two listings. Pure."""

from __future__ import annotations

import dataclasses
import typing as t
from array import array
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta import (
    FIRST_ADDED,
    HOLE,
    NEXT,
    Changes,
    Delta,
    EntryRuns,
    Patches,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.ids import IdTable
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    NO_ROW,
    ChunkRows,
    Entry,
    Listing,
    Locator,
    PatchesRef,
    SegmentRef,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.patches import PATCHES_MAGIC
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.places import Places

# References whose ids are compared at once.
_COMPARED = 256


@dataclass
class StoredPatches:
    """The patches that a writer has stored, in the order of the listing, and the objects that hold them.

    ``identities`` numbers the chunks that they are for; ``numbers`` are those of the objects. ``objects`` are known
    once they are stored.
    """

    identities: IdTable = field(default_factory=IdTable)
    bases: array[int] = field(default_factory=lambda: array("I"))
    lengths: array[int] = field(default_factory=lambda: array("I"))
    codecs: bytearray = field(default_factory=bytearray)
    numbers: array[int] = field(default_factory=lambda: array("I"))
    objects: list[t.Optional[PatchesRef]] = field(default_factory=list)

    def add(self, identity: bytes, base_reference: int, codec: int, length: int, number: int) -> None:
        """Add a patch of ``length`` bytes, in the object with this number."""
        self.identities.add(identity)
        self.bases.append(base_reference)
        self.lengths.append(length)
        self.codecs.append(codec)
        self.numbers.append(number)


def make_delta(base: Listing, listing: Listing, rows: ChunkRows, locator: Locator, stored: StoredPatches) -> Delta:
    """Return what turns ``base`` into ``listing``, which have the same chunk size."""
    draft = _Draft(base, listing, rows)
    draft.find_changes()
    return Delta(
        base.digest,
        listing.digest,
        _entry_runs(base, listing),
        draft.changes(),
        b"".join(listing.chunk_id(rows.first[row]) for row in draft.added),
        _rows(locator, draft.added),
        _patches(stored, listing, rows, draft.added),
    )


class _Draft:
    """The changed references, and the rows of the chunks that the base lacks, in the order of their appearance."""

    def __init__(self, base: Listing, listing: Listing, rows: ChunkRows) -> None:
        self._base = base
        self._listing = listing
        self._rows = rows
        self._references = array("I")
        self.added = array("I")
        self._origins: list[int] = []

    def find_changes(self) -> None:
        reference = 0
        for run in Places(self._listing, self._base).runs:
            self._references.extend(range(reference, run.first))
            self._compare(run.first, run.base_first, run.count)
            reference = run.first + run.count
        self._references.extend(range(reference, self._listing.chunk_total))
        self._find_origins()

    def _compare(self, first: int, base_first: int, count: int) -> None:
        ours, theirs = self._listing.chunk_ids, self._base.chunk_ids
        for start in range(0, count, _COMPARED):
            length = min(_COMPARED, count - start)
            here, there = 32 * (first + start), 32 * (base_first + start)
            if ours[here : here + 32 * length] == theirs[there : there + 32 * length]:
                continue
            for number in range(length):
                one, other = here + 32 * number, there + 32 * number
                if ours[one : one + 32] != theirs[other : other + 32]:
                    self._references.append(first + start + number)

    def _find_origins(self) -> None:
        """Tell the chunk of each changed reference: as an index of the added ones, or a reference of the base."""
        base_reference = self._places_in_base()
        number_of_row: dict[int, int] = {}
        for reference in self._references:
            row = self._rows.numbers[reference]
            if row == NO_ROW:
                self._origins.append(HOLE)
            elif row in base_reference:
                # Told apart from the others by its sign until their number is known.
                self._origins.append(-1 - base_reference[row])
            elif row in number_of_row:
                self._origins.append(FIRST_ADDED + number_of_row[row])
            else:
                number_of_row[row] = len(self.added)
                self.added.append(row)
                self._origins.append(NEXT)

    def _places_in_base(self) -> dict[int, int]:
        """Return the first reference of the base that has the chunk, for each row that changed references have."""
        changed = {self._rows.numbers[reference] for reference in self._references} - {NO_ROW}
        find, ids, zero = self._rows.row_of.find, self._base.chunk_ids, chunks.ZERO_CHUNK_ID
        found: dict[int, int] = {}
        for reference in range(self._base.chunk_total if changed else 0):
            identity = ids[32 * reference : 32 * reference + 32]
            row = -1 if identity == zero else find(identity)
            if row in changed:
                found.setdefault(row, reference)
        return found

    def changes(self) -> Changes:
        gaps, counts = array("I"), array("I")
        expected = 0
        for reference in self._references:
            if reference == expected and counts:
                counts[-1] += 1
            else:
                gaps.append(reference - expected)
                counts.append(1)
            expected = reference + 1
        first_base = FIRST_ADDED + len(self.added)
        origins = array("I", (first_base - 1 - origin if origin < 0 else origin for origin in self._origins))
        return Changes(gaps, counts, origins)


def _entry_runs(base: Listing, listing: Listing) -> EntryRuns:
    numbers = {entry.path: number for number, entry in enumerate(base.entries)}
    runs: list[list[int]] = [[0, 0, 0]]
    added = []
    for entry in listing.entries:
        number = numbers.get(entry.path)
        if number is None or not _is_same(entry, base.entries[number]):
            runs[-1][2] += 1
            added.append(dataclasses.replace(entry, first_chunk=0, chunk_count=0))
        elif runs[-1][1:] == [0, 0]:
            runs[-1][:2] = [number, 1]
        elif runs[-1][2] == 0 and number == runs[-1][0] + runs[-1][1]:
            runs[-1][1] += 1
        else:
            runs.append([number, 1, 0])
    if runs[-1] == [0, 0, 0]:
        runs.pop()
    firsts, counts, more = (array("I", column) for column in (zip(*runs) if runs else ((), (), ())))
    return EntryRuns(firsts, counts, more, tuple(added))


def _is_same(one: Entry, other: Entry) -> bool:
    return (one.kind, one.executable, one.size, one.data_start, one.target) == (
        other.kind,
        other.executable,
        other.size,
        other.data_start,
        other.target,
    )


def _rows(locator: Locator, added: t.Iterable[int]) -> Locator:
    """Return where the added chunks lie, with the segments in the order in which they are used."""
    numbers: dict[int, int] = {}
    segments: list[SegmentRef] = []
    own, offsets, lengths, codecs = array("I"), array("I"), array("I"), bytearray()
    for row in added:
        number = locator.segment_numbers[row]
        if number not in numbers:
            numbers[number] = len(segments)
            segments.append(locator.segments[number])
        own.append(numbers[number])
        offsets.append(locator.offsets[row])
        lengths.append(locator.lengths[row])
        codecs.append(locator.codecs[row])
    return Locator(locator.digest, tuple(segments), own, offsets, lengths, bytes(codecs))


def _patches(stored: StoredPatches, listing: Listing, rows: ChunkRows, added: t.Iterable[int]) -> Patches:
    """Return the stored patches in the order of the added chunks, which is that in which they were stored."""
    found = array("I")
    for number, row in enumerate(added):
        if listing.chunk_id(rows.first[row]) in stored.identities:
            found.append(number)
    if len(found) != len(stored.bases):
        raise ValueError("a patch was stored for a chunk that the base does not lack")
    offsets = array("I")
    position, before = 0, -1
    for number, length in zip(stored.numbers, stored.lengths):
        if number != before:
            position, before = len(PATCHES_MAGIC), number
        offsets.append(position)
        position += length
    objects = tuple(item for item in stored.objects if item is not None)
    return Patches(objects, found, stored.bases, stored.lengths, bytes(stored.codecs), stored.numbers, offsets)
