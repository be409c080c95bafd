# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What happens around every request: its id, its line in the log, and the limit of its body. Plain ASGI."""

from __future__ import annotations

import logging
import time
import typing as t
import uuid
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from catalog_server import error_responses, telemetry

_log = logging.getLogger("catalog_server.requests")

_MISTAKE = "The server made a mistake; its log says which, under the id of this request."

# The longest body that a request may have; None for a route that limits it itself.
Limit = Callable[[Scope], int | None]


class RequestId:
    """Gives each request an id, sends it back, writes one line when the request is done, and answers for mistakes."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["request_id"] = str(uuid.uuid4())
        # Whoever knows who asks writes it here.
        scope["logged"] = {}
        telemetry.request_id.set(scope["request_id"])
        begun = time.monotonic()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = scope["request_id"]
                headers["X-Content-Type-Options"] = "nosniff"
                # Tokens, grants and URLs are in no cache; what may be says so itself.
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            if _names_one_host(scope):
                await self.app(scope, receive, send_with_id)
            else:
                reply = error_responses.reply("bad_request", "A request has one header Host.", {"Connection": "close"})
                await reply(scope, receive, send_with_id)
        except Exception:
            # All that is expected was turned into an answer further inside.
            _log.exception("unexpected error")
            if not status:
                await error_responses.reply("internal_error", _MISTAKE)(scope, receive, send_with_id)
        finally:
            self._write(scope, status, time.monotonic() - begun)

    @staticmethod
    def _write(scope: Scope, status: int, seconds: float) -> None:
        quiet = "/health/" in scope["path"] and status == 200
        _log.log(
            logging.DEBUG if quiet else logging.INFO,
            "request",
            extra={
                "method": scope["method"],
                "path": scope["path"],
                "route": getattr(scope.get("route"), "path", None),
                "status": status,
                **scope["logged"],
                "milliseconds": round(seconds * 1000, 1),
                "client": (scope.get("client") or [None])[0],
            },
        )


def _names_one_host(scope: Scope) -> bool:
    """Return True if the request has one header Host, or is of HTTP/1.0 and has none (RFC 9112, section 3.2)."""
    count = sum(name == b"host" for name, _value in scope["headers"])
    return count == 1 or (count == 0 and scope["http_version"] == "1.0")


class BodyLimit:
    """Ends a request whose body is longer than its route takes, before all of it is in memory."""

    def __init__(self, app: ASGIApp, limit: Limit) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = self.limit(scope) if scope["type"] == "http" else None
        if limit is None:
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdigit() and int(announced) > limit:
            response = error_responses.reply("payload_too_large", _too_large(limit), {"Connection": "close"})
            await response(scope, receive, send)
            return
        received = 0

        async def receive_some() -> Message:
            nonlocal received
            message = await receive()
            received += len(t.cast(bytes, message.get("body", b"")))
            if received > limit:
                raise HTTPException(413, _too_large(limit), {"Connection": "close"})
            return message

        await self.app(scope, receive_some, send)


def _too_large(limit: int) -> str:
    return f"The body is longer than the {limit} bytes that this takes."
