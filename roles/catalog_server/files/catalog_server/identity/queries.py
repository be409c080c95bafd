# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every statement on users, roles, claims and API keys."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, or_, select, true, update
from sqlalchemy.orm import Session, selectinload

from catalog_server.access import SUPER_USER
from catalog_server.models.identity import ApiKey, Claim, Role, User, user_roles


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
    """Return True if an enabled user has the role SUPER_USER, and no password that keeps him from using it."""
    statement = select(User.id).join(user_roles, user_roles.c.user_id == User.id)
    enabled = statement.where(
        user_roles.c.role == SUPER_USER, User.disabled_at.is_(None), User.password_ceiling.is_(None)
    ).limit(1)
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


def set_password_hash(session: Session, user_id: str, old: str, new: str) -> None:
    """Store a password in another form, unless it was changed meanwhile."""
    session.execute(
        update(User)
        .where(User.id == user_id, User.password_hash == old)
        .values(password_hash=new)
        .execution_options(synchronize_session=False)
    )
