# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a connection may cost before the application has seen anything of it.

uvicorn bounds neither the head of a request nor the time that it takes to come, and one byte switches off the timeout
of a kept connection. Here a head has 64 KiB, 100 fields and 20 seconds (431 and 408, RFC 9110 and RFC 6585), a body
and an answer must move at a least rate, and connections that are too many (see ``connections.py``) are answered by 503.
What does not belong to a body, such as trailers, is bounded like a head.
"""

from __future__ import annotations

import asyncio
import json
import logging
import typing as t
from dataclasses import dataclass

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from catalog_server.connections import REASONS, OpenConnections, Place

MAX_HEAD_BYTES = 64 << 10
MAX_FIELDS = 100
# Requests that wait on one connection for the answer to the one before
MAX_PIPELINED = 32
# A body that brings less than this in ``body_seconds`` is given up, unless it is the server that does not read.
LEAST_BODY_BYTES = 16 << 10
# How long a client that is sent away may take to read why; what it still sends is thrown away.
LINGER_SECONDS = 2.0
_SLICE_BYTES = 16 << 10

_TEXTS = {
    400: ("Bad Request", "bad_request", "The request is not valid HTTP."),
    408: ("Request Timeout", "request_timeout", "The request did not arrive in time."),
    431: ("Request Header Fields Too Large", "head_too_large", "The head of the request is too large."),
    503: ("Service Unavailable", "unavailable", ""),
}

_log = logging.getLogger("catalog_server.connections")


@dataclass(frozen=True)
class Limits:
    """What one connection may take."""

    # From the first byte of a head, and from the beginning of a connection, to the end of the head
    head_seconds: float
    # In which a body brings ``LEAST_BODY_BYTES``
    body_seconds: float
    # In which the client takes what is ready to be sent
    answer_seconds: float


class LimitedProtocol(HttpToolsProtocol):
    """One connection; see ``protocol_with``."""

    limits: t.ClassVar[Limits]
    opened: t.ClassVar[OpenConnections]

    def __init__(self, *arguments: t.Any, place: Place | None = None, **options: t.Any) -> None:
        """``place`` is that of a connection that was counted already."""
        super().__init__(*arguments, **options)
        self._place = place
        self.is_connected = False
        # Requests that have no whole answer yet
        self._unfinished: list[RequestResponseCycle] = []
        self._is_body = False
        self._is_refused = False
        # Of the head, or of what has come of the body without being a part of its content
        self._head_bytes = 0
        self._body_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._answer_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.is_connected = True
        # Whatever is not sent yet counts: one block of an answer is held, and the timer of the answer runs. With 0 a
        # TLS transport of uvloop would pause for ever.
        transport.set_write_buffer_limits(high=1, low=0)
        if self._place is None:
            self._place = self.opened.open(self.client[0] if self.client else "")
        if self._place is None:
            self._is_refused = True
            transport.abort()
        elif self._place.refused is not None:
            self._refuse(503, REASONS[self._place.refused])
        else:
            self._arm(self.limits.head_seconds, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._disarm_answer()
        if self._place is not None:
            self.opened.close(self._place)
        super().connection_lost(exc)
        # The library tells only the last of several requests.
        for cycle in self._unfinished:
            cycle.disconnected = not cycle.response_complete
            cycle.message_event.set()

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
        self._unfinished = [cycle for cycle in self._unfinished if not cycle.response_complete]
        self._unfinished.append(self.cycle)

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

    def _refuse(self, status: int, why: str = "") -> None:
        reason, word, message = _TEXTS[status]
        self._is_refused = True
        if status != 503:
            _log.warning("connection refused", extra={"status": status, "client": (self.client or [None])[0]})
        body = json.dumps({"message": why or message, "code": status, "error": word}).encode()
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
