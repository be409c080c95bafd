# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Roles and claims of the metadata server."""

from __future__ import annotations

import dataclasses
import typing as t
from dataclasses import dataclass
from urllib.parse import quote

from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Missing, StockServer
from ansible_collections.macfleet.parallels.plugins.module_utils._api.http import Http
from ansible_collections.macfleet.parallels.plugins.module_utils._api.json_reader import JsonReader
from ansible_collections.macfleet.parallels.plugins.module_utils._api.saved import Json, NewNames


@dataclass(frozen=True)
class Role:
    """A role, and the claims that whoever has it has."""

    name: str
    description: str = ""
    internal: bool = False
    claims: t.Tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: t.Any) -> Role:
        """Read what the server sent."""
        reader = JsonReader(data, "role")
        return cls(
            name=reader.text("name"),
            description=reader.text("description", ""),
            internal=reader.truth("internal"),
            claims=reader.texts("claims"),
        )

    def to_json(self) -> Json:
        """Return the same as JSON."""
        return {**dataclasses.asdict(self), "claims": list(self.claims)}


class RoleClient:
    """The calls about roles and claims."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def all(self) -> t.List[Role]:
        """Return all roles."""
        reader = JsonReader(self._http.json("GET", "roles", "list the roles"), "list of roles")
        return [Role.from_json(one) for one in reader.list("roles")]

    def claims(self) -> t.List[str]:
        """Return the names of all claims."""
        reader = JsonReader(self._http.json("GET", "claims", "list the claims"), "list of claims")
        return [JsonReader(one, "claim").text("name") for one in reader.list("claims")]

    def find(self, name: str) -> t.Optional[Role]:
        """Return one role, or None if there is none of that name."""
        try:
            return Role.from_json(self._http.json("GET", _of(name), f"read the role {name!r}"))
        except StockServer:
            raise
        except Missing:
            return None

    def put(self, name: str, changes: t.Mapping[str, t.Any]) -> t.Tuple[Role, NewNames]:
        """Make a role, or set fields of it."""
        reply = self._http.json("PUT", _of(name), f"save the role {name!r}", body=dict(changes))
        return Role.from_json(reply), NewNames.from_json(JsonReader(reply, "role").object("created"))

    def delete(self, name: str) -> None:
        """Delete a role."""
        self._http.json("DELETE", _of(name), f"delete the role {name!r}")


def _of(name: str) -> str:
    return f"roles/{quote(name, safe='')}"
