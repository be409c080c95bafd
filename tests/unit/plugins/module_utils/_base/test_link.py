# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.link import (
    DEFAULT_LINK,
    MOST_COST_BYTES,
    LinkCost,
    Sample,
    estimate,
)

MIB = 1 << 20


def test_the_rate_is_that_behind_the_first_byte() -> None:
    samples = [Sample(0.1, 8 * MIB, 0.1 + 0.5), Sample(0.2, 8 * MIB, 0.2 + 0.5)]
    assert estimate(samples, sharing=1) == LinkCost(0.1, 16 * MIB)


def test_the_rate_of_several_connections_lies_between_all_of_it_and_their_share() -> None:
    samples = [Sample(0.1, 8 * MIB, 0.1 + 0.5)]
    assert estimate(samples, sharing=4) == LinkCost(0.1, 8 * MIB)


def test_one_slow_answer_is_not_the_latency() -> None:
    samples = [Sample(0.02, 1000, 0.03), Sample(3.0, 1000, 3.1), Sample(0.03, 1000, 0.04)]
    assert estimate(samples, sharing=1).latency_seconds == 0.03


@pytest.mark.parametrize("samples", [[], [Sample(0.1, 1000, 0.1001)], [Sample(0.1, MIB, 0.1)]])
def test_without_a_telling_sample_the_rate_is_the_default(samples: list[Sample]) -> None:
    assert estimate(samples, sharing=4).bytes_per_second == DEFAULT_LINK.bytes_per_second


def test_clocks_that_jump_give_no_negative_cost() -> None:
    link = estimate([Sample(-1.0, MIB, -2.0)], sharing=1)
    assert link.latency_seconds == 0.0
    assert link.request_bytes == 0


def test_connections_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="at least one"):
        estimate([], sharing=0)


@pytest.mark.parametrize(
    ("latency", "rate", "cost"),
    [
        (0.0, 1e9, 0),
        (0.001, 25e6, 16 << 10),
        (0.1, 25e6, 2 * MIB),
        (0.1, 26e6, 2 * MIB),
        (60.0, 1e9, MOST_COST_BYTES),
        (1.0, 1.0, 1),
    ],
)
def test_a_request_costs_what_could_move_meanwhile(latency: float, rate: float, cost: int) -> None:
    assert LinkCost(latency, rate).request_bytes == cost


def test_unmeasured_a_request_costs_256_kib() -> None:
    assert DEFAULT_LINK.request_bytes == 256 << 10
