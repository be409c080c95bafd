# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""A delta applied to the listing of its base. Pure."""

from __future__ import annotations

import typing as t
from array import array
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks, patches
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta import (
    FIRST_ADDED,
    HOLE,
    NEXT,
    Delta,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import MalformedIndex
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    CODEC_RAW,
    MAX_CHUNKS,
    ChunkRows,
    Entry,
    Listing,
    chunk_rows,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import make_listing, numbered
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.places import Places

# The origin of a reference whose chunk is not told as one of the base.
NO_ORIGIN = 0xFFFFFFFF


@dataclass(frozen=True)
class Applied:
    """What a delta makes of the listing of its base.

    ``origins`` holds for each chunk reference the reference of the base that it has its chunk from; ``NO_ORIGIN`` for
    holes, and for chunks that the delta adds.
    """

    listing: Listing
    rows: ChunkRows
    origins: array[int]


def apply_delta(delta: Delta, base: Listing) -> Applied:
    """Return the listing that a delta leads to, after comparing its digest.

    :raises MalformedIndex: the delta is for another base, or breaks the grammar
    """
    if delta.base != base.digest:
        raise MalformedIndex(f"The delta starts from the listing {delta.base}, not from {base.digest}.")
    # Each place of the base is used at most once: a short delta must not make a long listing.
    most_chunks = min(base.chunk_total + len(delta.changes.origins), MAX_CHUNKS)
    entries = numbered(_entries(delta, base), base.chunk_size)
    total = sum(entry.chunk_count for entry in entries)
    if total > most_chunks:
        raise MalformedIndex(f"The delta leads to {total} chunks, and tells at most {most_chunks}.")
    ids, origins = _references(delta, base, Listing(base.chunk_size, tuple(entries), b"", ""), total)
    listing = make_listing(base.chunk_size, entries, ids)
    if listing.digest != delta.digest:
        raise MalformedIndex(f"The delta leads to the listing {listing.digest} instead of {delta.digest}.")
    rows = chunk_rows(listing)
    _check_chunks(delta, rows)
    _check_patches(delta, base, rows)
    return Applied(listing, rows, origins)


def _entries(delta: Delta, base: Listing) -> t.Iterator[Entry]:
    runs = delta.entries
    added = end = 0
    for first, count, more in zip(runs.firsts, runs.counts, runs.added):
        if first + count > len(base.entries):
            raise MalformedIndex("The delta copies entries that its base does not have.")
        if first < end:
            raise MalformedIndex("The delta does not copy the entries of its base in order, each once.")
        end = first + count
        yield from base.entries[first : first + count]
        yield from runs.entries[added : added + more]
        added += more


def _references(delta: Delta, base: Listing, bare: Listing, total: int) -> tuple[bytes, array[int]]:
    """Return the chunk ids and origins of all references; ``bare`` is the listing without its chunks."""
    ids = bytearray(32 * total)
    origins = array("I", [NO_ORIGIN]) * total
    told = bytearray(total)
    for run in Places(bare, base).runs:
        first, end, base_first = run.first, run.first + run.count, run.base_first
        ids[32 * first : 32 * end] = base.chunk_ids[32 * base_first : 32 * (base_first + run.count)]
        origins[first:end] = array("I", range(base_first, base_first + run.count))
        told[first:end] = b"\1" * run.count
    _change(delta, base, ids, origins, told)
    if 0 in told:
        raise MalformedIndex("The delta does not tell the chunk of a place that its base does not have.")
    for reference in _holes(ids, total):
        origins[reference] = NO_ORIGIN
    return bytes(ids), origins


def _change(delta: Delta, base: Listing, ids: bytearray, origins: array[int], told: bytearray) -> None:
    """Set what differs from the base."""
    added_total = delta.rows.row_total
    first_base = FIRST_ADDED + added_total
    used = number = reference = 0
    for gap, count in zip(delta.changes.gaps, delta.changes.counts):
        reference += gap
        if reference + count > len(origins):
            raise MalformedIndex("The delta changes references that its listing does not have.")
        for origin in delta.changes.origins[number : number + count]:
            origins[reference] = NO_ORIGIN
            if origin == HOLE:
                identity = chunks.ZERO_CHUNK_ID
            elif origin < first_base:
                chunk = used if origin == NEXT else origin - FIRST_ADDED
                used += origin == NEXT
                if chunk >= used or chunk >= added_total:
                    raise MalformedIndex("The delta uses a chunk before it adds it.")
                identity = delta.chunk_ids[32 * chunk : 32 * chunk + 32]
            else:
                origins[reference] = origin - first_base
                identity = base.chunk_id(origin - first_base)
                if len(identity) != 32:
                    raise MalformedIndex("The delta uses a chunk that its base does not have.")
            ids[32 * reference : 32 * reference + 32] = identity
            told[reference] = 1
            reference += 1
        number += count
    if used != added_total:
        raise MalformedIndex("The delta adds a chunk that it does not use.")


def _holes(ids: bytearray, total: int) -> t.Iterator[int]:
    zero = chunks.ZERO_CHUNK_ID
    for reference in range(total):
        if ids[32 * reference : 32 * reference + 32] == zero:
            yield reference


def _check_chunks(delta: Delta, rows: ChunkRows) -> None:
    """Check what the delta adds: distinct chunks, each stored in a length that fits its codec."""
    seen = bytearray(len(rows.lengths))
    for number, (stored, codec) in enumerate(zip(delta.rows.lengths, delta.rows.codecs)):
        row = rows.row_of.find(delta.chunk_ids[32 * number : 32 * number + 32])
        if row < 0 or seen[row]:
            raise MalformedIndex("The delta adds a hole, or a chunk twice.")
        seen[row] = 1
        length = rows.lengths[row]
        if stored > length or (codec == CODEC_RAW) != (stored == length):
            raise MalformedIndex(f"Row {number} of the delta has a stored length that does not fit its codec.")


def _check_patches(delta: Delta, base: Listing, rows: ChunkRows) -> None:
    found = delta.patches
    for chunk, reference, stored, codec in zip(found.chunks, found.bases, found.lengths, found.codecs):
        if reference >= base.chunk_total or base.chunk_id(reference) == chunks.ZERO_CHUNK_ID:
            raise MalformedIndex(
                "A patch of the delta starts from a chunk that its base does not have, or from a hole."
            )
        length = rows.lengths[rows.row_of[delta.chunk_ids[32 * chunk : 32 * chunk + 32]]]
        if not patches.fits(codec, stored, length):
            raise MalformedIndex("A patch of the delta has a stored length that does not fit its chunk.")
