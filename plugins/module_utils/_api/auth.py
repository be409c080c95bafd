# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Who asks: headers of the credentials, login, and the grant of a host that is renewed before it expires."""

from __future__ import annotations

import base64
import binascii
import threading
import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import (
    BadRequest,
    Unauthenticated,
    Unreachable,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._api.http import Headers, Http
from ansible_collections.macfleet.parallels.plugins.module_utils._api.records import Token

RENEW_BEFORE_SECONDS = 600.0
RETRY_RENEWAL_SECONDS = 30.0
REVOKED = "grant_revoked"


def bearer(token: str) -> Headers:
    """Headers for a login token or a grant."""
    if not token.isascii() or not token.isprintable() or " " in token:
        raise BadRequest("The token contains characters that no token has.", "Check catalog_token.")
    return {"Authorization": f"Bearer {token}"}


def api_key_header(api_key: str) -> Headers:
    """Headers for an API key, written as ``key:secret`` or as the base64 text of that."""
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
    """A token for a user name, or mail address, and password."""
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
    """The grant of this host's transfer, renewed by whoever asks for it, or makes progress, when it nears its end.

    ``renew(token)`` asks the server for the next one. As long as the grant is valid, a server that does not answer,
    or that will not renew it any more because of its age, is no reason to stop. Usable from several threads.
    """

    def __init__(
        self,
        token: str,
        expires_at: float,
        renew: t.Callable[[str], Token],
        clock: t.Callable[[], float] = time.time,
    ) -> None:
        self._current = Token(token, expires_at)
        self._renew = renew
        self._clock = clock
        self._lock = threading.Lock()
        # How long it was good for when it was made is known of the renewed ones only.
        self._renew_at = expires_at - RENEW_BEFORE_SECONDS

    def token(self) -> str:
        """The grant to use now.

        :raises Blocked: the image was tainted or revoked meanwhile
        :raises Unauthenticated: the grant was revoked, or has expired and is not renewed any more
        """
        with self._lock:
            now = self._clock()
            if now >= self._renew_at:
                self._renewed(now)
            return self._current.token

    def keep(self) -> None:
        """Renew it if it is time to, for a transfer that goes on without asking the server anything.

        :raises ApiError: the rights to the transfer are lost; whoever needs the grant finds out all else
        """
        if not self._current.token:
            return
        try:
            self.token()
        except Unreachable:
            pass
        except Unauthenticated as error:
            if error.code == REVOKED:
                raise

    def headers(self) -> Headers:
        """Headers with the grant to use now."""
        return bearer(self.token())

    def _renewed(self, now: float) -> None:
        # Also where the clock of this host is wrong and each new one seems to be over, it is not asked all the time.
        self._renew_at = now + RETRY_RENEWAL_SECONDS
        try:
            self._current = self._renew(self._current.token)
        except (Unreachable, Unauthenticated) as error:
            if error.code == REVOKED or self._current.expires_at <= now:
                raise
            return
        left = self._current.expires_at - now
        if left > 0:
            self._renew_at = now + max(left - RENEW_BEFORE_SECONDS, left / 2)
