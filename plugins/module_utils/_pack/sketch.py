# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""A small record of which chunks a listing has, to tell how much two listings have in common. Pure.

A sketch holds the smallest of the distinct chunk ids ("bottom-k", Cohen and Kaplan, PODC 2007). Chunk ids are digests,
so they are spread evenly, and the smallest of one listing tell about all of it. 1 KiB in place of tens of megabytes.
"""

from __future__ import annotations

import base64
import binascii
import bisect
import heapq
import struct
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import MAX_CHUNKS, Listing

SIZE = 128
# The first bytes of a chunk id are enough to tell it from others.
_PREFIX_BYTES = 8
_PREFIXES = 1 << (8 * _PREFIX_BYTES)
_COUNT = struct.Struct("<I")


@dataclass(frozen=True)
class Sketch:
    """About how many distinct chunks a listing has, and the smallest prefixes of their ids, in order.

    Holes do not count. The number is exact up to ``SIZE`` of them, otherwise it follows from how close together the
    smallest lie.
    """

    count: int
    smallest: tuple[bytes, ...]


def of(listing: Listing) -> Sketch:
    """Return the sketch of a listing."""
    ids, zero = listing.chunk_ids, chunks.ZERO_CHUNK_ID[:_PREFIX_BYTES]
    smallest: list[bytes] = []
    # What is not smaller than this does not belong to the smallest.
    bound = b"\xff" * (_PREFIX_BYTES + 1)
    for start in range(0, len(ids), chunks.CHUNK_ID_BYTES):
        prefix = ids[start : start + _PREFIX_BYTES]
        if prefix >= bound or prefix == zero:
            continue
        place = bisect.bisect_left(smallest, prefix)
        if place < len(smallest) and smallest[place] == prefix:
            continue
        smallest.insert(place, prefix)
        if len(smallest) > SIZE:
            smallest.pop()
            bound = smallest[-1]
    if len(smallest) < SIZE:
        return Sketch(len(smallest), tuple(smallest))
    count = (SIZE - 1) * _PREFIXES // max(1, int.from_bytes(smallest[-1], "big"))
    return Sketch(min(max(count, SIZE), MAX_CHUNKS), tuple(smallest))


def similarity(wanted: Sketch, other: Sketch) -> float:
    """Return about which part of the chunks of ``wanted`` the other has, from 0 to 1."""
    if not wanted.count or not other.count:
        return 0.0
    both = set(wanted.smallest) & set(other.smallest)
    union = heapq.nsmallest(SIZE, {*wanted.smallest, *other.smallest})
    jaccard = sum(prefix in both for prefix in union) / len(union)
    shared = jaccard * (wanted.count + other.count) / (1 + jaccard)
    return min(1.0, shared / wanted.count)


def encode(sketch: Sketch) -> str:
    """Return a sketch as text."""
    return base64.b64encode(_COUNT.pack(sketch.count) + b"".join(sketch.smallest)).decode("ascii")


def decode(text: str) -> t.Optional[Sketch]:
    """Return the sketch of a text, None if it is not one."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(data) < _COUNT.size or (len(data) - _COUNT.size) % _PREFIX_BYTES:
        return None
    prefixes = range(_COUNT.size, len(data), _PREFIX_BYTES)
    return Sketch(_COUNT.unpack_from(data)[0], tuple(data[start : start + _PREFIX_BYTES] for start in prefixes))
