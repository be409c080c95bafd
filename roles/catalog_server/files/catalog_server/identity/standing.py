# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a user stands: everything that decides about its credentials and its rights, read by one statement."""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Row, Select, and_, bindparam, exists, select
from sqlalchemy.orm import Session

from catalog_server.database import NAMES_BETWEEN, JoinedNames
from catalog_server.models.catalog import Catalog
from catalog_server.models.identity import ApiKey, DeniedGrant, User, role_claims, user_claims, user_roles


@dataclass(frozen=True)
class Rights:
    """The roles of a user, and the claims that it has itself or by a role."""

    roles: frozenset[str]
    claims: frozenset[str]

    def limited_to(self, ceiling: Mapping[str, Iterable[str]] | None) -> Rights:
        """Return those that are below a ceiling, as ``ApiKey.ceiling`` and ``User.password_ceiling`` say."""
        if ceiling is None:
            return self
        return Rights(self.roles & set(ceiling["roles"]), self.claims & set(ceiling["claims"]))


@dataclass(frozen=True)
class KeyState:
    """What is known of an API key."""

    id: str
    secret_sha256: str
    expires_at: datetime.datetime | None
    revoked_at: datetime.datetime | None


@dataclass(frozen=True)
class Standing:
    """Everything that decides about the credentials of a user, and its rights, as they are now.

    With an API key, the rights are those that the key has; without, those that a login with the password has.
    """

    user_id: str
    username: str
    email: str
    name: str
    rights: Rights
    disabled: bool
    session_number: int
    grant_number: int
    password_version: int
    catalog: str
    epoch: int
    key: KeyState | None
    denied: bool
    # The rights have a ceiling.
    is_limited: bool


def standing_of(
    session: Session, user_id: str, *, key_id: str | None = None, jti: str | None = None
) -> Standing | None:
    """Return how a user stands, with the API key and the grant of that id; None if there is no such user."""
    row = session.connection().execute(_OF_USER, {"user_id": user_id, "key_id": key_id, "jti": jti}).first()
    return None if row is None else _standing(row)


def standing_of_key(session: Session, key: str) -> Standing | None:
    """Return how the user of an API key stands, None if there is no such key."""
    row = session.connection().execute(_OF_KEY, {"key": key, "jti": None}).first()
    return None if row is None else _standing(row)


def _standings(joins: ColumnElement[bool]) -> Select[*tuple[t.Any, ...]]:
    own_roles = select(user_roles.c.role).where(user_roles.c.user_id == User.id)
    own_claims = select(user_claims.c.claim).where(user_claims.c.user_id == User.id)
    inherited = select(role_claims.c.claim).where(role_claims.c.role.in_(own_roles.correlate(User)))
    return (
        select(
            User.id,
            User.username,
            User.email,
            User.name,
            User.disabled_at,
            User.session_number,
            User.grant_number,
            User.password_version,
            User.password_ceiling,
            ApiKey.id.label("key_id"),
            ApiKey.secret_sha256,
            ApiKey.expires_at,
            ApiKey.revoked_at,
            ApiKey.ceiling,
            _joined(own_roles).label("roles"),
            _joined(own_claims).label("claims"),
            _joined(inherited).label("inherited"),
            select(Catalog.uuid).scalar_subquery().label("catalog"),
            select(Catalog.epoch).scalar_subquery().label("epoch"),
            exists().where(DeniedGrant.jti == bindparam("jti")).label("denied"),
        )
        .select_from(User)
        .outerjoin(ApiKey, joins)
    )


def _joined(names: Select[tuple[str]]) -> ColumnElement[str | None]:
    """All names of a select as one text, so that everything is one statement."""
    column = names.selected_columns[0]
    return names.with_only_columns(JoinedNames(column)).correlate(User).scalar_subquery()


# Made once: every request runs one of them, and to put it together takes longer than to run it.
_OF_USER = _standings(and_(ApiKey.user_id == User.id, ApiKey.id == bindparam("key_id"))).where(
    User.id == bindparam("user_id")
)
_OF_KEY = _standings(ApiKey.user_id == User.id).where(ApiKey.key == bindparam("key"))


def _standing(row: Row[t.Any]) -> Standing:
    key = KeyState(row.key_id, row.secret_sha256, row.expires_at, row.revoked_at) if row.key_id is not None else None
    ceiling = row.ceiling if key is not None else row.password_ceiling
    return Standing(
        user_id=row.id,
        username=row.username,
        email=row.email,
        name=row.name,
        rights=Rights(_cut(row.roles), _cut(row.claims) | _cut(row.inherited)).limited_to(ceiling),
        disabled=row.disabled_at is not None,
        session_number=row.session_number,
        grant_number=row.grant_number,
        password_version=row.password_version,
        catalog=row.catalog,
        epoch=row.epoch,
        key=key,
        denied=bool(row.denied),
        is_limited=ceiling is not None,
    )


def _cut(text: str | None) -> frozenset[str]:
    return frozenset(text.split(NAMES_BETWEEN)) if text else frozenset()


def rights_of(session: Session, user_id: str) -> Rights:
    """The rights of a user, as they are in this transaction."""
    own_roles = select(user_roles.c.role).where(user_roles.c.user_id == user_id)
    own_claims = select(user_claims.c.claim).where(user_claims.c.user_id == user_id)
    inherited = select(role_claims.c.claim).where(role_claims.c.role.in_(own_roles))
    return Rights(
        frozenset(session.scalars(own_roles)),
        frozenset(session.scalars(own_claims)) | frozenset(session.scalars(inherited)),
    )
