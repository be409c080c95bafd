# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many logins one address may try, decided before the body of a request is read.

Each address has a bucket of tokens that fills slowly. A login takes one, and gives it back if it succeeds, so that a
controller that logs in for a thousand hosts is never kept waiting, and whoever guesses soon is.

A refusal is sent after a pause. To read a request and to refuse it is work, too: without the pause, somebody who asks
again at each refusal would take a good part of the server by a few connections.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from catalog_server import error_responses
from catalog_server.errors import LockedOut
from catalog_server.networks import network_of

_LOGIN = re.compile(r"/api(/v1)?/auth/token\Z")
_MOST_ADDRESSES = 10_000
REFUSAL_SECONDS = 1.0
# Refusals that wait at a time; each holds a connection, so the others are sent at once.
MOST_REFUSALS = 500
# In the log, why such a login was refused
TOO_MANY = "too_many_from_address"


class LoginLimits:
    """The buckets of all addresses; those that are full are not kept."""

    def __init__(self, burst: int, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        # Tokens, and when there were so many
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, network: str) -> int:
        """Take a token; return 0, or if there is none, after how many seconds there will be one."""
        tokens = self._tokens(network)
        if tokens < 1:
            return math.ceil((1 - tokens) / self._per_second)
        self._keep(network, tokens - 1)
        return 0

    def give_back(self, network: str) -> None:
        """Return the token of a login that succeeded."""
        self._keep(network, self._tokens(network) + 1)

    def _tokens(self, network: str) -> float:
        tokens, at = self._buckets.get(network, (self._burst, self._clock()))
        return min(self._burst, tokens + (self._clock() - at) * self._per_second)

    def _keep(self, network: str, tokens: float) -> None:
        self._buckets.pop(network, None)
        if tokens < self._burst:
            self._buckets[network] = (tokens, self._clock())
        if len(self._buckets) > _MOST_ADDRESSES:
            # The one that was used least lately has the most tokens, as good as any.
            self._buckets.popitem(last=False)


class LimitLogins:
    """Answers 429 to the logins of an address that has tried too many."""

    def __init__(
        self,
        app: ASGIApp,
        limits: LoginLimits,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
        refused: Callable[[str, str | None], None] = lambda address, request_id: None,
    ) -> None:
        """``refused`` learns of each that is refused: its address, and the id of the request."""
        self.app = app
        self.limits = limits
        self.refused = refused
        self._pause = pause
        self._refusals = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not _LOGIN.match(scope["path"]):
            await self.app(scope, receive, send)
            return
        address = (scope.get("client") or [""])[0]
        network = network_of(address)
        wait = self.limits.take(network)
        if wait:
            scope.get("logged", {}).update(error=LockedOut.code, reason=TOO_MANY)
            self.refused(address, scope.get("request_id"))
            await self._hold_back()
            headers = {"Retry-After": str(wait), "Connection": "close"}
            reply = error_responses.reply(
                LockedOut.code, "Too many logins from your address: try again later.", headers
            )
            await reply(scope, receive, send)
            return

        async def send_and_give_back(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                self.limits.give_back(network)
            await send(message)

        await self.app(scope, receive, send_and_give_back)

    async def _hold_back(self) -> None:
        if self._refusals >= MOST_REFUSALS:
            return
        self._refusals += 1
        try:
            await self._pause(REFUSAL_SECONDS)
        finally:
            self._refusals -= 1
