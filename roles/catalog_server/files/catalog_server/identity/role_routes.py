# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Roles and claims."""

from __future__ import annotations

import typing as t

from fastapi import APIRouter, Path, status

from catalog_server import access, pools
from catalog_server.identity import queries, roles, service
from catalog_server.identity.schemas import (
    ClaimRecord,
    Claims,
    RoleEdit,
    RoleRecord,
    Roles,
    SavedRoleRecord,
)
from catalog_server.texts import Line
from catalog_server.unit_of_work import Context

router = APIRouter(tags=["roles"])

RoleName = t.Annotated[Line, Path(max_length=200)]


@router.get("/roles")
def list_roles(context: Context) -> Roles:
    """All roles, with their claims."""
    with context.reading(access.MANAGE_PEOPLE) as work:
        return Roles(roles=[RoleRecord.of(role) for role in queries.all_roles(work.session)])


@router.get("/roles/{role}")
def get_role(context: Context, role: RoleName) -> RoleRecord:
    """One role."""
    with context.reading(access.MANAGE_PEOPLE) as work:
        return RoleRecord.of(roles.find(work, role))


@router.put("/roles/{role}")
@pools.writes
def put_role(context: Context, role: RoleName, body: RoleEdit) -> SavedRoleRecord:
    """Make a role, or set its description and its claims."""
    return context.write(
        access.SUPER,
        lambda work: SavedRoleRecord.saved(roles.put(work, role, description=body.description, claims=body.claims)),
        locks=lambda _work: [service.USERS_LOCK],
    )


@router.delete("/roles/{role}", status_code=status.HTTP_204_NO_CONTENT)
@pools.writes
def delete_role(context: Context, role: RoleName) -> None:
    """Delete a role, and take it from everybody."""
    context.write(access.SUPER, lambda work: roles.delete(work, role), locks=lambda _work: [service.USERS_LOCK])


@router.get("/claims")
def list_claims(context: Context) -> Claims:
    """All claims."""
    with context.reading(access.MANAGE_PEOPLE) as work:
        return Claims(claims=[ClaimRecord.of(claim) for claim in queries.all_claims(work.session)])
