# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The schedule of delays between attempts. Pure: whoever retries sleeps, and decides what is worth retrying."""

from __future__ import annotations

import random
import typing as t


def delays(
    attempts: int,
    first_seconds: float = 0.5,
    longest_seconds: float = 30.0,
    jitter: t.Callable[[], float] = random.random,
) -> t.Iterator[float]:
    """The ``attempts - 1`` delays between so many attempts.

    Each is between half and all of a bound that doubles from ``first_seconds`` up to ``longest_seconds``; ``jitter``
    says where, from 0 to 1. So hosts that failed together do not come back together.
    """
    bound = first_seconds
    for _attempt in range(attempts - 1):
        bound = min(bound, longest_seconds)
        yield bound * (0.5 + 0.5 * jitter())
        bound *= 2
