# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What a pull has to do to make a bundle: holes, copies from seeds, ranges to download. Pure.

The plan says it chunk by chunk and byte by byte, so that check mode predicts what the real run does.
"""

from __future__ import annotations

import dataclasses
import os
import typing as t
from array import array
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._base.link import LinkCost
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks, patch_plan
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.chain import PatchTable
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    NO_ROW,
    ChunkRows,
    Entry,
    Listing,
    Locator,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.patch_plan import PatchedRows
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.positions import Wanted
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.pull_plan import (
    CLONE,
    EMPTY,
    KEEP,
    FileStart,
    PullPlan,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.seeds import Seed, Sources, clonable

WholeLocator = t.Callable[[], Locator]


@dataclass
class _Draft:
    starts: list[FileStart] = field(default_factory=list)
    present: dict[str, memoryview] = field(default_factory=dict)
    zeros: array[int] = field(default_factory=lambda: array("I"))
    missing: array[int] = field(default_factory=lambda: array("I"))
    kept_bytes: int = 0
    hole_bytes: int = 0


def plan_pull(
    listing: Listing,
    rows: ChunkRows,
    locator: Locator,
    *,
    present_ids: t.Mapping[str, bytes],
    seeds: t.Sequence[Seed],
    can_clone: bool,
    link: LinkCost,
    patches: t.Optional[PatchTable] = None,
    whole_locator: t.Optional[WholeLocator] = None,
) -> PullPlan:
    """Compare what is wanted with what is there, and return what has to be done.

    ``present_ids`` holds the chunk ids of the files of a partial bundle as ``verify.hash_files`` returns them;
    ``seeds`` come best first; ``link`` is what a request costs. ``patches`` are used if their base is one of the seeds.
    ``whole_locator`` is asked for the locator in storage if ``locator`` lacks the place of something to download.
    """
    usable = tuple(seed for seed in seeds if seed.listing.chunk_size == listing.chunk_size)
    by_path = clonable(usable) if can_clone else {}
    draft = _Draft()
    for entry in listing.files():
        _plan_file(draft, listing, rows, entry, present_ids, by_path)
    copied, origins, missing = _divide(rows, draft.missing, usable)
    patched: t.Optional[PatchedRows] = None
    base = next((seed for seed in usable if patches is not None and seed.listing.digest == patches.base), None)
    if patches is not None and base is not None:
        patched, missing = patch_plan.divide(missing, listing, rows, locator, patches, base, draft.present)
    plan = PullPlan(
        listing,
        rows,
        _placing(locator, rows, missing, whole_locator),
        link,
        tuple(draft.starts),
        usable,
        draft.zeros,
        copied,
        origins,
        Wanted(rows, missing),
        patched,
        draft.kept_bytes,
        draft.hole_bytes,
        copied_bytes=_length(rows, copied),
        write_bytes=_length(rows, draft.missing),
        download_bytes=0,
        download_requests=0,
    )
    # Their memory is free while the ranges are formed.
    del draft, missing
    return _counted(plan)


def _divide(rows: ChunkRows, missing: array[int], seeds: t.Sequence[Seed]) -> tuple[array[int], array[int], array[int]]:
    """Return the references that seeds have, the places of these in the seeds, and the other references."""
    copied, origins, others = array("I"), array("Q"), array("I")
    if not seeds or not missing:
        return copied, origins, missing
    sources = Sources(rows, missing, seeds)
    for reference in missing:
        origin = sources.find(reference)
        if origin is None:
            others.append(reference)
        else:
            copied.append(reference)
            origins.append(origin)
    return copied, origins, others


def _placing(
    locator: Locator, rows: ChunkRows, wanted: t.Iterable[int], whole_locator: t.Optional[WholeLocator]
) -> Locator:
    """Return a locator that places all that is wanted: the one that is there, if it does."""
    if whole_locator is None or all(locator.is_placed(rows.numbers[reference]) for reference in wanted):
        return locator
    return whole_locator()


def plan_repair(
    plan: PullPlan, references: t.Iterable[int], whole_locator: t.Optional[WholeLocator] = None
) -> PullPlan:
    """Return the plan that downloads chunk references whose copies or patches turned out to be damaged."""
    damaged = array("I", sorted(references))
    return _counted(
        dataclasses.replace(
            plan,
            locator=_placing(plan.locator, plan.rows, damaged, whole_locator),
            starts=(),
            zeros=array("I"),
            copied=array("I"),
            origins=array("Q"),
            wanted=Wanted(plan.rows, damaged),
            patched=None,
            kept_bytes=0,
            hole_bytes=0,
            copied_bytes=0,
            write_bytes=_length(plan.rows, damaged),
        )
    )


def _length(rows: ChunkRows, references: t.Iterable[int]) -> int:
    return sum(rows.lengths[rows.numbers[reference]] for reference in references)


def _counted(plan: PullPlan) -> PullPlan:
    """Return the plan with the counts of its ranges."""
    count = total = 0
    for fetch in plan.fetches():
        count += 1
        total += fetch.length
    for batch in plan.batches():
        count += len(batch.fetches)
        total += batch.length
    return dataclasses.replace(plan, download_bytes=total, download_requests=count)


def _plan_file(
    draft: _Draft,
    listing: Listing,
    rows: ChunkRows,
    entry: Entry,
    present_ids: t.Mapping[str, bytes],
    by_path: t.Mapping[str, tuple[Seed, Entry]],
) -> None:
    candidate = by_path.get(entry.path)
    if entry.path in present_ids:
        draft.starts.append(FileStart(entry, KEEP))
        draft.present[entry.path] = memoryview(present_ids[entry.path])
        _plan_chunks(draft, listing, entry, draft.present[entry.path], entry)
    elif candidate and candidate[1].data_start == entry.data_start and candidate[1].size and entry.size:
        seed, other = candidate
        draft.starts.append(FileStart(entry, CLONE, os.path.join(seed.root, other.path)))
        ids = memoryview(seed.listing.chunk_ids)
        draft.present[entry.path] = ids[other.first_chunk * 32 : (other.first_chunk + other.chunk_count) * 32]
        _plan_chunks(draft, listing, entry, draft.present[entry.path], other)
    else:
        draft.starts.append(FileStart(entry, EMPTY))
        _plan_new_file(draft, listing, rows, entry)


def _plan_new_file(draft: _Draft, listing: Listing, rows: ChunkRows, entry: Entry) -> None:
    """Plan a file that begins as one hole."""
    short = chunks.short_chunks(entry.size, entry.data_start, listing.chunk_size)
    for number in range(entry.chunk_count):
        if rows.numbers[entry.first_chunk + number] == NO_ROW:
            draft.hole_bytes += short.get(number, listing.chunk_size)
        else:
            draft.missing.append(entry.first_chunk + number)


def _plan_chunks(draft: _Draft, listing: Listing, entry: Entry, present: memoryview, like: Entry) -> None:
    """Plan a file that begins as the chunks with the ids ``present``, which are cut as those of the file ``like``.

    A chunk of another length is another one, whatever a listing says of its id.
    """
    wanted = memoryview(listing.chunk_ids)[entry.first_chunk * 32 : (entry.first_chunk + entry.chunk_count) * 32]
    if wanted == present and entry.size == like.size:
        draft.kept_bytes += entry.size
        return
    zero = chunks.ZERO_CHUNK_ID
    short = chunks.short_chunks(entry.size, entry.data_start, listing.chunk_size)
    short_there = chunks.short_chunks(like.size, like.data_start, listing.chunk_size)
    for number in range(entry.chunk_count):
        identity = bytes(wanted[number * 32 : number * 32 + 32])
        length = short.get(number, listing.chunk_size)
        # Behind the end of what is there the file is extended, and reads as zeros.
        there = bytes(present[number * 32 : number * 32 + 32]) or zero
        if identity == there and identity != zero and length == short_there.get(number, listing.chunk_size):
            draft.kept_bytes += length
        elif identity != zero:
            draft.missing.append(entry.first_chunk + number)
        else:
            draft.hole_bytes += length
            if there != zero:
                draft.zeros.append(entry.first_chunk + number)
