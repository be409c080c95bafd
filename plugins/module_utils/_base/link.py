# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What a request costs on the way to a storage, measured from requests that were made. Pure."""

from __future__ import annotations

import math
import statistics
import typing as t
from dataclasses import dataclass

# A smaller answer says nothing about the rate: most of its time is the time to its first byte.
LEAST_RATED_BYTES = 256 << 10
# Whatever is measured, a request is never taken to cost more than this.
MOST_COST_BYTES = 8 << 20


@dataclass(frozen=True)
class Sample:
    """One request over a connection that was open already.

    ``seconds`` counts from sending the request to the last byte, ``first_byte_seconds`` to the first one; ``count``
    is the bytes of the answer.
    """

    first_byte_seconds: float
    count: int
    seconds: float


@dataclass(frozen=True)
class LinkCost:
    """Time to the first byte of an answer, and the rate of each connection while all of them are at work."""

    latency_seconds: float
    bytes_per_second: float

    @property
    def request_bytes(self) -> int:
        """Bytes that a connection could move in the time that one more request takes.

        A power of two, rounded down, or 0: two measurements that differ a little make the same plan.
        """
        count = min(int(self.latency_seconds * self.bytes_per_second), MOST_COST_BYTES)
        return 1 << (count.bit_length() - 1) if count > 0 else 0


# Taken as long as nothing is measured: a request costs as much as 256 KiB.
DEFAULT_LINK = LinkCost(latency_seconds=0.020, bytes_per_second=16e6)


def estimate(samples: t.Sequence[Sample], *, sharing: int) -> LinkCost:
    """Return the cost of requests over ``sharing`` connections, from samples that were taken one after the other.

    One connection cannot tell whether several share its rate, as on a full line, or whether each gets as much, as over
    a long way. The value lies between the two, a factor of the square root of ``sharing`` away from either: ranges that
    are joined by a cost that is wrong by 2 take hardly longer. Without samples that tell, the value is that of
    ``DEFAULT_LINK``.
    """
    if sharing < 1:
        raise ValueError("at least one connection")
    latency = DEFAULT_LINK.latency_seconds
    if samples:
        latency = statistics.median_low(max(0.0, sample.first_byte_seconds) for sample in samples)
    rated = [sample for sample in samples if sample.count >= LEAST_RATED_BYTES]
    seconds = sum(max(0.0, sample.seconds - sample.first_byte_seconds) for sample in rated)
    if seconds <= 0:
        return LinkCost(latency, DEFAULT_LINK.bytes_per_second)
    return LinkCost(latency, sum(sample.count for sample in rated) / seconds / math.sqrt(sharing))
