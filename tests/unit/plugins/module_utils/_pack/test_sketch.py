# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import tracemalloc

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import sketch
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack import test_plan
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import QUICK
from hypothesis import given
from hypothesis import strategies as st


def of(*numbers: int) -> sketch.Sketch:
    return sketch.of(test_plan.sketch({"a": numbers}))


@pytest.mark.parametrize("shared", [0, 100, 1000, 1900, 2000])
def test_what_two_listings_have_in_common_is_told_roughly(shared: int) -> None:
    one = of(*range(1, 2001))
    other = of(*range(2001 - shared, 4001 - shared))
    assert sketch.similarity(one, other) == pytest.approx(shared / 2000, abs=0.1)


@pytest.mark.parametrize("total", [200, 1000, 5000])
def test_a_large_seed_that_has_all_is_told_from_one_that_has_half(total: int) -> None:
    wanted = of(*range(1, total + 1))
    assert sketch.similarity(wanted, of(*range(1, 3 * total))) > 0.8
    assert 0.3 < sketch.similarity(wanted, of(*range(total // 2, 3 * total))) < 0.7


@QUICK
@given(st.lists(st.integers(0, 100), max_size=100), st.lists(st.integers(0, 100), max_size=100))
def test_of_few_chunks_it_is_exact(wanted: list[int], others: list[int]) -> None:
    mine, theirs = set(wanted) - {0}, set(others) - {0}
    found = sketch.similarity(of(*wanted), of(*others))
    assert of(*wanted).count == len(mine)
    if mine and len(mine | theirs) <= sketch.SIZE:
        assert found == pytest.approx(len(mine & theirs) / len(mine))
    assert 0 <= found <= 1


def test_order_repeats_and_holes_do_not_count() -> None:
    assert of(3, 0, 1, 1, 2, 0) == of(1, 2, 3)
    assert of(0, 0) == of() == sketch.Sketch(0, ())
    assert sketch.similarity(of(), of(1)) == sketch.similarity(of(1), of()) == 0


@pytest.mark.parametrize("total", [500, 3000])
def test_many_chunks_are_counted_roughly(total: int) -> None:
    assert of(*range(1, total + 1)).count == pytest.approx(total, rel=0.3)


@QUICK
@given(st.lists(st.integers(0, 1000), max_size=300))
def test_a_sketch_is_read_as_it_was_written(numbers: list[int]) -> None:
    made = of(*numbers)
    text = sketch.encode(made)
    assert sketch.decode(text) == made
    assert len(text) < 1500


@pytest.mark.parametrize("text", ["", "AAAA", "not base64!", "AAAAAAA="])
def test_what_is_not_a_sketch_is_none(text: str) -> None:
    assert sketch.decode(text) is None


def test_a_sketch_takes_no_memory_for_each_chunk() -> None:
    listing = test_plan.sketch({"a": range(1, 20_000)})
    tracemalloc.start()
    sketch.of(listing)
    _taken, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000
