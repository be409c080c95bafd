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
import heapq
import struct
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import Listing

SIZE = 128
# The first bytes of a chunk id are enough to tell it from others.
_PREFIX_BYTES = 8
_COUNT = struct.Struct("<I")


@dataclass(frozen=True)
class Sketch:
    """How many distinct chunks that are no holes a listing has, and the smallest prefixes of their ids, in order."""

    count: int
    smallest: tuple[bytes, ...]


def of(listing: Listing) -> Sketch:
    """Return the sketch of a listing."""
    ids = listing.chunk_ids
    zero = chunks.ZERO_CHUNK_ID[:_PREFIX_BYTES]
    step = chunks.CHUNK_ID_BYTES
    distinct = {ids[start : start + _PREFIX_BYTES] for start in range(0, len(ids), step)} - {zero}
    return Sketch(len(distinct), tuple(heapq.nsmallest(SIZE, distinct)))


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
