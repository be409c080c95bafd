# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Roles and claims as JSON."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable

from pydantic import ConfigDict, Field

from catalog_server.bodies import RequestBody, ResponseBody
from catalog_server.identity.roles import Created, SavedRole
from catalog_server.models.identity import Claim, Role
from catalog_server.names import Rights
from catalog_server.texts import Text as LongText


class NewNames(ResponseBody):
    """Names of roles and claims that nobody had used before; one that was meant to be another one shows here."""

    roles: list[str]
    """New roles."""
    claims: list[str]
    """New claims."""

    @classmethod
    def of(cls, created: Created) -> NewNames:
        return cls(roles=created.roles, claims=created.claims)


def names_of(rights: Iterable[Role] | Iterable[Claim]) -> list[str]:
    """The names of roles or claims, in order."""
    return sorted(right.name for right in rights)


class RoleRecord(ResponseBody):
    """A role, and the claims that whoever has it has."""

    name: str
    """Name of the role, in capitals."""
    description: str
    """What the role is for; it may be empty."""
    internal: bool
    """Whether it is one of the server's own, which cannot be deleted."""
    claims: list[str]
    """Claims of whoever has the role."""

    @classmethod
    def of(cls, role: Role) -> RoleRecord:
        return cls(**_role(role))


class SavedRoleRecord(RoleRecord):
    """A role after a change."""

    changed: bool
    """Whether anything was changed."""
    created: NewNames
    """Roles and claims that nobody had used before."""

    @classmethod
    def saved(cls, saved: SavedRole) -> SavedRoleRecord:
        return cls(**_role(saved.role), changed=saved.changed, created=NewNames.of(saved.created))


def _role(role: Role) -> dict[str, t.Any]:
    return {
        "name": role.name,
        "description": role.description,
        "internal": role.internal,
        "claims": names_of(role.claims),
    }


class Roles(ResponseBody):
    """All roles."""

    roles: list[RoleRecord]
    """The roles, ordered by name."""


class RoleEdit(RequestBody):
    """What to set of a role; what is null or left out stays as it is, and is empty in a new one."""

    model_config = ConfigDict(extra="forbid")

    description: t.Annotated[LongText, Field(max_length=1000)] | None = None
    """What the role is for."""
    claims: Rights | None = None
    """Claims of whoever has the role."""


class ClaimRecord(ResponseBody):
    """A claim. Routes ask for internal ones, and manifests and catalog ids for any."""

    name: str
    """Name of the claim, in capitals."""
    description: str
    """What the claim is for; it may be empty."""
    internal: bool
    """Whether it is one of the server's own."""

    @classmethod
    def of(cls, claim: Claim) -> ClaimRecord:
        return cls(name=claim.name, description=claim.description, internal=claim.internal)


class Claims(ResponseBody):
    """All claims."""

    claims: list[ClaimRecord]
    """The claims, ordered by name."""
