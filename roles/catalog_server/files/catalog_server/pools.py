# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Threads for blocking work, apart by what they wait for, so that nobody waits behind somebody slow.

Readers use the default pool of the framework. Writers wait for the database's one lock, object bytes for a disk, and
passwords for a core: each kind has a pool of its own, and passwords few threads that let all others go first. Whoever
waits for a thread holds none, waits in the order in which it came, and not for ever.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
import functools
import math
import os
import sys
import threading
import typing as t
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
from anyio import CapacityLimiter, to_thread

from catalog_server.errors import Unavailable
from catalog_server.settings import Settings

Parameters = t.ParamSpec("Parameters")
Result = t.TypeVar("Result")

_WAIT_SECONDS = 30.0
# A commit takes seconds, and whoever waits has sent all of its index.
_COMMIT_WAIT_SECONDS = 300.0
_MOST_WAITING = 2000
_MOST_LOGINS_WAITING = 500
_NICE = 5


@dataclass(frozen=True)
class PoolState:
    """How many threads a pool has, how many of them work, and how many requests wait for one."""

    threads: int
    busy: int
    waiting: int


def limiter_state(limiter: CapacityLimiter) -> PoolState:
    """Return the state of a limiter of threads."""
    found = limiter.statistics()
    return PoolState(int(found.total_tokens), found.borrowed_tokens, found.tasks_waiting)


class Pool:
    """So many threads, and a line before them."""

    def __init__(self, threads: int, what: str, wait_seconds: float = _WAIT_SECONDS) -> None:
        self._wait_seconds = wait_seconds
        self._turns = CapacityLimiter(threads)
        # Whoever has a turn gets a thread.
        self._threads = CapacityLimiter(math.inf)
        self._what = what

    async def run(self, call: Callable[[], Result]) -> Result:
        """Call ``call`` in a thread.

        :raises Unavailable: too many wait already, or it took too long
        """
        if self._turns.statistics().tasks_waiting >= _MOST_WAITING:
            raise _busy(self._what)
        mine = object()
        try:
            with anyio.fail_after(self._wait_seconds):
                await self._turns.acquire_on_behalf_of(mine)
        except TimeoutError:
            raise _busy(self._what) from None
        try:
            return await to_thread.run_sync(call, limiter=self._threads)
        finally:
            self._turns.release_on_behalf_of(mine)

    async def close(self, call: Callable[[], None]) -> None:
        """Call what closes something, in a thread and without a turn. A request that is cancelled waits for it, too.

        It takes no time, unless a storage does not answer.
        """
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(call, limiter=self._threads)

    def state(self) -> PoolState:
        """Return how busy it is."""
        return limiter_state(self._turns)


class LoginPool:
    """Few threads of low priority for what costs a core. Whoever is known goes first."""

    def __init__(self, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, "login", initializer=_be_nice)
        self._count = self._free = threads
        self._known: collections.deque[asyncio.Future[None]] = collections.deque()
        self._unknown: collections.deque[asyncio.Future[None]] = collections.deque()

    async def run(self, call: Callable[[], Result], *, first: bool) -> Result:
        """Call ``call`` in a thread, before everybody who waits and is not ``first``.

        :raises Unavailable: too many wait already, or it took too long
        """
        await self._turn(self._known if first else self._unknown)
        try:
            run = contextvars.copy_context().run
            return await asyncio.get_running_loop().run_in_executor(self._executor, run, call)
        finally:
            self._pass_on()

    async def _turn(self, line: collections.deque[asyncio.Future[None]]) -> None:
        if self._free:
            self._free -= 1
            return
        if len(line) >= _MOST_LOGINS_WAITING:
            raise _busy("log in")
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(mine)
        try:
            await asyncio.wait_for(asyncio.shield(mine), _WAIT_SECONDS)
        except BaseException as error:
            if mine.done():
                # It was given the turn at the very end.
                self._pass_on()
            else:
                line.remove(mine)
            if isinstance(error, TimeoutError):
                raise _busy("log in") from None
            raise

    def _pass_on(self) -> None:
        for line in (self._known, self._unknown):
            if line:
                line.popleft().set_result(None)
                return
        self._free += 1

    def state(self) -> PoolState:
        """Return how busy it is."""
        return PoolState(self._count, self._count - self._free, len(self._known) + len(self._unknown))

    def close(self) -> None:
        """Let the threads end."""
        self._executor.shutdown(wait=False)


def _be_nice() -> None:
    # Of Linux, where it is a property of a thread; elsewhere nothing is lost without it.
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


class Turns:
    """Lets those of one name go one after the other."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._counts: collections.Counter[str] = collections.Counter()

    @asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[None]:
        """Wait for the others of that name.

        :raises Unavailable: it took too long
        """
        lock = self._locks.setdefault(name, asyncio.Lock())
        self._counts[name] += 1
        try:
            try:
                await asyncio.wait_for(lock.acquire(), _WAIT_SECONDS)
            except TimeoutError:
                raise _busy("log in") from None
            try:
                yield
            finally:
                lock.release()
        finally:
            self._counts[name] -= 1
            if not self._counts[name]:
                del self._counts[name], self._locks[name]


def _busy(what: str) -> Unavailable:
    return Unavailable(f"Too many requests wait to {what}; try again.", retry_after=1)


@dataclass(frozen=True)
class Pools:
    """The pools of one process; made where its event loop runs."""

    writes: Pool
    objects: Pool
    commits: Pool
    logins: LoginPool

    @classmethod
    def of(cls, settings: Settings) -> Pools:
        """The pools that the settings ask for."""
        return cls(
            writes=Pool(settings.writers, "write"),
            objects=Pool(settings.object_threads, "move objects"),
            commits=Pool(settings.commits_at_once, "commit", _COMMIT_WAIT_SECONDS),
            logins=LoginPool(max(1, ((os.cpu_count() or 1) - 1) // settings.workers)),
        )


class HasPools(t.Protocol):
    """What a handler gets to know its pools by."""

    @property
    def pools(self) -> Pools: ...


WithPools = t.TypeVar("WithPools", bound=HasPools)


def writes(
    handler: Callable[t.Concatenate[WithPools, Parameters], Result],
) -> Callable[t.Concatenate[WithPools, Parameters], Coroutine[t.Any, t.Any, Result]]:
    """Decorate a handler, a plain function whose first parameter is ``context``, to run in the pool of writers."""

    @functools.wraps(handler)
    async def run(context: WithPools, *arguments: Parameters.args, **options: Parameters.kwargs) -> Result:
        return await context.pools.writes.run(functools.partial(handler, context, *arguments, **options))

    return run
