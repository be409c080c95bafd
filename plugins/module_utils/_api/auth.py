# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Credentials: their headers, login, and the grant of a host, which is renewed before it expires."""

from __future__ import annotations

import base64
import binascii
import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import (
    TEMPORARY,
    BadRequest,
    Unauthenticated,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._api.http import Headers, Http
from ansible_collections.macfleet.parallels.plugins.module_utils._api.tokens import RenewedGrant, Token

# The pause after a failed attempt to renew a grant.
RETRY_SECONDS = 30.0
# A shorter lifetime counts as this one, so that no server makes a host renew without pause.
_LEAST_LIFETIME_SECONDS = 2.0
REVOKED = "grant_revoked"


def bearer(token: str) -> Headers:
    """Return the headers for a login token or a grant."""
    if not token.isascii() or not token.isprintable() or " " in token:
        raise BadRequest("The token contains characters that a token cannot have.", "Check catalog_token.")
    return {"Authorization": f"Bearer {token}"}


def api_key_header(api_key: str) -> Headers:
    """Return the headers for an API key, written as ``key:secret`` or as the base64 text of that."""
    text = api_key.strip()
    if ":" in text:
        return {"X-Api-Key": base64.b64encode(text.encode("utf-8")).decode("ascii")}
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if b":" not in decoded:
        raise BadRequest(
            "The API key is not of the form key:secret, nor the base64 text of that.", "Check catalog_api_key."
        )
    return {"X-Api-Key": text}


def login(http: Http, username: str, password: str) -> Token:
    """Return a token for a user name, or mail address, and password."""
    reply = http.json(
        "POST",
        "auth/token",
        f"log in as {username!r}",
        body={"email": username, "password": password},
        authorization={},
        # A refused connection may be tried again, a refused password never is.
        idempotent=True,
    )
    return Token.from_json(reply)


class GrantHolder:
    """The grant of this host's transfer.

    Any thread may call ``token``, which never waits. One thread calls ``keep`` repeatedly, which renews the grant after
    half of its lifetime. All times are taken from the monotonic clock, so a wrong time of day does no harm.
    """

    def __init__(
        self,
        token: str,
        lifetime_seconds: float,
        renew: t.Callable[[str], RenewedGrant],
        clock: t.Callable[[], float] = time.monotonic,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._token = token
        self._renew = renew
        self._clock = clock
        self._retry_seconds = retry_seconds
        self._last_lifetime(lifetime_seconds, clock())

    def token(self) -> str:
        """Return the grant to use now."""
        return self._token

    def headers(self) -> Headers:
        """Return headers with the grant to use now."""
        return bearer(self._token)

    def keep(self) -> float:
        """Renew the grant if it is time to; return the seconds after which to call this again.

        A failed attempt is repeated as long as the grant is valid: the server may be down for a while, a proxy may
        answer in its place, or the grant may be too old to be renewed but still good for its last minutes.

        :raises ApiError: the rights to the transfer are lost
        """
        if not self._token:
            return self._retry_seconds
        now = self._clock()
        if now < self._renew_at:
            return self._renew_at - now
        try:
            renewed = self._renew(self._token)
        except TEMPORARY:
            return self._retry_seconds
        except Unauthenticated as error:
            if error.code == REVOKED or self._clock() >= self._ends_at:
                raise
            return self._retry_seconds
        # Counted from before the request: the lifetime began when the server answered, some time after that.
        self._token = renewed.token
        self._last_lifetime(renewed.lifetime_seconds, now)
        return max(self._renew_at - self._clock(), 0.0)

    def _last_lifetime(self, seconds: float, since: float) -> None:
        seconds = max(seconds, _LEAST_LIFETIME_SECONDS)
        self._renew_at = since + seconds / 2
        self._ends_at = since + seconds
