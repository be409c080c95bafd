# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Login tokens and grants as JWT. Pure: the clock is handed in.

The two are signed with different keys and carry different types, so neither is ever taken for the other.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import re
import secrets
import typing as t
from dataclasses import dataclass

import jwt
from jwt.utils import base64url_decode

from catalog_server.access import PULL, PUSH, Grant, Source
from catalog_server.errors import GrantExpired, TokenExpired, Unauthenticated
from catalog_server.keys import Key, KeyRing

LOGIN_TYPE = "login"
GRANT_TYPE = "grant"
_ALGORITHM = "HS256"
_LONGEST = 16384
_MOST_REMEMBERED = 512
# Of what is random in the id of a grant, and of its signature
_JTI_BYTES = 8
_JTI = re.compile(r"[0-9a-f]{32}-[0-9a-f]{32}\Z")


@dataclass(frozen=True)
class Login:
    """What the server believes of a login token; rights are read anew each time."""

    user_id: str
    source: Source


def encode_login(keys: KeyRing, login: Login, shown: t.Mapping[str, t.Any], expires_at: int) -> str:
    """A login token. ``shown`` is what stock clients look for in it; the server itself ignores it."""
    key = keys.signing
    payload = {
        **shown,
        "iss": login.source.catalog,
        "typ": LOGIN_TYPE,
        "uid": login.user_id,
        "src": _encode_source(login.source),
        "exp": expires_at,
    }
    return jwt.encode(payload, key.login, algorithm=_ALGORITHM, headers={"kid": key.kid, "typ": LOGIN_TYPE})


def _encode_source(source: Source) -> list[str | int | float]:
    return [source.kind, source.session, source.epoch, source.version, source.id]


def _source(payload: t.Mapping[str, t.Any]) -> Source:
    kind, session, epoch, version, name = payload["src"]
    return Source(kind, session, epoch, version, name, payload["iss"])


def new_jti(keys: KeyRing, user_id: str) -> str:
    """Return the id of a new grant.

    It tells whose it is, and that it is of this server, so that its owner can take it back though nothing is stored of
    it, and nobody can have ids remembered that they made up.
    """
    text = f"{user_id}-{secrets.token_hex(_JTI_BYTES)}"
    return text + _jti_signature(keys.signing, text)


def is_jti(keys: KeyRing, jti: str) -> bool:
    """Return True if ``jti`` is the id of a grant of this server."""
    if not _JTI.match(jti):
        return False
    text, signature = jti[: -2 * _JTI_BYTES], jti[-2 * _JTI_BYTES :]
    return any(hmac.compare_digest(_jti_signature(key, text), signature) for key in keys.keys)


def _jti_signature(key: Key, text: str) -> str:
    return hmac.new(key.grants, f"jti {text}".encode(), hashlib.sha256).hexdigest()[: 2 * _JTI_BYTES]


def encode_grant(keys: KeyRing, grant: Grant) -> str:
    """A grant."""
    key = keys.signing
    payload = {
        "iss": grant.source.catalog,
        "typ": GRANT_TYPE,
        "jti": grant.jti,
        "uid": grant.user_id,
        "src": _encode_source(grant.source),
        "verb": grant.verb,
        "cid": grant.catalog_id,
        "ver": grant.version,
        "arch": grant.architecture,
        "man": dict(sorted(grant.manifests.items())),
        "bases": sorted(grant.bases),
        "num": grant.number,
        "iat": grant.first_minted_at,
        "exp": grant.expires_at,
    }
    return jwt.encode(payload, key.grants, algorithm=_ALGORITHM, headers={"kid": key.kid, "typ": GRANT_TYPE})


def decode(keys: KeyRing, token: str, now: float) -> Login | Grant:
    """What a bearer token is.

    :raises TokenExpired, GrantExpired: it was good once
    :raises Unauthenticated: it is none of ours
    """
    kind, key = _read(keys, token)
    payload = _verified(token, key.grants if kind == GRANT_TYPE else key.login)
    if payload.get("typ") != kind:
        raise _not_ours()
    try:
        if now >= payload["exp"]:
            if kind == GRANT_TYPE:
                raise GrantExpired("The grant has expired.")
            raise TokenExpired("The login token has expired.")
        return _grant(payload) if kind == GRANT_TYPE else Login(payload["uid"], _source(payload))
    except (KeyError, TypeError, ValueError):
        raise _not_ours() from None


def _read(keys: KeyRing, token: str) -> tuple[str, Key]:
    """What the token says that it is, and the key that it says has signed it. Neither is believed yet."""
    if len(token) > _LONGEST:
        raise _not_ours()
    try:
        header = json.loads(base64url_decode(token.partition(".")[0]))
    except (ValueError, RecursionError):
        raise _not_ours() from None
    kind, kid = (header.get("typ"), header.get("kid")) if isinstance(header, dict) else (None, None)
    key = keys.find(kid) if isinstance(kid, str) else None
    if kind not in (LOGIN_TYPE, GRANT_TYPE) or key is None:
        raise _not_ours()
    return kind, key


@functools.lru_cache(maxsize=_MOST_REMEMBERED)
def _verified(token: str, key: bytes) -> t.Mapping[str, t.Any]:
    # The same token comes with each request of a transfer. What is remembered follows from its bytes and the key alone:
    # the signature. Whether it is still good, the server asks each time, with its own clock.
    options: t.Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False}
    try:
        return jwt.decode(token, key, algorithms=[_ALGORITHM], options=options)
    except jwt.PyJWTError:
        raise _not_ours() from None


def _grant(payload: t.Mapping[str, t.Any]) -> Grant:
    if payload["verb"] not in (PULL, PUSH):
        raise _not_ours()
    return Grant(
        jti=payload["jti"],
        user_id=payload["uid"],
        source=_source(payload),
        verb=payload["verb"],
        catalog_id=payload["cid"],
        manifests=dict(payload["man"]),
        bases=frozenset(payload["bases"]),
        version=payload["ver"],
        architecture=payload["arch"],
        number=payload["num"],
        first_minted_at=payload["iat"],
        expires_at=payload["exp"],
    )


def _not_ours() -> Unauthenticated:
    return Unauthenticated("The token is not valid here.")
