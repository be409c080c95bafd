# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Which ranges of segments to ask for, so that requests and bytes together cost least. Pure."""

from __future__ import annotations

import typing as t
from array import array
from collections import deque
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import ObjectRef


class Placed(t.Protocol):
    """Rows that lie in objects: a locator, or a table of patches. Offsets and lengths are in bytes."""

    @property
    def segments(self) -> t.Sequence[ObjectRef]: ...  # pylint: disable=missing-function-docstring
    @property
    def segment_numbers(self) -> array[int]: ...  # pylint: disable=missing-function-docstring
    @property
    def offsets(self) -> array[int]: ...  # pylint: disable=missing-function-docstring
    @property
    def lengths(self) -> array[int]: ...  # pylint: disable=missing-function-docstring


@dataclass(frozen=True)
class Fetch:
    """A range of an object, in bytes, and the rows to take from it, in order of their offsets."""

    segment: ObjectRef
    offset: int
    length: int
    rows: array[int]


def coalesce(placed: Placed, rows: t.Iterable[int], *, request_bytes: int, max_range_bytes: int) -> t.Iterator[Fetch]:
    """Yield the ranges that hold ``rows``, object by object.

    The sum of their lengths and of ``request_bytes`` for each of them is the least that ranges of at most
    ``max_range_bytes`` (or one row) can have. Of rows that overlap, which no writer makes, it may be more.
    ``rows`` is iterated over twice.
    """
    for number, run in _by_segment(placed, rows):
        starts = [placed.offsets[row] for row in run]
        ends = [placed.offsets[row] + placed.lengths[row] for row in run]
        for first, behind in _cheapest(starts, ends, request_bytes, max_range_bytes):
            length = max(ends[first:behind]) - starts[first]
            yield Fetch(placed.segments[number], starts[first], length, run[first:behind])


def _by_segment(placed: Placed, rows: t.Iterable[int]) -> t.Iterator[tuple[int, array[int]]]:
    """Yield the number of each segment that holds some of the rows, and those in order of their offsets."""
    numbers, offsets = placed.segment_numbers, placed.offsets
    # behind[n] becomes the place behind the last row of segment n in the order of segments.
    behind = array("I", [0]) * (len(placed.segments) + 1)
    for row in rows:
        behind[numbers[row] + 1] += 1
    for number in range(1, len(behind)):
        behind[number] += behind[number - 1]
    order = array("I", [0]) * behind[-1]
    for row in rows:
        order[behind[numbers[row]]] = row
        behind[numbers[row]] += 1
    first = 0
    for number in range(len(placed.segments)):
        if behind[number] > first:
            yield number, array("I", sorted(order[first : behind[number]], key=offsets.__getitem__))
        first = behind[number]


def _cheapest(
    starts: t.Sequence[int], ends: t.Sequence[int], request_bytes: int, most: int
) -> t.Iterable[tuple[int, int]]:
    """Return where to cut pieces ``[starts[n], ends[n])`` into ranges: first piece and the one behind the last.

    The best ranges up to a piece end with a range that begins at the piece where ``what comes before it costs - where
    it begins`` is least; a queue holds the pieces that can still become that, best first.
    """
    begins = array("I", [0]) * len(starts)
    queue: deque[tuple[int, int]] = deque()
    cost = reach = 0
    for piece, start in enumerate(starts):
        value = cost - start
        while queue and queue[-1][0] > value:
            queue.pop()
        queue.append((value, piece))
        reach = max(reach, ends[piece])
        while reach - starts[queue[0][1]] > most and len(queue) > 1:
            queue.popleft()
        best, begins[piece] = queue[0]
        cost = best + reach + request_bytes
    return reversed(list(_walk_back(begins)))


def _walk_back(begins: array[int]) -> t.Iterator[tuple[int, int]]:
    behind = len(begins)
    while behind:
        first = begins[behind - 1]
        yield first, behind
        behind = first
