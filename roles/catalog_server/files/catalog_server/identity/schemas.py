# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logins, users and API keys as JSON."""

from __future__ import annotations

import typing as t

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from catalog_server.access import API_KEY, Caller
from catalog_server.bodies import RequestBody, ResponseBody
from catalog_server.catalog.schemas import Text, Timestamp
from catalog_server.identity.passwords import MAX_LENGTH, MIN_LENGTH
from catalog_server.identity.role_schemas import NewNames, names_of
from catalog_server.identity.service import NewKey, Saved
from catalog_server.models.identity import ApiKey, User
from catalog_server.names import Rights
from catalog_server.texts import NOT_IN_LINE, InSchema, Line, SecretText

Password = t.Annotated[SecretText, Field(max_length=1000)]
NewPassword = t.Annotated[Password, InSchema(minLength=MIN_LENGTH, maxLength=MAX_LENGTH)]
_OF_EMAIL = rf"[^\s@{NOT_IN_LINE}]"
Email = t.Annotated[
    Line, Field(max_length=300), InSchema(pattern=rf"^{_OF_EMAIL}{{1,64}}@{_OF_EMAIL}{{1,180}}$", maxLength=245)
]
UserName = t.Annotated[Line, Field(max_length=200), InSchema(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}$")]

_HAS_TEXT: JsonDict = {"type": "string", "minLength": 1}


class LoginRequest(RequestBody):
    """A login, as stock clients send it: an API key, or a password and whose it is."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["api_key"], "properties": {"api_key": _HAS_TEXT}},
                {
                    "required": ["email", "password"],
                    "properties": {"email": _HAS_TEXT, "password": _HAS_TEXT},
                },
                {
                    "required": ["username", "password"],
                    "properties": {"username": _HAS_TEXT, "password": _HAS_TEXT},
                },
            ]
        }
    )

    email: t.Annotated[Line, Field(max_length=300)] | None = None
    """Mail address, user name or id of the user."""
    username: t.Annotated[Line, Field(max_length=300)] | None = None
    """The same as `email`, which goes before it."""
    password: Password | None = None
    """Password of the user."""
    api_key: Password | None = None
    """Base64 of an API key and its secret, with a colon between them; with it, nothing else is needed."""


class LoginReply(ResponseBody):
    """A login token."""

    email: str
    """Mail address of the user."""
    token: str
    """The token, for the header `Authorization: Bearer`."""
    expires_at: int
    """When the token expires, in seconds since 1970."""


class Me(ResponseBody):
    """Who asks, with the rights of this moment."""

    id: str
    """Id of the user."""
    username: str
    """User name."""
    roles: list[str]
    """Roles of the user."""
    claims: list[str]
    """Claims of the user, those of its roles included."""
    credential: t.Literal["token", "api_key"]
    """What the request was sent with."""

    @classmethod
    def of(cls, caller: Caller) -> Me:
        return cls(
            id=caller.user_id or "",
            username=caller.username,
            roles=sorted(caller.roles),
            claims=sorted(caller.claims),
            credential="api_key" if caller.credential == API_KEY else "token",
        )


# Users


class UserRecord(ResponseBody):
    """A user, with the roles and claims that it has itself."""

    id: str
    """Id of the user: 32 hexadecimal digits."""
    username: str
    """User name, in lower case."""
    email: str
    """Mail address."""
    name: str
    """Name as it is shown; it may be empty."""
    roles: list[str]
    """Roles of the user."""
    claims: list[str]
    """Claims that the user has beside those of its roles."""
    disabled: bool
    """Whether the user can do nothing for now."""
    disabled_at: Timestamp | None
    """When it was disabled; null if it is not."""
    has_password: bool
    """Whether the user can log in with a password; otherwise it acts by API keys only."""
    password_limited: bool
    """Whether such a login has at most the rights that whoever set the password had then, who may not do everything."""
    sessions_valid_after: Timestamp | None
    """Logins and grants from before are void; null if the user was never logged out."""
    grants_valid_after: Timestamp | None
    """Grants from before are void; null if they were never ended."""
    created_at: Timestamp
    """When the user was added."""
    updated_at: Timestamp
    """When the user was last changed."""

    @classmethod
    def of(cls, user: User) -> UserRecord:
        return cls(**_user(user))


class SavedUser(UserRecord):
    """A user after a change."""

    changed: bool
    """Whether anything was changed."""
    created: NewNames
    """Roles and claims that nobody had used before."""

    @classmethod
    def saved(cls, saved: Saved) -> SavedUser:
        return cls(**_user(saved.user), changed=saved.changed, created=NewNames.of(saved.created))


def _user(user: User) -> dict[str, t.Any]:
    same = ("id", "username", "email", "name", "disabled_at", "sessions_valid_after", "grants_valid_after")
    return {
        **{name: getattr(user, name) for name in (*same, "created_at", "updated_at")},
        "roles": names_of(user.roles),
        "claims": names_of(user.claims),
        "disabled": user.disabled_at is not None,
        "has_password": user.password_hash is not None,
        "password_limited": user.password_ceiling is not None,
    }


class UserPage(ResponseBody):
    """Some users, and where the next page begins."""

    users: list[UserRecord]
    """The users of this page, ordered by user name."""
    next: str | None
    """Cursor of the next page; null on the last one."""


class NewUser(RequestBody):
    """A user to add."""

    model_config = ConfigDict(extra="forbid")

    username: UserName
    """User name: letters, digits and `.` `_` `@` `+` `-`, at most 100. It becomes lower case."""
    email: Email | None = None
    """Mail address; without one, `username` if it is one, or `username@localhost`."""
    name: t.Annotated[Text, InSchema(maxLength=150)] = ""
    """Name as it is shown."""
    password: NewPassword | None = None
    """Password, of at least 5 different characters; without one, the user acts by API keys only."""
    roles: Rights | None = None
    """Roles; without roles and claims, the user gets the role `USER`."""
    claims: Rights | None = None
    """Claims beside those of the roles."""


class UserEdit(RequestBody):
    """What to set of a user; what is null or left out stays as it is. Lists are replaced as a whole."""

    model_config = ConfigDict(extra="forbid")

    email: Email | None = None
    """Mail address."""
    name: t.Annotated[Text, InSchema(maxLength=150)] | None = None
    """Name as it is shown."""
    roles: Rights | None = None
    """Roles."""
    claims: Rights | None = None
    """Claims beside those of the roles."""
    disabled: bool | None = None
    """Whether the user can do nothing for now."""
    password: NewPassword | None = None
    """Another password, of at least 5 different characters; logins and grants from before become void."""
    old_password: Password | None = None
    """The old password, which is needed to change one's own."""


# API keys


class ApiKeyRecord(ResponseBody):
    """An API key, without its secret."""

    key: str
    """The key: its public part, by which it is listed and revoked."""
    name: str
    """What its maker called it."""
    created_at: Timestamp
    """When it was made."""
    expires_at: Timestamp | None
    """When it expires; null if it does not."""
    last_used_at: Timestamp | None
    """When a request last came with it, to the minute; null if none did."""
    revoked_at: Timestamp | None
    """When it was revoked; null if it was not."""
    limited: bool
    """Whether it has at most the rights that its maker had then: somebody else, who may not do everything."""

    @classmethod
    def of(cls, key: ApiKey) -> ApiKeyRecord:
        same = ("key", "name", "created_at", "expires_at", "last_used_at", "revoked_at")
        return cls(**{name: getattr(key, name) for name in same}, limited=key.ceiling is not None)


class ApiKeys(ResponseBody):
    """The API keys of a user."""

    api_keys: list[ApiKeyRecord]
    """All of them, revoked and expired ones too."""


class NewApiKeyRequest(RequestBody):
    """An API key to make."""

    model_config = ConfigDict(extra="forbid")

    name: t.Annotated[Line, Field(min_length=1, max_length=100)]
    """What to call it."""
    expires_in: t.Annotated[int, Field(ge=60, le=100 * 366 * 86400)] | None
    """For how many seconds it is valid; null until it is revoked."""


class NewApiKey(ApiKeyRecord):
    """An API key that was just made."""

    secret: str
    """What goes into the header `X-Api-Key`. It is shown this once."""

    @classmethod
    def made(cls, new: NewKey) -> NewApiKey:
        return cls(**ApiKeyRecord.of(new.key).model_dump(), secret=new.encoded)
