# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every select on users, roles, keys, failed logins and denied grants."""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.orm import Session, selectinload

from catalog_server.access import SUPER_USER
from catalog_server.database import upsert
from catalog_server.models.catalog import Catalog
from catalog_server.models.identity import (
    ApiKey,
    Claim,
    DeniedGrant,
    LoginFailure,
    LoginOrigin,
    Role,
    User,
    role_claims,
    user_claims,
    user_roles,
)

# Stands in no name of a role or claim.
_BETWEEN = "\n"


@dataclass(frozen=True)
class Rights:
    """The roles of a user, and the claims that it has itself or by a role."""

    roles: frozenset[str]
    claims: frozenset[str]


@dataclass(frozen=True)
class KeyState:
    """What is known of an API key."""

    id: str
    secret_sha256: str
    expires_at: datetime.datetime | None
    revoked_at: datetime.datetime | None


@dataclass(frozen=True)
class Standing:
    """Everything that decides about the credentials of a user, and its rights, as they are now."""

    user_id: str
    username: str
    email: str
    name: str
    rights: Rights
    disabled: bool
    sessions_valid_after: datetime.datetime | None
    grants_valid_after: datetime.datetime | None
    password_version: int
    catalog: str
    epoch: int
    key: KeyState | None
    denied: bool


def standing(session: Session, user_id: str, *, key_id: str | None = None, jti: str | None = None) -> Standing | None:
    """Return how a user stands, with the API key and the grant of that id; None if there is no such user."""
    row = session.execute(_OF_USER, {"user_id": user_id, "key_id": key_id, "jti": jti}).first()
    return None if row is None else _standing(row)


def standing_of_key(session: Session, key: str) -> Standing | None:
    """Return how the user of an API key stands, None if there is no such key."""
    row = session.execute(_OF_KEY, {"key": key, "jti": None}).first()
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
            User.sessions_valid_after,
            User.grants_valid_after,
            User.password_version,
            ApiKey.id.label("key_id"),
            ApiKey.secret_sha256,
            ApiKey.expires_at,
            ApiKey.revoked_at,
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
    return names.with_only_columns(func.aggregate_strings(column, _BETWEEN)).correlate(User).scalar_subquery()


# Made once: every request runs one of them, and to put it together takes longer than to run it.
_OF_USER = _standings(and_(ApiKey.user_id == User.id, ApiKey.id == bindparam("key_id"))).where(
    User.id == bindparam("user_id")
)
_OF_KEY = _standings(ApiKey.user_id == User.id).where(ApiKey.key == bindparam("key"))


def _standing(row: Row[t.Any]) -> Standing:
    key = KeyState(row.key_id, row.secret_sha256, row.expires_at, row.revoked_at) if row.key_id is not None else None
    return Standing(
        user_id=row.id,
        username=row.username,
        email=row.email,
        name=row.name,
        rights=Rights(_cut(row.roles), _cut(row.claims) | _cut(row.inherited)),
        disabled=row.disabled_at is not None,
        sessions_valid_after=row.sessions_valid_after,
        grants_valid_after=row.grants_valid_after,
        password_version=row.password_version,
        catalog=row.catalog,
        epoch=row.epoch,
        key=key,
        denied=bool(row.denied),
    )


def _cut(text: str | None) -> frozenset[str]:
    return frozenset(text.split(_BETWEEN)) if text else frozenset()


def rights_of(session: Session, user_id: str) -> Rights:
    """The rights of a user, as they are in this transaction."""
    own_roles = select(user_roles.c.role).where(user_roles.c.user_id == user_id)
    own_claims = select(user_claims.c.claim).where(user_claims.c.user_id == user_id)
    inherited = select(role_claims.c.claim).where(role_claims.c.role.in_(own_roles))
    return Rights(
        frozenset(session.scalars(own_roles)),
        frozenset(session.scalars(own_claims)) | frozenset(session.scalars(inherited)),
    )


def user(session: Session, user_id: str) -> User | None:
    return session.get(User, user_id)


def user_called(session: Session, text: str) -> User | None:
    """The user with that id, user name or mail address; a user name goes before a mail address."""
    name = text.strip().lower()
    found = session.scalars(select(User).where(or_(User.id == name, User.username == name, User.email == name))).all()
    return min(found, key=lambda one: (one.id != name, one.username != name), default=None)


def user_with_rights(session: Session, text: str) -> User | None:
    """The same, with roles and claims loaded."""
    found = user_called(session, text)
    return found and _with_rights(session, User.id == found.id)[0]


def users(session: Session) -> Sequence[User]:
    """All users, with roles and claims loaded."""
    return _with_rights(session)


def page_of_users(session: Session, after: str | None, limit: int) -> Sequence[User]:
    """The first ``limit`` users whose user name comes behind ``after``, with roles and claims loaded."""
    return _with_rights(session, User.username > after if after is not None else true(), limit=limit)


def has_administrator(session: Session) -> bool:
    """Return True if an enabled user has the role SUPER_USER."""
    statement = select(User.id).join(user_roles, user_roles.c.user_id == User.id)
    enabled = statement.where(user_roles.c.role == SUPER_USER, User.disabled_at.is_(None)).limit(1)
    return session.scalar(enabled) is not None


def _with_rights(session: Session, *conditions: ColumnElement[bool], limit: int | None = None) -> Sequence[User]:
    statement = select(User).where(*conditions).order_by(User.username).limit(limit)
    options = (selectinload(User.roles), selectinload(User.claims))
    return session.scalars(statement.options(*options).execution_options(populate_existing=True)).all()


def delete_user(session: Session, user_id: str) -> None:
    """The row; the database deletes rights and API keys with it."""
    session.execute(delete(User).where(User.id == user_id))


def all_roles(session: Session) -> Sequence[Role]:
    """All roles, with their claims loaded."""
    return session.scalars(select(Role).options(selectinload(Role.claims)).order_by(Role.name)).all()


def role(session: Session, name: str) -> Role | None:
    """One role, with its claims loaded."""
    statement = select(Role).options(selectinload(Role.claims)).where(Role.name == name)
    return session.scalar(statement.execution_options(populate_existing=True))


def users_with(session: Session, role_name: str) -> Sequence[str]:
    """The names of the users who have a role."""
    statement = select(User.username).join(user_roles, user_roles.c.user_id == User.id)
    return session.scalars(statement.where(user_roles.c.role == role_name).order_by(User.username)).all()


def delete_role(session: Session, name: str) -> None:
    """The row; the database takes it from users with it."""
    session.execute(delete(Role).where(Role.name == name))


def all_claims(session: Session) -> Sequence[Claim]:
    return session.scalars(select(Claim).order_by(Claim.name)).all()


def roles(session: Session, names: Sequence[str]) -> dict[str, Role]:
    return {role.name: role for role in session.scalars(select(Role).where(Role.name.in_(names)))}


def claims(session: Session, names: Sequence[str]) -> dict[str, Claim]:
    return {claim.name: claim for claim in session.scalars(select(Claim).where(Claim.name.in_(names)))}


def api_key(session: Session, key: str) -> ApiKey | None:
    return session.scalar(select(ApiKey).where(ApiKey.key == key))


def api_keys_of(session: Session, user_id: str) -> Sequence[ApiKey]:
    return session.scalars(select(ApiKey).where(ApiKey.user_id == user_id).order_by(ApiKey.name, ApiKey.id)).all()


def login_failure(session: Session, subject: str) -> LoginFailure | None:
    return session.get(LoginFailure, subject)


def forget_login_failures(session: Session, before: datetime.datetime) -> None:
    """Those that are too old to count."""
    session.execute(delete(LoginFailure).where(LoginFailure.last_at < before))


def forget_login_failures_of(session: Session, subjects: Sequence[str]) -> None:
    session.execute(delete(LoginFailure).where(LoginFailure.subject.in_(subjects)))


def forget_login_failures_of_name(session: Session, subject: str) -> None:
    """Those of a name, and of it from each network."""
    session.execute(delete(LoginFailure).where(LoginFailure.subject.startswith(subject, autoescape=True)))


def uncount_login_failure(session: Session, subject: str) -> None:
    session.execute(
        update(LoginFailure)
        .where(LoginFailure.subject == subject, LoginFailure.failures > 0)
        .values(failures=LoginFailure.failures - 1)
        .execution_options(synchronize_session=False)
    )


def is_login_origin(session: Session, subject: str) -> bool:
    """Return True if somebody has logged in under that name and from that network."""
    return session.scalar(select(LoginOrigin.subject).where(LoginOrigin.subject == subject)) is not None


def remember_login_origin(session: Session, subject: str, now: datetime.datetime) -> None:
    insert = upsert(session, LoginOrigin).values(subject=subject, last_at=now)
    session.execute(
        insert.on_conflict_do_update(index_elements=[LoginOrigin.subject], set_={"last_at": insert.excluded.last_at})
    )


def forget_login_origins(session: Session, before: datetime.datetime) -> None:
    session.execute(delete(LoginOrigin).where(LoginOrigin.last_at < before))


def set_password_hash(session: Session, user_id: str, old: str, new: str) -> None:
    """Store a password in another form, unless it was changed meanwhile."""
    session.execute(
        update(User)
        .where(User.id == user_id, User.password_hash == old)
        .values(password_hash=new)
        .execution_options(synchronize_session=False)
    )


def count_login_failure(
    session: Session, subject: str, now: datetime.datetime, limit: int
) -> tuple[int, datetime.datetime]:
    """Count one more; return how many there are in a row and when the last of the first ``limit`` was."""
    insert = upsert(session, LoginFailure).values(subject=subject, failures=1, last_at=now)
    statement = insert.on_conflict_do_update(
        index_elements=[LoginFailure.subject],
        set_={
            "failures": LoginFailure.failures + 1,
            "last_at": case((LoginFailure.failures < limit, insert.excluded.last_at), else_=LoginFailure.last_at),
        },
    ).returning(LoginFailure.failures, LoginFailure.last_at)
    row = session.execute(statement).one()
    return row.failures, row.last_at


def is_denied(session: Session, jti: str) -> bool:
    return session.get(DeniedGrant, jti) is not None


def forget_denied_grants(session: Session, now: datetime.datetime) -> None:
    session.execute(delete(DeniedGrant).where(DeniedGrant.forget_at < now))
