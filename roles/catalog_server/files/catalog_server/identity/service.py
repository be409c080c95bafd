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
import typing as t
from collections.abc import Sequence
from dataclasses import dataclass, field

from catalog_server.access import SUPER_USER, USER
from catalog_server.database import Lock
from catalog_server.errors import BadRequest, Forbidden, LastAdministrator, NotFound, UserExists
from catalog_server.identity import authority, lockouts, queries
from catalog_server.identity.roles import Created, claims_called, roles_called
from catalog_server.models.identity import ApiKey, User
from catalog_server.unit_of_work import UnitOfWork

SUBJECT = "user"
# What excludes every other change of who is there and what they may.
USERS_LOCK = Lock("users")
MAX_NAME = 150
_USERNAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,99}\Z")
_EMAIL = re.compile(r"[^\s@]{1,64}@[^\s@]{1,180}\Z")
_SECRET_BYTES = 32


@dataclass(frozen=True)
class Saved:
    """A user as it is now, and what saving it did."""

    user: User
    changed: bool
    created: Created


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
) -> Saved:
    """A new user, with the role USER if nothing else is said.

    :raises BadRequest: a name that is not valid
    :raises UserExists: a name that is taken
    :raises Forbidden: the caller may not give these rights
    """
    authority.require_manager(work)
    username, created = username.strip().lower(), Created()
    if not _USERNAME.match(username):
        raise BadRequest(
            f"{username[:100]!r} is not a valid user name: it has letters, digits and . _ @ + - only, at most 100."
        )
    email = _checked_email(email or (username if "@" in username else f"{username}@localhost"))
    _require_free(work, username)
    _require_free(work, email)
    user = User(
        username=username,
        email=email,
        name=_checked_name(name),
        password_hash=password_hash,
        password_ceiling=authority.ceiling_of(work.caller) if password_hash is not None else None,
        created_at=work.now,
        updated_at=work.now,
        roles=roles_called(work, roles or ([] if claims else [USER]), created),
        claims=claims_called(work, claims, created),
    )
    work.session.add(user)
    work.session.flush()
    authority.require_all_rights_of(work, user)
    work.record("user.add", SUBJECT, user.id, username=username, **_rights(user))
    return Saved(user, True, created)


def set_password(work: UnitOfWork, name: str, password_hash: str, *, replaces: int | None = None) -> User:
    """Another password; logins from before are worth nothing any more, and a lockout ends.

    ``replaces`` is the version of the password that the caller proved to know, who needs no other right then. The new
    one opens what the old one did: whoever had set that may know it, too.

    :raises Forbidden: the caller may not, or there is another password by now
    """
    user = authority.own_or_managed(work, name)
    if replaces is None:
        authority.require_all_rights_of(work, user)
        user.password_ceiling = authority.ceiling_of(work.caller)
    elif replaces != user.password_version or not authority.is_own(work, user):
        raise Forbidden("The password has been changed in the meantime.")
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
    disabled: bool | None = None,
) -> Saved:
    """Set what is not None.

    :raises Forbidden: the caller may not manage this user, or not give these rights
    :raises LastAdministrator: nobody would be left who may do everything
    """
    authority.require_manager(work)
    user, created = find(work, name), Created()
    authority.require_all_rights_of(work, user)
    before, was_administrator = _fields(user), _is_administrator(user)
    if email is not None:
        email = _checked_email(email)
        if email != user.email:
            _require_free(work, email, but=user)
        user.email = email
    if shown_name is not None:
        user.name = _checked_name(shown_name)
    if roles is not None:
        user.roles = roles_called(work, roles, created)
    if claims is not None:
        user.claims = claims_called(work, claims, created)
    if disabled is not None and disabled != (user.disabled_at is not None):
        user.disabled_at = work.now if disabled else None
    after = _fields(user)
    if after == before:
        return Saved(user, False, created)
    user.updated_at = work.now
    authority.require_all_rights_of(work, user)
    if was_administrator and not _is_administrator(user):
        _require_administrator(work)
    work.record("user.edit", SUBJECT, user.id, username=user.username, before=before, after=after)
    work.session.flush()
    return Saved(user, True, created)


def edit(
    work: UnitOfWork,
    name: str,
    changes: t.Mapping[str, t.Any],
    *,
    password_hash: str | None = None,
    replaces: int | None = None,
) -> Saved:
    """Set the fields that ``set_fields`` names, and the password, both or neither."""
    saved = None
    if password_hash is not None:
        saved = Saved(set_password(work, name, password_hash, replaces=replaces), True, Created())
    if changes or saved is None:
        fields = set_fields(work, name, **changes)
        saved = Saved(fields.user, fields.changed or saved is not None, fields.created)
    return saved


def delete(work: UnitOfWork, name: str) -> None:
    """Delete a user with its API keys; tokens and grants of it are worth nothing any more.

    :raises LastAdministrator: nobody would be left who may do everything
    """
    authority.require_manager(work)
    user = find(work, name)
    authority.require_all_rights_of(work, user)
    work.record("user.delete", SUBJECT, user.id, username=user.username)
    work.session.flush()
    was_administrator = _is_administrator(user)
    queries.delete_user(work.session, user.id)
    work.session.expunge_all()
    if was_administrator:
        _require_administrator(work)


def log_out(work: UnitOfWork, name: str) -> User:
    """Let every login token and grant of a user be worth nothing any more. API keys stay."""
    user = _own_or_outranked(work, name)
    user.session_number += 1
    user.sessions_valid_after = work.now
    work.record("user.log_out", SUBJECT, user.id, username=user.username)
    return user


def end_grants(work: UnitOfWork, name: str) -> User:
    """Let every grant of a user be worth nothing any more. Logins and API keys stay."""
    user = _own_or_outranked(work, name)
    user.grant_number += 1
    user.grants_valid_after = work.now
    work.record("user.end_grants", SUBJECT, user.id, username=user.username)
    return user


def _own_or_outranked(work: UnitOfWork, name: str) -> User:
    user = authority.own_or_managed(work, name)
    if not authority.is_own(work, user):
        authority.require_all_rights_of(work, user)
    return user


def _is_administrator(user: User) -> bool:
    return user.disabled_at is None and SUPER_USER in {role.name for role in user.roles}


def _require_administrator(work: UnitOfWork) -> None:
    work.session.flush()
    if not queries.has_administrator(work.session):
        raise LastAdministrator(
            f"This is the last enabled user with the role {SUPER_USER}; give that role to another user first."
        )


# API keys


def add_key(work: UnitOfWork, name: str, label: str, expires_at: datetime.datetime | None) -> NewKey:
    """A new API key that acts as the user, with no more rights than the caller has now.

    :raises Forbidden: the caller may not make one of this user
    """
    user = authority.own_or_managed(work, name)
    authority.require_new_key(work, user)
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    key = ApiKey(
        key=secrets.token_hex(8).upper(),
        name=label.strip()[:100] or "key",
        secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
        user_id=user.id,
        created_at=work.now,
        ceiling=authority.ceiling_of_new_key(work, user),
        expires_at=expires_at,
    )
    work.session.add(key)
    work.session.flush()
    until = expires_at.isoformat() if expires_at else None
    work.record("api_key.add", "api_key", key.id, key=key.key, username=user.username, expires_at=until)
    return NewKey(key, secret)


def keys(work: UnitOfWork, name: str) -> Sequence[ApiKey]:
    """The API keys of a user."""
    return queries.api_keys_of(work.session, authority.own_or_managed(work, name).id)


def revoke_key(work: UnitOfWork, key_name: str) -> bool:
    """Let nobody use an API key any more; return True if somebody could.

    :raises NotFound: there is no such key, or it is of a user whom the caller may not see
    """
    unknown = NotFound(f"There is no API key {key_name!r}, or it is not yours.")
    key = queries.api_key(work.session, key_name.strip().upper())
    if key is None:
        raise unknown
    try:
        _own_or_outranked(work, key.user_id)
    except Forbidden:
        raise unknown from None
    if key.revoked_at is not None:
        return False
    key.revoked_at = work.now
    work.record("api_key.revoke", "api_key", key.id, key=key.key)
    return True


def _require_free(work: UnitOfWork, text: str, but: User | None = None) -> None:
    taken = queries.user_called(work.session, text)
    if taken is not None and (but is None or taken.id != but.id):
        raise UserExists(f"There is a user {text!r} already.")


def _checked_name(name: str) -> str:
    name = name.strip()
    if len(name) > MAX_NAME or not (name.isprintable() or not name):
        raise BadRequest(f"The name of a user has at most {MAX_NAME} printable characters.")
    return name


def _checked_email(email: str) -> str:
    email = email.strip().lower()
    if not _EMAIL.match(email):
        raise BadRequest(f"{email!r} is not a valid mail address.")
    return email


def _rights(user: User) -> dict[str, list[str]]:
    return {"roles": [role.name for role in user.roles], "claims": [claim.name for claim in user.claims]}


def _fields(user: User) -> dict[str, t.Any]:
    disabled = user.disabled_at is not None
    return {"email": user.email, "name": user.name, "disabled": disabled, **_rights(user)}
