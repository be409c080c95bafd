# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""If the server can work, asked at most once a second however many ask."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from catalog_server.errors import Unavailable

FRESH_SECONDS = 1.0


class Readiness:
    """The answer of a check, and how old it is."""

    def __init__(self, check: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._check = check
        self._clock = clock
        self._lock = threading.Lock()
        self._checked_at: float | None = None
        self._problem: Unavailable | None = None

    def check(self) -> None:
        """:raises Unavailable: the server cannot work, or could not a moment ago"""
        with self._lock:
            if self._checked_at is None or self._clock() - self._checked_at >= FRESH_SECONDS:
                self._problem = self._ask()
                self._checked_at = self._clock()
            problem = self._problem
        if problem is not None:
            raise Unavailable(problem.message, retry_after=problem.retry_after)

    def _ask(self) -> Unavailable | None:
        try:
            self._check()
        except Unavailable as problem:
            return problem
        return None
