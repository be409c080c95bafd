# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Waiting for a condition with a deadline. Each look is a sign of life for the controller."""

from __future__ import annotations

import dataclasses
import time
import typing as t

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 3.0


@dataclasses.dataclass(frozen=True)
class Patience:
    """Deadlines in seconds, and the clock by which they are measured.

    ``quiet_seconds`` is how long a registration may still land after the prlctl that asked for it has ended.
    ``kill_seconds`` is how long the process of a VM may take to end. ``alive`` is called at each look; an exception of
    it ends the waiting.
    """

    quiet_seconds: float = 5.0
    kill_seconds: float = 30.0
    clock: t.Callable[[], float] = time.monotonic
    sleep: t.Callable[[float], None] = time.sleep
    alive: t.Callable[[], None] = lambda: None

    def wait_for(self, condition: t.Callable[[], bool], timeout_seconds: float) -> bool:
        """Return True as soon as the condition holds, or False if it does not within the time."""
        deadline = self.clock() + timeout_seconds
        pause_seconds = _FIRST_PAUSE_SECONDS
        while not condition():
            self.alive()
            left_seconds = deadline - self.clock()
            if left_seconds <= 0:
                return False
            self.sleep(min(pause_seconds, left_seconds))
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
        return True
