# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Roles and claims. A name that the server does not know is legal: manifests and catalog ids may require any."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses

from catalog_server.errors import BadRequest, InternalRole, NotFound
from catalog_server.identity import queries
from catalog_server.models.identity import Claim, Role
from catalog_server.unit_of_work import UnitOfWork

SUBJECT = "role"
MAX_NAMES = 200


@dataclass
class Created:
    """The names of roles and claims that nobody had used before, collected while they are made."""

    roles: list[str] = field(default_factory=list)
    claims: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SavedRole:
    """A role as it is now, and what saving it did."""

    role: Role
    changed: bool
    created: Created


def normalised(names: Iterable[str]) -> list[str]:
    """The names as they are stored and compared, each once, in order.

    :raises InvalidAddress: one of them is not a valid name
    """
    found = sorted({addresses.normalise_right(name) for name in names})
    if len(found) > MAX_NAMES:
        raise BadRequest(f"At most {MAX_NAMES} roles and {MAX_NAMES} claims can be given.")
    return found


def roles_called(work: UnitOfWork, names: Iterable[str], created: Created) -> list[Role]:
    """The roles with these names; those that are not there are made, without claims."""
    wanted = normalised(names)
    found = queries.roles(work.session, wanted)
    for name in wanted:
        if name not in found:
            found[name] = Role(name=name)
            work.session.add(found[name])
            work.record("role.add", SUBJECT, name)
            created.roles.append(name)
    return [found[name] for name in wanted]


def claims_called(work: UnitOfWork, names: Iterable[str], created: Created) -> list[Claim]:
    """The claims with these names; those that are not there are made."""
    wanted = normalised(names)
    found = queries.claims(work.session, wanted)
    for name in wanted:
        if name not in found:
            found[name] = Claim(name=name)
            work.session.add(found[name])
            work.record("claim.add", "claim", name)
            created.claims.append(name)
    return [found[name] for name in wanted]


def find(work: UnitOfWork, name: str) -> Role:
    """One role, with its claims.

    :raises NotFound: there is none
    """
    role = queries.role(work.session, addresses.normalise_right(name))
    if role is None:
        raise NotFound(f"There is no role {name!r}.")
    return role


def put(work: UnitOfWork, name: str, *, description: str | None, claims: Sequence[str] | None) -> SavedRole:
    """Make a role, or set what is not None."""
    name, created = addresses.normalise_right(name), Created()
    role = queries.role(work.session, name)
    before = _fields(role) if role is not None else None
    if role is None:
        role = Role(name=name, description="", claims=[])
        work.session.add(role)
        created.roles.append(name)
    if description is not None:
        role.description = description.strip()
    if claims is not None:
        role.claims = claims_called(work, claims, created)
    after = _fields(role)
    if after != before:
        work.record("role.edit" if before else "role.add", SUBJECT, name, before=before, after=after)
    work.session.flush()
    return SavedRole(find(work, name), after != before, created)


def delete(work: UnitOfWork, name: str) -> None:
    """Delete a role, and take it from the users who have it. Manifests go on requiring its name.

    :raises InternalRole: it is one of the server's own
    """
    role = find(work, name)
    if role.internal:
        raise InternalRole(f"The role {role.name!r} belongs to the server and cannot be deleted.")
    work.record("role.delete", SUBJECT, role.name, users=list(queries.users_with(work.session, role.name)))
    work.session.flush()
    queries.delete_role(work.session, role.name)
    work.session.expunge_all()


def _fields(role: Role) -> dict[str, str | list[str]]:
    return {"description": role.description, "claims": sorted(claim.name for claim in role.claims)}
