# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Answers of the metadata server: what they contain, or the error that they mean."""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import (
    ApiError,
    BadReply,
    BadRequest,
    Blocked,
    Conflict,
    Forbidden,
    Missing,
    StockServer,
    Throttled,
    TlsFailure,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unreachable,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._api.hints import HINTS
from ansible_collections.macfleet.parallels.plugins.module_utils._base.connection_errors import (
    AnswerTooLong,
    NotConnected,
    TlsRefused,
    UrlRefused,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._base.redact import redact, redact_url
from ansible_collections.macfleet.parallels.plugins.module_utils._base.transport import Response

_LONGEST_MESSAGE = 1000
_GATEWAY_STATUSES = (502, 503, 504)

_ERRORS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: Missing,
    409: Conflict,
    410: Conflict,
    413: TooLarge,
    422: BadRequest,
    429: Throttled,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
    507: Unavailable,
}


@dataclass(frozen=True)
class AnswerReader:
    """Reads the answers to one request to the server at ``base_url``.

    ``doing`` completes the sentence *Could not …*; ``secrets`` are left out of errors.
    """

    base_url: str
    doing: str
    secrets: tuple[str, ...] = field(repr=False)

    def json(self, response: Response) -> t.Any:
        """Return the decoded JSON of an answer; None for one without a body.

        :raises BadReply: it is not JSON
        """
        return None if response.status == 204 else self._decoded(response)

    def opaque(self, response: Response) -> bytes:
        """Return the bytes of an answer.

        :raises BadReply: they do not have the SHA-256 that its header ``X-Content-SHA256`` gives
        """
        digest = response.headers.get("x-content-sha256", "").strip().lower()
        if hashlib.sha256(response.body).hexdigest() != digest:
            raise self._error(BadReply, "the bytes that came do not have the digest that the server sent with them")
        return response.body

    def no_answer(self, error: NotConnected | AnswerTooLong, attempts: int) -> ApiError:
        """Return the error for a request that got no answer, or one that is too long."""
        code = error.code if isinstance(error, UrlRefused) else None
        return self._error(_kind(error), redact(error.message, self.secrets), code=code, attempts=attempts)

    def refusal(self, response: Response, attempts: int) -> ApiError:
        """Return the error that an answer other than 2xx means."""
        details: dict[str, t.Any] = {"status": response.status}
        for name, header in (("request_id", "x-request-id"), ("retry_after", "retry-after")):
            if response.headers.get(header):
                details[name] = response.headers[header][:100]
        if 300 <= response.status < 400:
            where = redact_url(response.headers.get("location", ""))
            return self._error(BadReply, f"the server answered {response.status} and points to {where!r}", details)
        try:
            body = self._decoded(response)
        except BadReply as error:
            return self._of_proxy(response.status, error, details, attempts)
        return self._of_server(response.status, body if isinstance(body, dict) else {}, details, attempts)

    def _of_proxy(self, status: int, unreadable: BadReply, details: dict[str, t.Any], attempts: int) -> ApiError:
        """Return the error for an answer that is not JSON: a proxy gave it, or something that is not a catalog."""
        if status == 413:
            reason = f"a proxy in front of the server answered {status}, the request is too large for it"
            return self._error(TooLarge, reason, details)
        if status in _GATEWAY_STATUSES:
            return self._error(Unavailable, f"the server answered {status}", details, attempts=attempts)
        unreadable.details.update(details)
        return unreadable

    def _of_server(
        self, status: int, body: t.Mapping[str, t.Any], details: dict[str, t.Any], attempts: int
    ) -> ApiError:
        """Return the error for an answer in JSON, with the server's own ``error`` word where it sent one."""
        word = body.get("error") if isinstance(body.get("error"), str) else None
        kind = _ERRORS.get(status, Unavailable if status >= 500 else ApiError)
        if word in ("tainted", "revoked"):
            kind = Blocked
        elif word is None and _is_of_stock_server(status, body):
            reason = "a stock Parallels DevOps server answers there, which has no such thing"
            return self._error(StockServer, reason, details)
        elif word is None and kind is Unavailable:
            word = "unavailable" if status in _GATEWAY_STATUSES else "internal_error"
        reason = redact(_one_line(body.get("message")), self.secrets) or f"the server answered {status}"
        return self._error(kind, reason, details, code=word, attempts=attempts)

    def _decoded(self, response: Response) -> t.Any:
        details = {"status": response.status}
        content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            what = f"{content_type[:60]!r}" if content_type else "no content type"
            raise self._error(BadReply, f"the server answered {response.status} with {what} instead of JSON", details)
        try:
            return json.loads(response.body.decode("utf-8"))
        except (ValueError, RecursionError):
            reason = f"the server answered {response.status} with JSON that cannot be read"
            raise self._error(BadReply, reason, details) from None

    def _error(
        self,
        kind: type[ApiError],
        reason: str,
        details: t.Mapping[str, t.Any] | None = None,
        *,
        code: str | None = None,
        attempts: int = 1,
    ) -> ApiError:
        reason = reason.strip().rstrip(".")
        tried = f" ({attempts} attempts)" if attempts > 1 else ""
        word = code or kind.code
        return kind(
            f"Could not {self.doing} at {redact_url(self.base_url)}: {reason}{tried}.",
            HINTS.get(word),
            {"attempts": attempts, **(details or {})},
            code=word,
        )


def _kind(error: NotConnected | AnswerTooLong) -> type[ApiError]:
    if isinstance(error, UrlRefused):
        return BadRequest
    if isinstance(error, AnswerTooLong):
        return BadReply
    return TlsFailure if isinstance(error, TlsRefused) else Unreachable


def _is_of_stock_server(status: int, body: t.Mapping[str, t.Any]) -> bool:
    """Return True if this is what a stock server says of a route that it does not have (prl-devops-service 1.0.6)."""
    return status == 404 and re.fullmatch(r"resource /api/\S* not found", str(body.get("message"))) is not None


def _one_line(value: t.Any) -> str:
    """Return a server's message as one short line of printable characters, which cannot forge lines of a log."""
    if not isinstance(value, str):
        return ""
    printable = "".join(character if character.isprintable() else " " for character in value)
    return " ".join(printable.split())[:_LONGEST_MESSAGE]
