# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Users of the metadata server."""

from __future__ import annotations

import dataclasses
import typing as t
from dataclasses import dataclass
from urllib.parse import quote

from ansible_collections.macfleet.parallels.plugins.module_utils._api import paged
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Missing, StockServer
from ansible_collections.macfleet.parallels.plugins.module_utils._api.http import Http
from ansible_collections.macfleet.parallels.plugins.module_utils._api.json_reader import JsonReader
from ansible_collections.macfleet.parallels.plugins.module_utils._api.saved import Json, NewNames


@dataclass(frozen=True)
class User:
    """A user, with the roles and claims that it has itself."""

    id: str
    username: str
    email: str
    name: str = ""
    roles: t.Tuple[str, ...] = ()
    claims: t.Tuple[str, ...] = ()
    disabled: bool = False
    has_password: bool = False
    password_limited: bool = False
    created_at: t.Optional[str] = None
    updated_at: t.Optional[str] = None

    @classmethod
    def from_json(cls, data: t.Any) -> User:
        """Read what the server sent."""
        reader = JsonReader(data, "user")
        return cls(
            id=reader.text("id"),
            username=reader.text("username"),
            email=reader.text("email"),
            name=reader.text("name", ""),
            roles=reader.texts("roles"),
            claims=reader.texts("claims"),
            disabled=reader.truth("disabled"),
            has_password=reader.truth("has_password"),
            password_limited=reader.truth("password_limited"),
            created_at=reader.optional_text("created_at"),
            updated_at=reader.optional_text("updated_at"),
        )

    def to_json(self) -> Json:
        """Return the same as JSON."""
        return {**dataclasses.asdict(self), "roles": list(self.roles), "claims": list(self.claims)}


class UserClient:
    """The calls about users."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def me(self) -> Json:
        """Return who the caller is, with its roles and claims."""
        reader = JsonReader(self._http.json("GET", "me", "ask who the caller is"), "caller")
        return {
            "id": reader.text("id"),
            "username": reader.text("username"),
            "roles": list(reader.texts("roles")),
            "claims": list(reader.texts("claims")),
        }

    def all(self) -> t.List[User]:
        """Return all users."""
        return [User.from_json(one) for one in paged.items(self._http, "users", "users", "list the users")]

    def find(self, username: str) -> t.Optional[User]:
        """Return one user, or None if there is none of that name."""
        try:
            return User.from_json(self._http.json("GET", _of(username), f"read the user {username!r}"))
        except StockServer:
            raise
        except Missing:
            return None

    def add(self, fields: t.Mapping[str, t.Any]) -> t.Tuple[User, NewNames]:
        """Add a user."""
        doing = f"add the user {fields['username']!r}"
        return _saved(self._http.json("POST", "users", doing, body=dict(fields)))

    def edit(self, username: str, changes: t.Mapping[str, t.Any]) -> t.Tuple[User, NewNames]:
        """Set fields of a user."""
        doing = f"change the user {username!r}"
        return _saved(self._http.json("PATCH", _of(username), doing, body=dict(changes)))

    def delete(self, username: str) -> None:
        """Delete a user with its API keys."""
        self._http.json("DELETE", _of(username), f"delete the user {username!r}")


def _saved(reply: t.Any) -> t.Tuple[User, NewNames]:
    user = User.from_json(reply)
    return user, NewNames.from_json(JsonReader(reply, "user").object("created"))


def _of(username: str) -> str:
    return f"users/{quote(username, safe='')}"
