# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waiting for what other processes do."""

from __future__ import annotations

import time
import typing as t

_LOOK_SECONDS = 0.05


def holds_within(seconds: float, condition: t.Callable[[], bool]) -> bool:
    """Wait for a condition, and no longer than that; return whether it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_LOOK_SECONDS)
    return True
