# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What happens around every request: its id, its line in the log, and the limit of its body. Plain ASGI."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from catalog_server import error_responses, telemetry
from catalog_server.errors import CLIENT_LEFT, STATUSES, word_of

_log = logging.getLogger("catalog_server.requests")

_ENDS = "The server is being stopped, and could not finish this request."
_MISTAKE = "The server made a mistake; its log says which, under the id of this request."

# The most that is received from somebody whose credentials were not checked: a login has no more.
UNCHECKED_BYTES = 16 << 10

# The longest body that a request may have, by the route that it has found; None for a route that limits it itself.
Limit = Callable[[Scope], int | None]


class RequestId:
    """Gives each request an id, sends it back, writes one line when the request is done, and answers for mistakes.

    ``observe`` learns of each request that is done.
    """

    def __init__(self, app: ASGIApp, observe: Callable[[Done], None]) -> None:
        self.app = app
        self.observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["request_id"] = str(uuid.uuid4())
        # Whoever knows who asks writes it here.
        scope["logged"] = {}
        telemetry.request_id.set(scope["request_id"])
        exchange = Exchange(scope, receive, send)
        try:
            if _names_one_host(scope):
                await self.app(scope, exchange.receive, exchange.send)
            else:
                reply = error_responses.reply("bad_request", "A request has one header Host.", {"Connection": "close"})
                await reply(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            # The server ends, and does not wait any longer. The task ends here, so nobody else has to know.
            scope["logged"]["ended"] = "shutdown"
            if not exchange.status:
                reply = error_responses.reply("unavailable", _ENDS, {"Connection": "close", "Retry-After": "1"})
                await reply(scope, exchange.receive, exchange.send)
        except Exception:
            # All that is expected was turned into an answer further inside.
            _log.exception("unexpected error")
            if not exchange.status:
                reply = error_responses.reply("internal_error", _MISTAKE)
                await reply(scope, exchange.receive, exchange.send)
        finally:
            done = exchange.done()
            _write(scope, done)
            self.observe(done)


@dataclass(frozen=True)
class Done:
    """A request that is over: bytes are those of the bodies, ``route`` the template of its path if there is one."""

    method: str
    route: str | None
    status: int
    seconds: float
    bytes_in: int
    bytes_out: int
    # If it was a login or had an API key, and was refused: why
    refused: str | None = None


class Exchange:
    """One request and its answer, as far as they have come."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._begun = time.monotonic()
        self._client_left = False
        self._bytes_in = 0
        self._bytes_out = 0
        self.status = 0

    async def receive(self) -> Message:
        """Return what comes next of the request."""
        message = await self._receive()
        self._bytes_in += len(message.get("body", b""))
        if message["type"] == "http.disconnect" and not self.status:
            self._client_left = True
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._scope["request_id"]
            headers["X-Content-Type-Options"] = "nosniff"
            # Tokens, grants and URLs are in no cache; what may be says so itself.
            headers.setdefault("Cache-Control", "no-store")
        self._bytes_out += len(message.get("body", b""))
        await self._send(message)

    def done(self) -> Done:
        """Return what has become of it. A client that left got no answer, whatever was meant for it."""
        return Done(
            method=self._scope["method"],
            route=getattr(self._scope.get("route"), "path", None),
            status=CLIENT_LEFT if self._client_left else self.status,
            seconds=time.monotonic() - self._begun,
            bytes_in=self._bytes_in,
            bytes_out=self._bytes_out,
            refused=self._scope["logged"].get("reason"),
        )


def _write(scope: Scope, done: Done) -> None:
    quiet = "/health/" in scope["path"] and done.status == 200
    _log.log(
        logging.DEBUG if quiet else logging.INFO,
        "request",
        extra={
            "method": done.method,
            "path": scope["path"],
            "route": done.route,
            "status": done.status,
            **scope["logged"],
            "milliseconds": round(done.seconds * 1000, 1),
            "bytes_in": done.bytes_in,
            "bytes_out": done.bytes_out,
            "client": (scope.get("client") or [None])[0],
        },
    )


def _names_one_host(scope: Scope) -> bool:
    """Return True if the request has one header Host, or is of HTTP/1.0 and has none (RFC 9112, section 3.2)."""
    count = sum(name == b"host" for name, _value in scope["headers"])
    return count == 1 or (count == 0 and scope["http_version"] == "1.0")


class BodyLimit:
    """Ends a request whose body is longer than its route takes, before all of it is in memory.

    The credentials of a request with a long body are checked before all of it is received: to parse one costs more than
    a stranger may cost.
    """

    def __init__(self, app: ASGIApp, limit: Limit, identify: error_responses.Identify) -> None:
        self.app = app
        self.limit = limit
        self.identify = identify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        received = 0
        is_checked = False

        async def receive_some() -> Message:
            nonlocal received, is_checked
            # Only here is it known which route the request has found.
            limit = self.limit(scope)
            if limit is None:
                return await receive()
            announced = Headers(scope=scope).get("content-length", "")
            if not received and announced.isdigit() and int(announced) > limit:
                raise HTTPException(413, _too_large(limit), {"Connection": "close"})
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, _too_large(limit), {"Connection": "close"})
            if received > UNCHECKED_BYTES and not is_checked:
                await self._require_good_credentials(scope)
                is_checked = True
            return message

        await self.app(scope, receive_some, send)

    async def _require_good_credentials(self, scope: Scope) -> None:
        try:
            await self.identify(Request(scope))
        except CatalogError as error:
            raise HTTPException(STATUSES[word_of(error)], error.message, {"Connection": "close"}) from error


def _too_large(limit: int) -> str:
    return f"The body is longer than the {limit} bytes that this takes."
