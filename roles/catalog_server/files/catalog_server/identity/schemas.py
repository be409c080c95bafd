# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logins, users, roles and API keys as JSON."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

from catalog_server.access import Caller
from catalog_server.catalog.schemas import Text, Texts, Timestamp
from catalog_server.identity.roles import Created, SavedRole
from catalog_server.identity.service import NewKey, Saved
from catalog_server.models.identity import ApiKey, Claim, Role, User
from catalog_server.texts import Line, RequestBody, SecretText
from catalog_server.texts import Text as LongText

Password = t.Annotated[SecretText, Field(max_length=1000)]


class LoginRequest(RequestBody):
    """As stock clients send it: an API key, or a password and whose it is."""

    email: t.Annotated[Line, Field(max_length=300)] | None = None
    username: t.Annotated[Line, Field(max_length=300)] | None = None
    password: Password | None = None
    api_key: Password | None = None


class LoginReply(BaseModel):
    """A login token."""

    email: str
    token: str
    expires_at: int


class Me(BaseModel):
    """Who asks, with the rights of this moment."""

    id: str
    username: str
    roles: list[str]
    claims: list[str]
    # token or api_key
    credential: str

    @classmethod
    def of(cls, caller: Caller) -> Me:
        return cls(
            id=caller.user_id or "",
            username=caller.username,
            roles=sorted(caller.roles),
            claims=sorted(caller.claims),
            credential=caller.credential,
        )


class NewNames(BaseModel):
    """Names of roles and claims that nobody had used before; one that was meant to be another one shows here."""

    roles: list[str]
    claims: list[str]

    @classmethod
    def of(cls, created: Created) -> NewNames:
        return cls(roles=created.roles, claims=created.claims)


# Users


class UserRecord(BaseModel):
    """A user, with the roles and claims that it has itself."""

    id: str
    username: str
    email: str
    name: str
    roles: list[str]
    claims: list[str]
    disabled: bool
    disabled_at: Timestamp | None
    has_password: bool
    sessions_valid_after: Timestamp | None
    grants_valid_after: Timestamp | None
    created_at: Timestamp
    updated_at: Timestamp

    @classmethod
    def of(cls, user: User) -> UserRecord:
        return cls(**_user(user))


class SavedUser(UserRecord):
    """A user after a change."""

    changed: bool
    created: NewNames

    @classmethod
    def saved(cls, saved: Saved) -> SavedUser:
        return cls(**_user(saved.user), changed=saved.changed, created=NewNames.of(saved.created))


def _user(user: User) -> dict[str, t.Any]:
    same = ("id", "username", "email", "name", "disabled_at", "sessions_valid_after", "grants_valid_after")
    return {
        **{name: getattr(user, name) for name in (*same, "created_at", "updated_at")},
        "roles": _names(user.roles),
        "claims": _names(user.claims),
        "disabled": user.disabled_at is not None,
        "has_password": user.password_hash is not None,
    }


def _names(rights: Iterable[Role] | Iterable[Claim]) -> list[str]:
    return sorted(right.name for right in rights)


class UserPage(BaseModel):
    """Some users, and where the next page begins."""

    users: list[UserRecord]
    next: str | None


class NewUser(RequestBody):
    """A user to add; without a password, it acts by API keys only."""

    model_config = ConfigDict(extra="forbid")

    username: Text
    email: t.Annotated[Line, Field(max_length=300)] | None = None
    name: Text = ""
    password: Password | None = None
    roles: Texts | None = None
    claims: Texts | None = None


class UserEdit(RequestBody):
    """What to set. One's own password takes the old one, too."""

    model_config = ConfigDict(extra="forbid")

    email: t.Annotated[Line, Field(max_length=300)] | None = None
    name: Text | None = None
    roles: Texts | None = None
    claims: Texts | None = None
    disabled: bool | None = None
    password: Password | None = None
    old_password: Password | None = None


# API keys


class ApiKeyRecord(BaseModel):
    """An API key, without its secret."""

    key: str
    name: str
    created_at: Timestamp
    expires_at: Timestamp | None
    last_used_at: Timestamp | None
    revoked_at: Timestamp | None

    @classmethod
    def of(cls, key: ApiKey) -> ApiKeyRecord:
        return cls(**{name: getattr(key, name) for name in cls.model_fields})


class ApiKeys(BaseModel):
    """The API keys of a user, revoked and expired ones too."""

    api_keys: list[ApiKeyRecord]


class NewApiKeyRequest(RequestBody):
    """An API key to make; null lets it be good until it is revoked."""

    model_config = ConfigDict(extra="forbid")

    name: t.Annotated[Line, Field(min_length=1, max_length=100)]
    expires_in: t.Annotated[int, Field(ge=60, le=100 * 366 * 86400)] | None


class NewApiKey(ApiKeyRecord):
    """An API key, the only time that its secret is seen: what goes into the header X-Api-Key."""

    secret: str

    @classmethod
    def made(cls, new: NewKey) -> NewApiKey:
        return cls(**ApiKeyRecord.of(new.key).model_dump(), secret=new.encoded)


# Roles and claims


class RoleRecord(BaseModel):
    """A role, and the claims that whoever has it has."""

    name: str
    description: str
    internal: bool
    claims: list[str]

    @classmethod
    def of(cls, role: Role) -> RoleRecord:
        return cls(**_role(role))


class SavedRoleRecord(RoleRecord):
    """A role after a change."""

    changed: bool
    created: NewNames

    @classmethod
    def saved(cls, saved: SavedRole) -> SavedRoleRecord:
        return cls(**_role(saved.role), changed=saved.changed, created=NewNames.of(saved.created))


def _role(role: Role) -> dict[str, t.Any]:
    return {
        "name": role.name,
        "description": role.description,
        "internal": role.internal,
        "claims": _names(role.claims),
    }


class Roles(BaseModel):
    """All roles."""

    roles: list[RoleRecord]


class RoleEdit(RequestBody):
    """What to set of a role; what is left out stays, and is empty in a new one."""

    model_config = ConfigDict(extra="forbid")

    description: t.Annotated[LongText, Field(max_length=1000)] | None = None
    claims: Texts | None = None


class ClaimRecord(BaseModel):
    """A claim; routes ask for internal ones, and manifests and catalog ids for any."""

    name: str
    description: str
    internal: bool

    @classmethod
    def of(cls, claim: Claim) -> ClaimRecord:
        return cls(name=claim.name, description=claim.description, internal=claim.internal)


class Claims(BaseModel):
    """All claims."""

    claims: list[ClaimRecord]
