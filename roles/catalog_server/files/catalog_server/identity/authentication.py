# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the credentials of a request to a caller with the rights that it has now."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from catalog_server.access import API_KEY, PASSWORD, Caller, Grant, Source
from catalog_server.errors import GrantRevoked, InvalidCredentials, TokenExpired, Unauthenticated
from catalog_server.identity import refusals, tokens
from catalog_server.identity.standing import Standing, standing_of, standing_of_key
from catalog_server.keys import KeyRing
from catalog_server.texts import clean_line


@dataclass(frozen=True)
class Credentials:
    """What a request says of who sends it, as it came."""

    authorization: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)


def authenticate(session: Session, keys: KeyRing, credentials: Credentials, now: datetime.datetime) -> Caller | None:
    """The caller, with the rights that it has now; None for a request without credentials.

    A bearer token goes before an API key. All that is believed is read in one statement, in this very transaction.

    :raises Unauthenticated: the credentials are not good, or not any more
    """
    if credentials.authorization is not None:
        scheme, _space, token = credentials.authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("The header Authorization must be: Bearer, a space, and a token.")
        return _by_token(session, tokens.decode(keys, token.strip(), now.timestamp()), now)
    if credentials.api_key is not None:
        return _caller(*check_api_key(session, credentials.api_key, now), API_KEY)
    return None


def check_api_key(session: Session, encoded: str, now: datetime.datetime) -> tuple[Standing, Source]:
    """The user of the API key that ``base64(key:secret)`` names, and the source of what it is given by it.

    :raises InvalidCredentials, TokenExpired: it is not good, or not any more
    """
    name, secret = _split(encoded)
    standing = standing_of_key(session, name)
    key = standing.key if standing is not None else None
    given = hashlib.sha256(secret.encode(errors="replace")).hexdigest()
    is_right = hmac.compare_digest(given, key.secret_sha256 if key else "")
    if standing is None or key is None:
        raise InvalidCredentials("The API key is not valid.", details=refusals.why("unknown_key"))
    of_user = (standing.user_id, standing.username)
    if not is_right:
        raise InvalidCredentials("The API key is not valid.", details=refusals.why("wrong_secret", *of_user))
    if key.revoked_at is not None:
        raise InvalidCredentials("The API key has been revoked.", details=refusals.why("revoked_key", *of_user))
    if key.expires_at is not None and key.expires_at <= now:
        raise TokenExpired("The API key has expired.", details=refusals.why("expired_key", *of_user))
    if standing.disabled:
        raise InvalidCredentials("The user of this API key is disabled.", details=refusals.why("disabled", *of_user))
    return standing, Source(API_KEY, standing.session_number, standing.epoch, id=key.id, catalog=standing.catalog)


def _by_token(session: Session, token: tokens.Login | Grant, now: datetime.datetime) -> Caller:
    key_id = token.source.id if token.source.kind == API_KEY else None
    jti = token.jti if isinstance(token, Grant) else None
    standing = standing_of(session, token.user_id, key_id=key_id, jti=jti)
    if standing is not None and token.source.catalog != standing.catalog:
        raise Unauthenticated("The token is not valid here.")
    if isinstance(token, Grant):
        if standing is None or _is_taken_back(standing, token.number) or _is_over(standing, token.source, now):
            raise GrantRevoked("The grant was revoked, or the credential that it was made with.")
        return _caller(standing, token.source, "grant", token)
    if standing is None:
        raise Unauthenticated("The user of these credentials does not exist any more.")
    if _is_over(standing, token.source, now):
        raise TokenExpired(
            "The login has ended: the password was changed, the API key is revoked, or it was logged out."
        )
    return _caller(standing, token.source, "token")


def still_good(
    session: Session, user_id: str, source: Source, jti: str, grant_number: int, now: datetime.datetime
) -> Caller | None:
    """Return whom something was given to by a credential, and if ``jti`` by a grant, with the rights of now.

    Returns None if the credential, or the grant, is not good any more. That a grant has expired does not matter here.
    """
    key_id = source.id if source.kind == API_KEY else None
    standing = standing_of(session, user_id, key_id=key_id, jti=jti or None)
    if standing is None or _is_over(standing, source, now) or (jti and _is_taken_back(standing, grant_number)):
        return None
    return _caller(standing, source, "url")


def _is_taken_back(standing: Standing, grant_number: int) -> bool:
    """Return True if a grant was taken back, alone or with all that its user had then."""
    return standing.denied or grant_number != standing.grant_number


def _is_over(standing: Standing, source: Source, now: datetime.datetime) -> bool:
    """Return True if what a token goes back to is not good any more."""
    if standing.disabled or source.epoch != standing.epoch:
        return True
    if source.session != standing.session_number:
        return True
    if source.kind == PASSWORD:
        return source.version != standing.password_version
    key = standing.key
    return key is None or key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now)


def _caller(standing: Standing, source: Source, credential: str, grant: Grant | None = None) -> Caller:
    return Caller(
        standing.user_id,
        standing.username,
        standing.rights.roles,
        standing.rights.claims,
        credential,
        grant,
        source,
        standing.grant_number,
        standing.is_limited,
    )


def _split(encoded: str) -> tuple[str, str]:
    try:
        name, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
        name, secret = clean_line(name), clean_line(secret)
    except ValueError:
        name = colon = secret = ""
    if not colon or not name or not secret:
        raise InvalidCredentials("An API key is the base64 text of key:secret.", details=refusals.why("malformed_key"))
    return name, secret
