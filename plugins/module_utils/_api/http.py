# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Requests to the metadata server: JSON, errors by status and word, retries bounded by time.

How bytes get there and back is handed in as ``send``; see ``_base/transport.py`` for what it raises.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import typing as t
import urllib.parse

from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import (
    TEMPORARY,
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
from ansible_collections.macfleet.parallels.plugins.module_utils._base.redact import redact, redact_url
from ansible_collections.macfleet.parallels.plugins.module_utils._base.retry import NEVER, Patience, attempt
from ansible_collections.macfleet.parallels.plugins.module_utils._base.transport import (
    AnswerTooLong,
    NotConnected,
    Request,
    Response,
    TlsRefused,
    UrlRefused,
)

MAX_JSON_BYTES = 32 << 20
# For a user at a prompt: long enough for a restart or a lost packet.
BRIEF = Patience(5.0, longest_seconds=5.0)
# A server that asks for a longer pause than this gets its error reported.
LONGEST_DELAY_SECONDS = 30.0
# JSON has to come within so many timeouts; 32 MiB in 2 minutes need 280 kB/s, a usual answer needs 10.
_ANSWER_TIMEOUTS = 4
_LONGEST_MESSAGE = 1000
_IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE", "PATCH"})


Send = t.Callable[[Request], Response]
Answer = t.TypeVar("Answer")
Headers = t.Mapping[str, str]

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
}

# What to do about an error, by its word.
HINTS = {
    "unauthenticated": "Set catalog_token, catalog_api_key, or catalog_username and catalog_password.",
    "invalid_credentials": "Check the user name and the password, or the API key.",
    "token_expired": "Get a new catalog_token, or use catalog_api_key.",
    "grant_expired": "Run the task again; it gets a new grant and resumes where it stopped.",
    "grant_revoked": "Ask the administrator of the catalog why.",
    "grant_scope": "A grant opens one image for one transfer; run the task again to get one for this image.",
    "forbidden": "Ask the administrator of the catalog for the right to do this.",
    "unknown_manifest": "Check the spelling, and the roles and claims of the user.",
    "tainted": (
        "Choose another version, or ask for the taint to be removed. version: '*' selects the newest one that may be "
        "pulled."
    ),
    "revoked": "Choose another version.",
    "version_exists": "Push it as another version, or set force.",
    "missing_segment": "Run the push again; it stores what is missing.",
    "shared_segments": "Leave its roles and claims as they are, or push the image whole as another version.",
    "invalid_index": "Run the push again. If it fails again, see the log of the server.",
    "unknown_segment": "Run the task again. If it fails again, ask the administrator to look at this version.",
    "unknown_upload": "Run the push again; it begins a new upload.",
    "bad_request": "Check the options of the task, and that the collection and the server have the same version.",
    "not_found": "Check the spelling and catalog_url, and that the server is not older than the collection.",
    "method_not_allowed": "Check that the server is not older than the collection.",
    "upload_changed": "Let the other push of this version end, then run this one again.",
    "upload_closed": "Run the push again.",
    "upload_expired": "Run the push again; it starts from the beginning.",
    "base_unusable": "Run the push again; it chooses another base.",
    "locked_out": "Wait a while before the next attempt.",
    "internal_error": "See the log of the server.",
    "unavailable": "See whether the server is being restarted, and its log.",
    "tls_failure": "Check ca_path, validate_certs, and client_cert.",
    "stock_server": (
        "Set catalog_url to a metadata server of this collection, which the role catalog_server deploys. A stock "
        "server has no grants, signed transfers and segmented packs, and works with its own clients alone."
    ),
    "invalid_url": "Set catalog_url to something like https://catalog.example.com.",
    "payload_too_large": (
        "Either the index of the image is longer than the server takes (see index_bytes of its settings), or a proxy "
        "in front of the server refuses bodies of this size: for nginx, raise client_max_body_size."
    ),
    "unreachable": "Check catalog_url, the network, and that the server runs.",
    "bad_reply": "Check that catalog_url is the catalog's own, and not that of a proxy or of another service.",
}


class Http:
    """One server. ``authorization()`` gives the headers that say who asks, anew for each request.

    What is idempotent is tried again with ``patience`` once the server has answered anything. Before, the patience is
    ``first_patience``: an address that is wrong must not take minutes to show.
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
        """Ask for JSON; None for a reply without a body. ``doing`` completes the sentence *Could not …*.

        ``body`` is sent as JSON, ``data`` as it is. ``idempotent`` says that asking twice is the same as asking once,
        which only then may happen.
        """
        headers = {"Accept": "application/json"}
        if body is not None:
            data = json.dumps(body).encode("ascii")
            headers["Content-Type"] = "application/json"
        elif data is not None:
            headers["Content-Type"] = "application/octet-stream"

        def read(response: Response) -> t.Any:
            return None if response.status == 204 else self._decoded(response, doing)

        return self._ask(
            method,
            path,
            doing,
            headers,
            data,
            query,
            authorization,
            idempotent,
            timeout_seconds,
            MAX_JSON_BYTES,
            read,
            is_json=True,
        )

    def read_bytes(self, path: str, doing: str, *, max_bytes: int) -> bytes:
        """Read opaque bytes, and check them against the digest that comes with them."""
        headers = {"Accept": "application/octet-stream, application/json"}

        def read(response: Response) -> bytes:
            digest = response.headers.get("x-content-sha256", "").strip().lower()
            if hashlib.sha256(response.body).hexdigest() != digest:
                raise self._error(BadReply, doing, "the bytes that came are not those that their digest announces")
            return response.body

        return self._ask("GET", path, doing, headers, None, None, None, None, None, max_bytes, read)

    def _ask(
        self,
        method: str,
        path: str,
        doing: str,
        headers: dict[str, str],
        data: bytes | None,
        query: t.Mapping[str, str] | None,
        authorization: Headers | None,
        idempotent: bool | None,
        timeout_seconds: float | None,
        max_bytes: int,
        read: t.Callable[[Response], Answer],
        *,
        is_json: bool = False,
    ) -> Answer:
        url = f"{self._base_url}/{path}"
        if query:
            url += "?" + urllib.parse.urlencode(query)
        credentials = dict(self._authorization() if authorization is None else authorization)
        timeout_seconds = timeout_seconds or self._timeout_seconds
        request = Request(
            method=method,
            url=url,
            headers={**headers, **credentials},
            body=data,
            timeout_seconds=timeout_seconds,
            max_body_bytes=max_bytes,
            repeatable=method in _IDEMPOTENT_METHODS if idempotent is None else idempotent,
            answer_seconds=_ANSWER_TIMEOUTS * timeout_seconds if is_json else None,
        )
        secrets = [word for value in credentials.values() for word in value.split()]

        def once(number: int) -> Answer:
            try:
                answer = read(self._once(request, doing, secrets, number))
            except Missing:
                if method != "DELETE" or number == 1:
                    raise
                # An attempt before has deleted it, and only its answer was lost.
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

    def _once(self, request: Request, doing: str, secrets: list[str], attempts: int) -> Response:
        try:
            response = self._send(request)
        except (NotConnected, AnswerTooLong) as error:
            code = error.code if isinstance(error, UrlRefused) else None
            reason = redact(error.message, secrets)
            raise self._error(_kind(error), doing, reason, code=code, attempts=attempts) from error
        self._has_answered = True
        if 200 <= response.status < 300:
            return response
        raise self._refused(response, doing, secrets, attempts)

    def _refused(self, response: Response, doing: str, secrets: list[str], attempts: int) -> ApiError:
        """The error that a reply means."""
        status = response.status
        details: dict[str, t.Any] = {"status": status}
        for name, header in (("request_id", "x-request-id"), ("retry_after", "retry-after")):
            if response.headers.get(header):
                details[name] = response.headers[header][:100]
        if 300 <= status < 400:
            where = redact_url(response.headers.get("location", ""))
            return self._error(
                BadReply, doing, f"the server answered {status} and points to {where!r}", details=details
            )
        try:
            body = self._decoded(response, doing)
        except BadReply as error:
            if status == 413:
                reason = f"a proxy in front of the server answered {status}, the request is too large for it"
                return self._error(TooLarge, doing, reason, details=details)
            if status in (502, 503, 504):
                return self._error(
                    Unavailable, doing, f"the server answered {status}", details=details, attempts=attempts
                )
            error.details.update(details)
            return error
        body = body if isinstance(body, dict) else {}
        word = body.get("error") if isinstance(body.get("error"), str) else None
        kind = _ERRORS.get(status, Unavailable if status >= 500 else ApiError)
        if word in ("tainted", "revoked"):
            kind = Blocked
        elif word is None and _is_of_stock_server(status, body):
            return self._error(
                StockServer,
                doing,
                "a stock Parallels DevOps server answers there, which has no such thing",
                details=details,
            )
        elif word is None and status >= 500 and kind is Unavailable:
            word = "unavailable" if status in (502, 503, 504) else "internal_error"
        reason = redact(_one_line(body.get("message")), secrets) or f"the server answered {status}"
        return self._error(kind, doing, reason, details=details, code=word, attempts=attempts)

    def _decoded(self, response: Response, doing: str) -> t.Any:
        content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            what = f"{content_type[:60]!r}" if content_type else "no content type"
            raise self._error(
                BadReply,
                doing,
                f"the server answered {response.status} with {what} instead of JSON",
                details={"status": response.status},
            )
        try:
            return json.loads(response.body.decode("utf-8"))
        except (ValueError, RecursionError):
            raise self._error(
                BadReply,
                doing,
                f"the server answered {response.status} with JSON that cannot be read",
                details={"status": response.status},
            ) from None

    def _error(
        self,
        kind: type[ApiError],
        doing: str,
        reason: str,
        *,
        details: t.Mapping[str, t.Any] | None = None,
        code: str | None = None,
        attempts: int = 1,
    ) -> ApiError:
        reason = reason.strip().rstrip(".")
        tried = f" ({attempts} attempts)" if attempts > 1 else ""
        word = code or kind.code
        return kind(
            f"Could not {doing} at {redact_url(self._base_url)}: {reason}{tried}.",
            HINTS.get(word),
            {"attempts": attempts, **(details or {})},
            code=word,
        )


def _is_of_stock_server(status: int, body: t.Mapping[str, t.Any]) -> bool:
    """Return True if this is what a stock server says of a route that it does not have (prl-devops-service 1.0.6)."""
    return status == 404 and re.fullmatch(r"resource /api/\S* not found", str(body.get("message"))) is not None


def api_url(catalog_url: str) -> str:
    """Return where the API is of a server whose address a user wrote, with or without the API's own path.

    :raises BadRequest: it is not the address of a server, or it contains more than that
    """
    parts = _address(catalog_url)
    if parts is None:
        raise BadRequest(
            f"{redact_url(catalog_url)!r} is not a valid address of a metadata server.",
            HINTS["invalid_url"],
            code="invalid_url",
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise BadRequest(
            f"The address {redact_url(catalog_url)!r} contains a user, a query or a fragment.",
            "Set catalog_url to the plain address, and the credentials in their own options.",
            code="invalid_url",
        )
    path = parts.path.rstrip("/")
    for ending in ("/api/v1", "/api"):
        if path.endswith(ending):
            path = path[: -len(ending)]
            break
    return f"{parts.scheme}://{parts.netloc}{path}/api/v1"


def _address(text: str) -> urllib.parse.SplitResult | None:
    """Return the parts of an http or https address, or None if no request could be sent to it."""
    text = text.strip()
    try:
        parts = urllib.parse.urlsplit(text)
        host = parts.hostname or ""
        # As a look-up of the name does it: empty and overlong labels are refused.
        host.encode("idna")
        is_sound = bool(host) and parts.port != 0 and parts.scheme in ("http", "https")
    except ValueError:
        return None
    # What urlsplit() drops silently, and what cannot stand in a request line.
    has_blanks = any(character.isspace() or not character.isprintable() for character in text)
    return parts if is_sound and not has_blanks and parts.path.isascii() else None


def _kind(error: NotConnected | AnswerTooLong) -> type[ApiError]:
    if isinstance(error, UrlRefused):
        return BadRequest
    if isinstance(error, AnswerTooLong):
        return BadReply
    return TlsFailure if isinstance(error, TlsRefused) else Unreachable


def _one_line(value: t.Any) -> str:
    """A server's message, without what could mislead a reader of a log."""
    if not isinstance(value, str):
        return ""
    return " ".join("".join(character if character.isprintable() else " " for character in value).split())[
        :_LONGEST_MESSAGE
    ]


def _asked_delay(error: Exception, is_catalog: bool) -> float | None:
    """Return the pause that a server asks for, in seconds, or None if another attempt will not help.

    ``is_catalog`` says that the server has worked before. Something else that answers then is a proxy in between, and
    a server that throttles does not mean a password.
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
