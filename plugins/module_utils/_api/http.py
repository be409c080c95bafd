# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Requests to the metadata server: JSON and bytes, tried again for a bounded time.

How bytes get there and back is handed in as ``send``; see ``_base/transport.py`` for what it raises. What an answer
means is in ``answers.py``.
"""

from __future__ import annotations

import json
import time
import typing as t
import urllib.parse

from ansible_collections.macfleet.parallels.plugins.module_utils._api.answers import AnswerReader
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import (
    TEMPORARY,
    BadReply,
    Missing,
    Throttled,
    TlsFailure,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._api.server_url import api_url
from ansible_collections.macfleet.parallels.plugins.module_utils._base.connection_errors import (
    AnswerTooLong,
    NotConnected,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._base.retry import NEVER, Patience, attempt
from ansible_collections.macfleet.parallels.plugins.module_utils._base.transport import Request, Response

MAX_JSON_BYTES = 32 << 20
# For a user at a prompt: long enough for a restart or a lost packet.
BRIEF = Patience(5.0, longest_seconds=5.0)
# The error of a server that asks for a longer pause than this is reported at once.
LONGEST_DELAY_SECONDS = 30.0
# JSON must be complete within this many timeouts: 32 MiB in 2 minutes need 280 kB/s, a usual answer 10 kB/s.
_ANSWER_TIMEOUTS = 4
_IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE", "PATCH"})


Send = t.Callable[[Request], Response]
Answer = t.TypeVar("Answer")
Headers = t.Mapping[str, str]


class Http:
    """One server. ``authorization()`` returns the headers that say who asks, and is called for each request.

    Idempotent requests are tried again: with ``first_patience`` until the server has answered anything, since a wrong
    address must not take minutes to show; then with ``patience``.
    """

    def __init__(
        self,
        base_url: str,
        send: Send,
        *,
        authorization: t.Callable[[], Headers] = dict,
        timeout_seconds: float = 30.0,
        patience: Patience = BRIEF,
        first_patience: Patience | None = None,
        sleep: t.Callable[[float], None] = time.sleep,
        clock: t.Callable[[], float] = time.monotonic,
    ) -> None:
        self._base_url = api_url(base_url)
        self._send = send
        self._authorization = authorization
        self._timeout_seconds = timeout_seconds
        self._patience = patience
        self._first_patience = first_patience or patience
        self._sleep = sleep
        self._clock = clock
        self._has_answered = False
        self._is_catalog = False

    def json(
        self,
        method: str,
        path: str,
        doing: str,
        *,
        body: t.Any = None,
        data: bytes | None = None,
        query: t.Mapping[str, str] | None = None,
        authorization: Headers | None = None,
        idempotent: bool | None = None,
        timeout_seconds: float | None = None,
    ) -> t.Any:
        """Return the JSON of the answer; None for one without a body. ``doing`` completes the sentence *Could not …*.

        ``body`` is sent as JSON, ``data`` as it is. ``idempotent`` is True if asking twice is the same as asking once;
        nothing else is asked twice. Without it, the method decides.

        :raises ApiError: the server did not do it, or did not answer
        """
        headers = {"Accept": "application/json"}
        if body is not None:
            data = json.dumps(body).encode("ascii")
            headers["Content-Type"] = "application/json"
        elif data is not None:
            headers["Content-Type"] = "application/octet-stream"
        credentials = self._authorization() if authorization is None else authorization
        timeout_seconds = timeout_seconds or self._timeout_seconds
        request = Request(
            method=method,
            url=self._url(path, query),
            headers={**headers, **credentials},
            body=data,
            timeout_seconds=timeout_seconds,
            max_body_bytes=MAX_JSON_BYTES,
            repeatable=method in _IDEMPOTENT_METHODS if idempotent is None else idempotent,
            answer_seconds=_ANSWER_TIMEOUTS * timeout_seconds,
        )
        reader = self._reader(doing, credentials)
        return self._ask(request, reader, reader.json)

    def read_bytes(self, path: str, doing: str, *, max_bytes: int) -> bytes:
        """Return opaque bytes, after they were compared with the digest that comes with them.

        :raises ApiError: the server did not send them, or others
        """
        credentials = self._authorization()
        request = Request(
            method="GET",
            url=self._url(path),
            headers={"Accept": "application/octet-stream, application/json", **credentials},
            body=None,
            timeout_seconds=self._timeout_seconds,
            max_body_bytes=max_bytes,
        )
        reader = self._reader(doing, credentials)
        return self._ask(request, reader, reader.opaque)

    def _url(self, path: str, query: t.Mapping[str, str] | None = None) -> str:
        url = f"{self._base_url}/{path}"
        return f"{url}?{urllib.parse.urlencode(query)}" if query else url

    def _reader(self, doing: str, credentials: Headers) -> AnswerReader:
        secrets = tuple(word for value in credentials.values() for word in value.split())
        return AnswerReader(self._base_url, doing, secrets)

    def _ask(self, request: Request, reader: AnswerReader, read: t.Callable[[Response], Answer]) -> Answer:
        """Send a request until ``read`` can read the answer, the error is final, or the patience is over."""

        def once(number: int) -> Answer:
            try:
                answer = read(self._once(request, reader, number))
            except Missing:
                if request.method != "DELETE" or number == 1:
                    raise
                # An earlier attempt has deleted it, and only its answer was lost.
                return read(Response(204, {}, b""))
            self._is_catalog = True
            return answer

        def asked(error: Exception) -> float | None:
            return _asked_delay(error, self._is_catalog)

        return attempt(once, asked, self._patience_of(request), sleep=self._sleep, clock=self._clock)

    def _patience_of(self, request: Request) -> Patience:
        if not request.repeatable:
            return NEVER
        return self._patience if self._has_answered else self._first_patience

    def _once(self, request: Request, reader: AnswerReader, number: int) -> Response:
        try:
            response = self._send(request)
        except (NotConnected, AnswerTooLong) as error:
            raise reader.no_answer(error, number) from error
        self._has_answered = True
        if 200 <= response.status < 300:
            return response
        raise reader.refusal(response, number)


def _asked_delay(error: Exception, is_catalog: bool) -> float | None:
    """Return the pause that a server asks for, in seconds, or None if another attempt will not help.

    ``is_catalog`` is True if the server has worked before. Then an answer that is not a catalog's comes from a proxy in
    between and may pass, and a server that throttles does not mean a wrong password.
    """
    if not isinstance(error, TEMPORARY) or isinstance(error, TlsFailure):
        return None
    status = error.details.get("status")
    if isinstance(error, BadReply):
        if status is None or not is_catalog:
            return None
    elif status not in (None, 429, 502, 503, 504):
        return None
    value = str(error.details.get("retry_after", "")).strip()
    # The other form, a date, would need the clocks of both sides to agree.
    if value.isascii() and value.isdigit() and len(value) < 7:
        return float(value) if float(value) <= LONGEST_DELAY_SECONDS else None
    return None if isinstance(error, Throttled) and not is_catalog else 0.0
