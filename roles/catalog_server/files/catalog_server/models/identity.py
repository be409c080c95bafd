# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Users, roles, claims, API keys, and what is remembered of failed logins and of grants that were taken back."""

from __future__ import annotations

import datetime

from sqlalchemy import JSON, Column, ForeignKey, Index, String, Table
from sqlalchemy.orm import Mapped, mapped_column, relationship

from catalog_server.models.base import Base, Name, ShortId, Timestamp, new_short_id

user_roles = Table(
    "user_roles",
    Base.metadata,
    Column("user_id", ShortId, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("role", Name, ForeignKey("roles.name", ondelete="CASCADE"), primary_key=True),
)

user_claims = Table(
    "user_claims",
    Base.metadata,
    Column("user_id", ShortId, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("claim", Name, ForeignKey("claims.name", ondelete="CASCADE"), primary_key=True),
)

role_claims = Table(
    "role_claims",
    Base.metadata,
    Column("role", Name, ForeignKey("roles.name", ondelete="CASCADE"), primary_key=True),
    Column("claim", Name, ForeignKey("claims.name", ondelete="CASCADE"), primary_key=True),
)


class Role(Base):
    """A role; its name is in capitals, and so is how it is compared."""

    __tablename__ = "roles"

    name: Mapped[str] = mapped_column(Name, primary_key=True)
    description: Mapped[str] = mapped_column(String(1000), default="")
    # The server's own roles cannot be deleted.
    internal: Mapped[bool] = mapped_column(default=False)

    claims: Mapped[list[Claim]] = relationship(secondary=role_claims, lazy="raise", order_by="Claim.name")


class Claim(Base):
    """A claim: the name of a right."""

    __tablename__ = "claims"

    name: Mapped[str] = mapped_column(Name, primary_key=True)
    description: Mapped[str] = mapped_column(String(1000), default="")
    internal: Mapped[bool] = mapped_column(default=False)


class User(Base):
    """Somebody who can log in, or act by an API key. User name and mail address are in lower case."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(ShortId, primary_key=True, default=new_short_id)
    username: Mapped[str] = mapped_column(Name, unique=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    name: Mapped[str] = mapped_column(Name, default="")
    # Argon2id; without one, nobody logs in as this user with a password.
    password_hash: Mapped[str | None] = mapped_column(String(255))
    # Counts the passwords: login tokens from before the last change are worth nothing.
    password_version: Mapped[int] = mapped_column(default=1)
    # The roles and claims of whoever set the password, beyond which a login with it never goes; null: an administrator.
    password_ceiling: Mapped[dict[str, list[str]] | None] = mapped_column(JSON(none_as_null=True))
    # Counts how often it was logged out everywhere, and how often its grants were ended: what was given out under
    # another number is worth nothing. The times are shown, and decide nothing: clocks differ.
    session_number: Mapped[int] = mapped_column(default=0)
    grant_number: Mapped[int] = mapped_column(default=0)
    sessions_valid_after: Mapped[datetime.datetime | None] = mapped_column(Timestamp)
    grants_valid_after: Mapped[datetime.datetime | None] = mapped_column(Timestamp)
    # Nobody acts as this user, by whatever credential.
    disabled_at: Mapped[datetime.datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime.datetime] = mapped_column(Timestamp)
    updated_at: Mapped[datetime.datetime] = mapped_column(Timestamp)

    roles: Mapped[list[Role]] = relationship(secondary=user_roles, lazy="raise", order_by="Role.name")
    claims: Mapped[list[Claim]] = relationship(secondary=user_claims, lazy="raise", order_by="Claim.name")


class ApiKey(Base):
    """A credential of a user. Of its secret, which has at least 128 random bits, only the SHA-256 is kept."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(ShortId, primary_key=True, default=new_short_id)
    key: Mapped[str] = mapped_column(Name, unique=True)
    name: Mapped[str] = mapped_column(Name)
    secret_sha256: Mapped[str] = mapped_column(String(64))
    user_id: Mapped[str] = mapped_column(ShortId, ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime.datetime] = mapped_column(Timestamp)
    # The roles and claims of whoever made it, beyond which it never goes; null: an administrator, or the user itself by
    # a password that has no such limit.
    ceiling: Mapped[dict[str, list[str]] | None] = mapped_column(JSON(none_as_null=True))
    expires_at: Mapped[datetime.datetime | None] = mapped_column(Timestamp)
    last_used_at: Mapped[datetime.datetime | None] = mapped_column(Timestamp)
    revoked_at: Mapped[datetime.datetime | None] = mapped_column(Timestamp)


class LoginFailure(Base):
    """Attempts to log in under one name, known or not, that did not succeed, in a row."""

    __tablename__ = "login_failures"

    # See ``identity/lockouts.py``.
    subject: Mapped[str] = mapped_column(String(80), primary_key=True)
    failures: Mapped[int]
    last_at: Mapped[datetime.datetime] = mapped_column(Timestamp, index=True)


class LoginOrigin(Base):
    """A name, and a network from which somebody has logged in under it."""

    __tablename__ = "login_origins"

    # See ``identity/lockouts.py``.
    subject: Mapped[str] = mapped_column(String(80), primary_key=True)
    last_at: Mapped[datetime.datetime] = mapped_column(Timestamp, index=True)


class DeniedGrant(Base):
    """A grant that was taken back, remembered for as long as it could have been renewed."""

    __tablename__ = "denied_grants"

    jti: Mapped[str] = mapped_column(String(65), primary_key=True)
    denied_at: Mapped[datetime.datetime] = mapped_column(Timestamp)
    forget_at: Mapped[datetime.datetime] = mapped_column(Timestamp, index=True)


class GrantUse(Base):
    """A grant by which a manifest was downloaded, so that it counts once."""

    __tablename__ = "grant_uses"
    __table_args__ = (Index(None, "forget_at"),)

    jti: Mapped[str] = mapped_column(String(65), primary_key=True)
    manifest_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    used_at: Mapped[datetime.datetime] = mapped_column(Timestamp)
    forget_at: Mapped[datetime.datetime] = mapped_column(Timestamp)
