# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every select on users, roles, keys, failed logins and denied grants."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, case, delete, or_, select, union
from sqlalchemy.orm import Session, selectinload

from catalog_server.database import upsert
from catalog_server.models.identity import (
    ApiKey,
    Claim,
    DeniedGrant,
    LoginFailure,
    Role,
    User,
    role_claims,
    user_claims,
    user_roles,
)


@dataclass(frozen=True)
class Rights:
    """The roles of a user, and the claims that it has itself or by a role."""

    roles: frozenset[str]
    claims: frozenset[str]


def rights(session: Session, user_id: str) -> Rights:
    roles = session.scalars(select(user_roles.c.role).where(user_roles.c.user_id == user_id))
    own = select(user_claims.c.claim).where(user_claims.c.user_id == user_id)
    inherited = (
        select(role_claims.c.claim)
        .join(user_roles, user_roles.c.role == role_claims.c.role)
        .where(user_roles.c.user_id == user_id)
    )
    return Rights(frozenset(roles), frozenset(session.scalars(union(own, inherited))))


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


def _with_rights(session: Session, *conditions: ColumnElement[bool]) -> Sequence[User]:
    statement = select(User).where(*conditions).order_by(User.username)
    options = (selectinload(User.roles), selectinload(User.claims))
    return session.scalars(statement.options(*options).execution_options(populate_existing=True)).all()


def delete_user(session: Session, user_id: str) -> None:
    """The row; the database deletes rights and API keys with it."""
    session.execute(delete(User).where(User.id == user_id))


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


def forget_login_failures(session: Session, subjects: Sequence[str], before: datetime.datetime) -> None:
    """Those of one who has just logged in, and all that are too old to count."""
    session.execute(delete(LoginFailure).where(or_(LoginFailure.subject.in_(subjects), LoginFailure.last_at < before)))


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
