# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a connection may cost before the application has seen anything of it.

uvicorn bounds neither the head of a request nor the time that it takes to come, and one byte switches off the timeout
of a kept connection. Here a head has 64 KiB, 100 fields and 20 seconds (431 and 408, RFC 9110 and RFC 6585), a body
and an answer must move at a least rate, and beyond a number of connections new ones are answered by 503. What does not
belong to a body, such as trailers, is bounded like a head.
"""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import typing as t
from dataclasses import dataclass

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 << 10
MAX_FIELDS = 100
# Requests that wait on one connection for the answer to the one before
MAX_PIPELINED = 32
# A body that brings less than this in ``body_seconds`` is given up, unless it is the server that does not read.
LEAST_BODY_BYTES = 16 << 10
# How long a client that is sent away may take to read why; what it still sends is thrown away.
LINGER_SECONDS = 2.0
# Descriptors that are no connections: database, logs, objects that are being sent.
RESERVED_DESCRIPTORS = 256
_SLICE_BYTES = 16 << 10
_FULL_SHARE = 0.8

_TEXTS = {
    400: ("Bad Request", "bad_request", "The request is not valid HTTP."),
    408: ("Request Timeout", "request_timeout", "The request did not arrive in time."),
    431: ("Request Header Fields Too Large", "head_too_large", "The head of the request is too large."),
    503: ("Service Unavailable", "unavailable", "The server has too many connections; try again."),
}

_log = logging.getLogger("catalog_server.connections")


def raise_descriptor_limit() -> int:
    """Raise the limit of open files to the hard one; return how many connections that leaves."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1 << 20 if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(wanted - RESERVED_DESCRIPTORS, wanted // 2)


@dataclass(frozen=True)
class Limits:
    """What one connection may take, and how many there may be."""

    connections: int
    # From the first byte of a head, and from the beginning of a connection, to the end of the head
    head_seconds: float
    # In which a body brings ``LEAST_BODY_BYTES``
    body_seconds: float
    # In which the client takes what is ready to be sent
    answer_seconds: float


@dataclass
class OpenConnections:
    """How many connections are open, and how many there may be."""

    limit: int
    count: int = 0


class LimitedProtocol(HttpToolsProtocol):
    """One connection; see ``protocol_with``."""

    limits: t.ClassVar[Limits]
    opened: t.ClassVar[OpenConnections]

    def __init__(self, *arguments: t.Any, **options: t.Any) -> None:
        super().__init__(*arguments, **options)
        self._is_body = False
        self._is_refused = False
        # Of the head, or of what has come of the body without being a part of its content
        self._head_bytes = 0
        self._body_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._answer_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.opened.count += 1
        # Whatever is not sent yet counts: one block of an answer is held, and the timer of the answer runs. With 0 a
        # TLS transport of uvloop would pause for ever.
        transport.set_write_buffer_limits(high=1, low=0)
        count, limit = len(self.connections), self.limits.connections
        if count > limit:
            self._refuse(503)
            return
        if count == int(_FULL_SHARE * limit):
            _log.warning("many connections", extra={"connections": count, "limit": limit})
        self._arm(self.limits.head_seconds, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._disarm_answer()
        self.opened.count -= 1
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if not self._is_body and self._timer is None:
            self._arm(self.limits.head_seconds, self._head_is_late)
        for start in range(0, len(data), _SLICE_BYTES):
            piece = data[start : start + _SLICE_BYTES]
            # Whatever ends in this piece begins the count anew.
            self._head_bytes += len(piece)
            super().data_received(piece)
            if self._is_refused or self.transport.is_closing() or self.parser is None:
                return
            if self._head_bytes > MAX_HEAD_BYTES or len(self.headers or ()) > MAX_FIELDS:
                self._refuse(431)
                return
            if len(self.pipeline) > MAX_PIPELINED:
                self._refuse(400)
                return

    def send_400_response(self, msg: str) -> None:
        self._refuse(400)

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        if len(self.headers) > MAX_FIELDS:
            # Not for the application; ``data_received`` answers.
            return
        self._is_body = True
        self._body_bytes = 0
        self._arm(self.limits.body_seconds, self._body_is_slow)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if len(self.headers) > MAX_FIELDS:
            return
        self._head_bytes = 0
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if len(self.headers) > MAX_FIELDS:
            return
        self._is_body = False
        self._head_bytes = 0
        self._disarm()
        super().on_message_complete()

    def pause_writing(self) -> None:
        self._disarm_answer()
        self._answer_timer = self.loop.call_later(self.limits.answer_seconds, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        self._disarm_answer()
        super().resume_writing()

    def _head_is_late(self) -> None:
        self._timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            # The answer to the request before is still under way.
            self._arm(self.limits.head_seconds, self._head_is_late)
        elif self._head_bytes:
            self._refuse(408)
        elif not self.transport.is_closing():
            self.transport.close()

    def _body_is_slow(self) -> None:
        self._timer = None
        if self._body_bytes < LEAST_BODY_BYTES and not self.flow.read_paused:
            self.transport.abort()
            return
        self._body_bytes = 0
        self._arm(self.limits.body_seconds, self._body_is_slow)

    def _arm(self, seconds: float, late: t.Callable[[], None]) -> None:
        self._disarm()
        self._timer = self.loop.call_later(seconds, late)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _disarm_answer(self) -> None:
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None

    def _refuse(self, status: int) -> None:
        reason, word, message = _TEXTS[status]
        self._is_refused = True
        if status != 503:
            _log.warning("connection refused", extra={"status": status, "client": (self.client or [None])[0]})
        body = json.dumps({"message": message, "code": status, "error": word}).encode()
        head = (
            f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()
            return
        self.transport.write(head.encode("ascii") + body)
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        # To close while there is something to read resets the connection, and the client would not see the answer.
        self.transport.write_eof()
        self._arm(LINGER_SECONDS, self.transport.abort)


def protocol_with(limits: Limits, opened: OpenConnections) -> type[LimitedProtocol]:
    """Return the class of connections that have these limits, and are counted in ``opened``."""

    class Limited(LimitedProtocol):
        """One connection."""

    Limited.limits = limits
    Limited.opened = opened
    return Limited
