# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Trying again: one wrapper for every idempotent call, bounded by time.

Pure but for ``sleep`` and ``clock``, which are handed in.
"""

from __future__ import annotations

import random
import time
import typing as t
from dataclasses import dataclass

Result = t.TypeVar("Result")


@dataclass(frozen=True)
class Patience:
    """How long a call is tried again, in seconds from the first failure without progress; 0 is not at all.

    The pauses between attempts double from ``first_seconds`` up to ``longest_seconds``.
    """

    seconds: float
    first_seconds: float = 0.5
    longest_seconds: float = 20.0


NEVER = Patience(0.0)


def delays(patience: Patience, jitter: t.Callable[[], float] = random.random) -> t.Iterator[float]:
    """Yield pauses without end.

    Each is between half and all of a bound that doubles; ``jitter`` says where, from 0 to 1. So hosts that failed
    together do not return together.
    """
    bound = patience.first_seconds
    while True:
        bound = min(bound, patience.longest_seconds)
        yield bound * (0.5 + 0.5 * jitter())
        bound *= 2


def attempt(
    call: t.Callable[[int], Result],
    again: t.Callable[[Exception], t.Optional[float]],
    patience: Patience,
    *,
    advanced: t.Callable[[Exception], bool] = lambda error: False,
    sleep: t.Callable[[float], None] = time.sleep,
    clock: t.Callable[[], float] = time.monotonic,
    jitter: t.Callable[[], float] = random.random,
) -> Result:
    """Return what ``call(number)`` returns, where ``number`` counts the attempts from 1 on.

    ``again(error)`` returns None if the error is final, otherwise the seconds that the other side asks for, which may
    be 0. The last error is raised when the patience is over. It begins anew if ``advanced(error)`` is
    True, which says that the attempt did a part of the work that the next one need not do.
    """
    pauses = delays(patience, jitter)
    number = 0
    failed_at: t.Optional[float] = None
    slept = 0.0
    while True:
        number += 1
        try:
            return call(number)
        except Exception as error:
            asked = again(error)
            if asked is None:
                raise
            now = clock()
            if advanced(error):
                pauses, failed_at, slept = delays(patience, jitter), None, 0.0
            failed_at = now if failed_at is None else failed_at
            pause = max(next(pauses), asked)
            # Also where the clock stands still, as it may while a host sleeps, this ends.
            if max(now - failed_at, slept) + pause > patience.seconds:
                raise
        sleep(pause)
        slept += pause
