# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Users, their rights and their API keys, as the administrator manages them."""

from __future__ import annotations

import base64
import datetime
import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses

from catalog_server.access import USER
from catalog_server.errors import BadRequest, NotFound
from catalog_server.identity import lockouts, queries
from catalog_server.models.identity import ApiKey, Claim, Role, User
from catalog_server.unit_of_work import UnitOfWork

SUBJECT = "user"
_USERNAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,99}\Z")
_EMAIL = re.compile(r"[^\s@]{1,64}@[^\s@]{1,180}\Z")
_SECRET_BYTES = 32


@dataclass(frozen=True)
class NewKey:
    """An API key, the only time that its secret is seen."""

    key: ApiKey
    secret: str = field(repr=False)

    @property
    def encoded(self) -> str:
        """What goes into the header X-Api-Key."""
        return base64.b64encode(f"{self.key.key}:{self.secret}".encode()).decode("ascii")


def find(work: UnitOfWork, name: str) -> User:
    """A user by id, user name or mail address, with roles and claims.

    :raises NotFound: there is none
    """
    user = queries.user_with_rights(work.session, name)
    if user is None:
        raise NotFound(f"There is no user {name!r}.")
    return user


def add(
    work: UnitOfWork,
    username: str,
    email: str | None,
    name: str,
    password_hash: str | None,
    roles: Sequence[str],
    claims: Sequence[str],
) -> User:
    """A new user, with the role USER if nothing else is said.

    :raises BadRequest: a name that cannot be, or is taken
    """
    username = username.strip().lower()
    if not _USERNAME.match(username):
        raise BadRequest(f"{username!r} is no user name: it has letters, digits and . _ @ + - only, at most 100.")
    email = _checked_email(email or (username if "@" in username else f"{username}@localhost"))
    for text in (username, email):
        if queries.user_called(work.session, text) is not None:
            raise BadRequest(f"There is a user {text!r} already.")
    user = User(
        username=username,
        email=email,
        name=name.strip(),
        password_hash=password_hash,
        created_at=work.now,
        updated_at=work.now,
        roles=_roles(work, roles or ([] if claims else [USER])),
        claims=_claims(work, claims),
    )
    work.session.add(user)
    work.session.flush()
    work.record("user.add", SUBJECT, user.id, username=username, **_rights(user))
    return user


def set_password(work: UnitOfWork, name: str, password_hash: str) -> User:
    """Another password; logins from before are worth nothing any more, and a lockout ends."""
    user = find(work, name)
    user.password_hash = password_hash
    user.password_version += 1
    user.updated_at = work.now
    for text in (user.id, user.username, user.email):
        lockouts.forgive(work.session, text)
    work.record("user.set_password", SUBJECT, user.id, username=user.username)
    return user


def set_fields(
    work: UnitOfWork,
    name: str,
    *,
    email: str | None = None,
    shown_name: str | None = None,
    roles: Sequence[str] | None = None,
    claims: Sequence[str] | None = None,
) -> bool:
    """Set what is not None; whether anything changed."""
    user = find(work, name)
    before = _fields(user)
    if email is not None:
        email = _checked_email(email)
        taken = queries.user_called(work.session, email)
        if taken is not None and taken.id != user.id:
            raise BadRequest(f"There is a user {email!r} already.")
        user.email = email
    if shown_name is not None:
        user.name = shown_name.strip()
    if roles is not None:
        user.roles = _roles(work, roles)
    if claims is not None:
        user.claims = _claims(work, claims)
    after = _fields(user)
    if after == before:
        return False
    user.updated_at = work.now
    work.record("user.edit", SUBJECT, user.id, username=user.username, before=before, after=after)
    return True


def delete(work: UnitOfWork, name: str) -> None:
    """Delete a user with its API keys; tokens and grants of it are worth nothing any more."""
    user = find(work, name)
    work.record("user.delete", SUBJECT, user.id, username=user.username)
    work.session.flush()
    queries.delete_user(work.session, user.id)
    work.session.expunge_all()


def add_key(work: UnitOfWork, name: str, label: str, expires_at: datetime.datetime | None) -> NewKey:
    """A new API key that acts as the user."""
    user = find(work, name)
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    key = ApiKey(
        key=secrets.token_hex(8).upper(),
        name=label.strip()[:100] or "key",
        secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
        user_id=user.id,
        created_at=work.now,
        expires_at=expires_at,
    )
    work.session.add(key)
    work.session.flush()
    until = expires_at.isoformat() if expires_at else None
    work.record("api_key.add", "api_key", key.id, key=key.key, username=user.username, expires_at=until)
    return NewKey(key, secret)


def keys(work: UnitOfWork, name: str) -> Sequence[ApiKey]:
    """The API keys of a user."""
    return queries.api_keys_of(work.session, find(work, name).id)


def revoke_key(work: UnitOfWork, key_name: str) -> bool:
    """Let nobody use an API key any more; whether somebody could.

    :raises NotFound: there is no such key
    """
    key = queries.api_key(work.session, key_name.strip().upper())
    if key is None:
        raise NotFound(f"There is no API key {key_name!r}.")
    if key.revoked_at is not None:
        return False
    key.revoked_at = work.now
    work.record("api_key.revoke", "api_key", key.id, key=key.key)
    return True


def _checked_email(email: str) -> str:
    email = email.strip().lower()
    if not _EMAIL.match(email):
        raise BadRequest(f"{email!r} is no mail address.")
    return email


def _roles(work: UnitOfWork, names: Sequence[str]) -> list[Role]:
    wanted = sorted({addresses.normalise_right(name) for name in names})
    found = queries.roles(work.session, wanted)
    # A role is what manifests require, so a name that nobody has used is a new one.
    for name in wanted:
        if name not in found:
            found[name] = Role(name=name)
            work.record("role.add", "role", name)
    return [found[name] for name in wanted]


def _claims(work: UnitOfWork, names: Sequence[str]) -> list[Claim]:
    wanted = sorted({addresses.normalise_right(name) for name in names})
    found = queries.claims(work.session, wanted)
    for name in wanted:
        if name not in found:
            found[name] = Claim(name=name)
            work.record("claim.add", "claim", name)
    return [found[name] for name in wanted]


def _rights(user: User) -> dict[str, list[str]]:
    return {"roles": [role.name for role in user.roles], "claims": [claim.name for claim in user.claims]}


def _fields(user: User) -> dict[str, str | list[str]]:
    return {"email": user.email, "name": user.name, **_rights(user)}
