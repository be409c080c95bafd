# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import random
import typing as t
from array import array

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.link import LinkCost
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import Locator, SegmentRef
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.pull_plan import MAX_RANGE_BYTES
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.ranges import Fetch, coalesce
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import PACK, QUICK
from hypothesis import given
from hypothesis import strategies as st


@st.composite
def locators(draw: st.DrawFn) -> Locator:
    """Chunks in segments with gaps between them, in any order."""
    numbers, offsets, lengths = array("I"), array("I"), array("I")
    segments = draw(st.integers(1, 3))
    for number in range(segments):
        position = 8
        for gap, length in draw(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 500)), max_size=15)):
            numbers.append(number)
            offsets.append(position + gap)
            lengths.append(length)
            position += gap + length
    order = draw(st.permutations(range(len(numbers))))
    named = tuple(SegmentRef(PACK, f"{number:064x}", 1 << 20) for number in range(segments))
    return Locator(
        "",
        named,
        array("I", (numbers[row] for row in order)),
        array("I", (offsets[row] for row in order)),
        array("I", (lengths[row] for row in order)),
        bytes(len(numbers)),
    )


def cost(ranges: t.Iterable[Fetch], request_bytes: int) -> int:
    return sum(one.length + request_bytes for one in ranges)


def cheapest(locator: Locator, rows: list[int], request_bytes: int, most: int) -> int:
    """The least cost of any way to cut rows in order of their offsets into ranges, by trying all of them."""
    best = None
    for cuts in itertools.product((False, True), repeat=max(0, len(rows) - 1)):
        groups: list[list[int]] = [[rows[0]]] if rows else []
        for row, is_cut in zip(rows[1:], cuts):
            groups += [[row]] if is_cut else []
            if not is_cut:
                groups[-1].append(row)
        lengths = [locator.offsets[g[-1]] + locator.lengths[g[-1]] - locator.offsets[g[0]] for g in groups]
        if all(length <= most or len(group) == 1 for length, group in zip(lengths, groups)):
            total = sum(lengths) + request_bytes * len(groups)
            best = total if best is None else min(best, total)
    return best or 0


@QUICK
@given(locators(), st.data(), st.integers(1, 2000), st.integers(0, 400))
def test_ranges_cover_what_is_wanted_within_their_bound(
    locator: Locator, data: st.DataObject, most: int, request_bytes: int
) -> None:
    wanted = data.draw(st.sets(st.sampled_from(range(locator.row_total)))) if locator.row_total else set()
    ranges = list(coalesce(locator, wanted, request_bytes=request_bytes, max_range_bytes=most))
    assert sorted(row for one in ranges for row in one.rows) == sorted(wanted)
    for one in ranges:
        position = one.offset
        for row in one.rows:
            assert locator.segments[locator.segment_numbers[row]] == one.segment
            assert position <= locator.offsets[row]
            position = locator.offsets[row] + locator.lengths[row]
        assert position == one.offset + one.length
        # A chunk that is larger than a range comes alone.
        assert one.length <= most or len(one.rows) == 1


@QUICK
@given(locators(), st.data(), st.integers(1, 2000), st.integers(0, 400))
def test_no_other_ranges_cost_less(locator: Locator, data: st.DataObject, most: int, request_bytes: int) -> None:
    rows = [row for row in range(locator.row_total) if locator.segment_numbers[row] == 0]
    wanted = sorted(
        data.draw(st.sets(st.sampled_from(rows), max_size=9)) if rows else set(), key=lambda row: locator.offsets[row]
    )
    ranges = coalesce(locator, wanted, request_bytes=request_bytes, max_range_bytes=most)
    assert cost(ranges, request_bytes) == cheapest(locator, wanted, request_bytes, most)


@pytest.mark.parametrize(
    ("request_bytes", "most", "ranges"), [(10, 120, 1), (9, 120, 2), (10, 119, 2), (0, 1, 2), (1000, 120, 1)]
)
def test_bounds_are_kept_to_the_byte(request_bytes: int, most: int, ranges: int) -> None:
    segment = SegmentRef(PACK, "0" * 64, 1000)
    locator = Locator("", (segment,), array("I", [0, 0]), array("I", [8, 118]), array("I", [100, 10]), bytes(2))
    assert len(list(coalesce(locator, [0, 1], request_bytes=request_bytes, max_range_bytes=most))) == ranges


def test_neighbours_are_one_range_even_when_requests_cost_nothing() -> None:
    segment = SegmentRef(PACK, "0" * 64, 1000)
    locator = Locator("", (segment,), array("I", [0, 0]), array("I", [8, 108]), array("I", [100, 10]), bytes(2))
    assert len(list(coalesce(locator, [0, 1], request_bytes=0, max_range_bytes=1000))) == 1


def test_chunks_that_lie_over_one_another_are_fetched_together() -> None:
    segment = SegmentRef(PACK, "0" * 64, 1000)
    locator = Locator(
        "", (segment,), array("I", [0, 0, 0]), array("I", [8, 50, 60]), array("I", [100, 10, 90]), bytes(3)
    )
    ranges = coalesce(locator, [0, 1, 2], request_bytes=10, max_range_bytes=1000)
    assert list(ranges) == [Fetch(segment, 8, 142, array("I", [0, 1, 2]))]


# A 60 GB image over a long way: 240 000 chunks of 256 KiB, of which each takes 100 KiB in storage


CONNECTIONS = 4
ENCODED = 100 << 10
ROWS_OF_SEGMENT = (32 << 20) // ENCODED
SEGMENTS = 730


@pytest.fixture(name="image", scope="module")
def image_fixture() -> Locator:
    total = ROWS_OF_SEGMENT * SEGMENTS
    return Locator(
        "",
        tuple(SegmentRef(PACK, f"{number:064x}", 32 << 20) for number in range(SEGMENTS)),
        array("I", (row // ROWS_OF_SEGMENT for row in range(total))),
        array("I", (8 + row % ROWS_OF_SEGMENT * ENCODED for row in range(total))),
        array("I", [ENCODED]) * total,
        bytes([1]) * total,
    )


def chosen(locator: Locator, share: float) -> array[int]:
    source = random.Random(1)
    return array("I", (row for row in range(locator.row_total) if source.random() < share))


def pulled(locator: Locator, rows: array[int], link: LinkCost, request_bytes: int) -> tuple[int, int, float]:
    """Requests, bytes, and seconds over the connections."""
    ranges = list(coalesce(locator, rows, request_bytes=request_bytes, max_range_bytes=MAX_RANGE_BYTES))
    total = sum(one.length for one in ranges)
    seconds = (len(ranges) * link.latency_seconds + total / link.bytes_per_second) / CONNECTIONS
    return len(ranges), total, seconds


def test_half_of_an_image_over_a_long_way(image: Locator) -> None:
    link = LinkCost(latency_seconds=0.1, bytes_per_second=25e6)
    requests, _total, seconds = pulled(image, chosen(image, 0.5), link, link.request_bytes)
    assert requests <= 5000
    assert seconds <= 360


@pytest.mark.parametrize("share", [0.1, 0.25, 0.9])
def test_no_fixed_gap_is_faster(image: Locator, share: float) -> None:
    link = LinkCost(latency_seconds=0.1, bytes_per_second=25e6)
    rows = chosen(image, share)
    _requests, _total, seconds = pulled(image, rows, link, link.request_bytes)
    fixed = [pulled(image, rows, link, gap)[2] for gap in (16 << 10, 256 << 10, 1 << 20)]
    assert seconds <= min(fixed)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_nearby_hardly_more_is_fetched_than_wanted(image: Locator, share: float) -> None:
    link = LinkCost(latency_seconds=0.001, bytes_per_second=25e6)
    rows = chosen(image, share)
    _requests, total, _seconds = pulled(image, rows, link, link.request_bytes)
    assert total <= 1.1 * len(rows) * ENCODED
