# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""API keys of the users of the metadata server."""

from __future__ import annotations

import dataclasses
import typing as t
from dataclasses import dataclass, field
from urllib.parse import quote

from ansible_collections.macfleet.parallels.plugins.module_utils._api.http import Http
from ansible_collections.macfleet.parallels.plugins.module_utils._api.json_reader import JsonReader
from ansible_collections.macfleet.parallels.plugins.module_utils._api.saved import Json


@dataclass(frozen=True)
class ApiKey:
    """An API key, without its secret. ``ends`` is when it expires, in seconds since 1970; None means never."""

    key: str
    name: str
    created_at: t.Optional[str] = None
    expires_at: t.Optional[str] = None
    last_used_at: t.Optional[str] = None
    revoked_at: t.Optional[str] = None
    limited: bool = False
    ends: t.Optional[float] = None

    @classmethod
    def from_json(cls, data: t.Any) -> ApiKey:
        """Read what the server sent."""
        reader = JsonReader(data, "API key")
        expires_at = reader.optional_text("expires_at")
        return cls(
            key=reader.text("key"),
            name=reader.text("name"),
            created_at=reader.optional_text("created_at"),
            expires_at=expires_at,
            last_used_at=reader.optional_text("last_used_at"),
            revoked_at=reader.optional_text("revoked_at"),
            limited=reader.truth("limited"),
            ends=reader.timestamp("expires_at") if expires_at is not None else None,
        )

    def to_json(self) -> Json:
        """Return the same as JSON."""
        data = dataclasses.asdict(self)
        del data["ends"]
        return data

    def is_good(self, now: float) -> bool:
        """Return True if somebody can act by it at ``now``, in seconds since 1970."""
        return self.revoked_at is None and (self.ends is None or self.ends > now)


@dataclass(frozen=True)
class NewApiKey:
    """An API key, the only time that its secret is seen."""

    api_key: ApiKey
    secret: str = field(repr=False)


class ApiKeyClient:
    """The calls about API keys."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def of_user(self, username: str) -> t.List[ApiKey]:
        """Return the API keys of a user, revoked and expired ones too."""
        reply = self._http.json("GET", _of(username), f"list the API keys of {username!r}")
        return [ApiKey.from_json(one) for one in JsonReader(reply, "list of API keys").list("api_keys")]

    def add(self, username: str, name: str, expires_in: t.Optional[int]) -> NewApiKey:
        """Make an API key; it is good for ``expires_in`` seconds, with None until it is revoked."""
        body = {"name": name, "expires_in": expires_in}
        reply = self._http.json("POST", _of(username), f"make an API key of {username!r}", body=body)
        return NewApiKey(ApiKey.from_json(reply), JsonReader(reply, "API key").text("secret"))

    def revoke(self, key: str) -> None:
        """Let nobody act by an API key any more."""
        self._http.json("DELETE", f"api_keys/{quote(key, safe='')}", f"revoke the API key {key}")


def _of(username: str) -> str:
    return f"users/{quote(username, safe='')}/api_keys"
