# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""If the server can work, asked at most once a second however many ask."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError

from catalog_server.asking import Asking
from catalog_server.errors import Unavailable

FRESH_SECONDS = 1.0
# A check that takes longer is an answer, too.
SLOW_SECONDS = 5.0

_log = logging.getLogger("catalog_server.health")


class Readiness:
    """The answer of a check, and how old it is.

    One request waits for a check, and not for ever. The others get the answer of the one before, as anybody may ask,
    and a volume that does not answer would hold the threads that other requests need.
    """

    def __init__(
        self,
        check: Callable[[], Sequence[str]],
        clock: Callable[[], float] = time.monotonic,
        slow_seconds: float = SLOW_SECONDS,
    ) -> None:
        self._asking = Asking("readiness", check)
        self._clock = clock
        self._slow_seconds = slow_seconds
        self._checking = threading.Lock()
        self._begun_at = 0.0
        self._checked_at: float | None = None
        self._problem: Unavailable | None = None
        self._warnings: Sequence[str] = ()

    def check(self) -> Sequence[str]:
        """Return what the administrator should see to although the server can work.

        :raises Unavailable: the server cannot work, or could not a moment ago
        """
        if self._checking.acquire(blocking=False):
            try:
                self._refresh()
            finally:
                self._checking.release()
        elif self._checked_at is None or self._clock() - self._begun_at >= self._slow_seconds:
            raise _no_answer()
        problem = self._problem
        if problem is not None:
            raise Unavailable(problem.message, retry_after=problem.retry_after)
        return self._warnings

    def _refresh(self) -> None:
        self._begun_at = self._clock()
        if self._checked_at is not None and self._begun_at - self._checked_at < FRESH_SECONDS:
            return
        self._problem = self._ask()
        self._checked_at = self._clock()

    def _ask(self) -> Unavailable | None:
        try:
            self._warnings = self._asking.ask().result(self._slow_seconds)
        except TimeoutError:
            return _no_answer()
        except Unavailable as problem:
            return problem
        except CatalogError as problem:
            # What a storage says of its directories is for the log, and not for everybody.
            _log.error("not ready: %s", problem.message)
            return Unavailable("A storage cannot be used now; the server's log says why.")
        return None


def _no_answer() -> Unavailable:
    return Unavailable("The database or a storage has not answered yet.", retry_after=1)
