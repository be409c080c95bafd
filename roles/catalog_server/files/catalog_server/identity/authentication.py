# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the credentials of a request to a caller with the rights that it has now."""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import hmac
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from catalog_server.errors import GrantRevoked, InvalidCredentials, TokenExpired, Unauthenticated
from catalog_server.identity import queries, tokens
from catalog_server.identity.access import Caller, Grant
from catalog_server.keys import Keys
from catalog_server.models.identity import ApiKey, User


@dataclass(frozen=True)
class Credentials:
    """What a request says of who sends it, as it came."""

    authorization: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)


def authenticate(session: Session, keys: Keys, credentials: Credentials, now: datetime.datetime) -> Caller | None:
    """The caller; None for a request without credentials. A bearer token goes before an API key."""
    if credentials.authorization is not None:
        scheme, _space, token = credentials.authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("The header Authorization must be: Bearer, a space, and a token.")
        return _by_token(session, tokens.decode(keys, token.strip(), now.timestamp()))
    if credentials.api_key is not None:
        key = api_key_of(session, credentials.api_key, now)
        return _caller(session, _existing(session, key.user_id), "api_key")
    return None


def _by_token(session: Session, token: tokens.Login | Grant) -> Caller:
    if isinstance(token, Grant):
        user = queries.user(session, token.user_id)
        if user is None or queries.is_denied(session, token.jti):
            raise GrantRevoked("The grant was revoked.")
        return _caller(session, user, "grant", token)
    user = _existing(session, token.user_id)
    if user.password_version != token.password_version:
        raise TokenExpired("The password was changed after this login.")
    return _caller(session, user, "token")


def _existing(session: Session, user_id: str) -> User:
    user = queries.user(session, user_id)
    if user is None:
        raise Unauthenticated("The user of these credentials does not exist any more.")
    return user


def _caller(session: Session, user: User, credential: str, grant: Grant | None = None) -> Caller:
    rights = queries.rights(session, user.id)
    return Caller(user.id, user.username, rights.roles, rights.claims, credential, grant)


def api_key_of(session: Session, encoded: str, now: datetime.datetime) -> ApiKey:
    """The API key that ``base64(key:secret)`` names, if the secret is its own and it is still good."""
    name, secret = _split(encoded)
    key = queries.api_key(session, name)
    given = hashlib.sha256(secret.encode()).hexdigest()
    if not hmac.compare_digest(given, key.secret_sha256 if key else "") or key is None:
        raise InvalidCredentials("The API key is not valid.")
    if key.revoked_at is not None:
        raise InvalidCredentials("The API key has been revoked.")
    if key.expires_at is not None and key.expires_at <= now:
        raise TokenExpired("The API key has expired.")
    return key


def _split(encoded: str) -> tuple[str, str]:
    try:
        name, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        name = colon = secret = ""
    if not colon or not name or not secret:
        raise InvalidCredentials("An API key is the base64 text of key:secret.")
    return name, secret
