# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Threads for blocking work, apart by what they wait for, so that nobody waits behind somebody slow.

Readers use the default pool of the framework. Writers wait for the database's one lock, object bytes for a disk, and
passwords for a core: each kind has a pool of its own. Whoever waits for a thread holds none, waits in the order in
which it came, and not for ever.
"""

from __future__ import annotations

import functools
import math
import os
import typing as t
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

import anyio
from anyio import CapacityLimiter, to_thread

from catalog_server.errors import Unavailable
from catalog_server.settings import Settings

Parameters = t.ParamSpec("Parameters")
Result = t.TypeVar("Result")

_WAIT_SECONDS = 30.0
_MOST_WAITING = 2000


class Pool:
    """So many threads, and a line before them."""

    def __init__(self, threads: int, what: str) -> None:
        self._turns = CapacityLimiter(threads)
        # Whoever has a turn gets a thread.
        self._threads = CapacityLimiter(math.inf)
        self._what = what

    async def run(self, call: Callable[[], Result]) -> Result:
        """Call ``call`` in a thread.

        :raises Unavailable: too many wait already, or it took too long
        """
        if self._turns.statistics().tasks_waiting >= _MOST_WAITING:
            raise self._busy()
        mine = object()
        try:
            with anyio.fail_after(_WAIT_SECONDS):
                await self._turns.acquire_on_behalf_of(mine)
        except TimeoutError:
            raise self._busy() from None
        try:
            return await to_thread.run_sync(call, limiter=self._threads)
        finally:
            self._turns.release_on_behalf_of(mine)

    def _busy(self) -> Unavailable:
        return Unavailable(f"Too many requests wait to {self._what}; try again.", retry_after=1)


@dataclass(frozen=True)
class Pools:
    """The pools of one process; made where its event loop runs."""

    writes: Pool
    objects: Pool
    logins: Pool

    @classmethod
    def of(cls, settings: Settings) -> Pools:
        """The pools that the settings ask for."""
        return cls(
            writes=Pool(settings.writers, "write"),
            objects=Pool(settings.object_threads, "move objects"),
            logins=Pool(max(1, (os.cpu_count() or 1) - 1), "log in"),
        )


class HasPools(t.Protocol):
    """What a handler gets to know its pools by."""

    @property
    def pools(self) -> Pools: ...


def runs_in(
    choose: Callable[[Pools], Pool],
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Coroutine[t.Any, t.Any, Result]]]:
    """Decorate a handler, a plain function with a ``context``, to run in another pool than the default one."""

    def decorate(handler: Callable[Parameters, Result]) -> Callable[Parameters, Coroutine[t.Any, t.Any, Result]]:
        @functools.wraps(handler)
        async def run(*arguments: Parameters.args, **options: Parameters.kwargs) -> Result:
            context = t.cast(HasPools, options["context"])
            return await choose(context.pools).run(functools.partial(handler, *arguments, **options))

        return run

    return decorate


writes = runs_in(lambda pools: pools.writes)
logins = runs_in(lambda pools: pools.logins)
