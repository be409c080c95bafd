# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Roles and claims."""

from __future__ import annotations

import typing as t

from fastapi import APIRouter, Path, status

from catalog_server import access, pools
from catalog_server.identity import queries, roles, service
from catalog_server.identity.role_schemas import (
    ClaimRecord,
    Claims,
    RoleEdit,
    RoleRecord,
    Roles,
    SavedRoleRecord,
)
from catalog_server.names import Right
from catalog_server.openapi.operation import USERS, operation
from catalog_server.unit_of_work import Context

router = APIRouter(tags=["roles"])

RoleName = t.Annotated[Right, Path(description="Name of the role; lower case means the same as capitals.")]


@router.get("/roles", openapi_extra=operation(USERS))
def list_roles(context: Context) -> Roles:
    """List all roles, with their claims."""
    with context.reading(access.MANAGE_PEOPLE) as work:
        return Roles(roles=[RoleRecord.of(role) for role in queries.all_roles(work.session)])


@router.get("/roles/{role}", openapi_extra=operation(USERS, "not_found"))
def get_role(context: Context, role: RoleName) -> RoleRecord:
    """Get a role."""
    with context.reading(access.MANAGE_PEOPLE) as work:
        return RoleRecord.of(roles.find(work, role))


@router.put("/roles/{role}", openapi_extra=operation(USERS))
@pools.writes
def put_role(context: Context, role: RoleName, body: RoleEdit) -> SavedRoleRecord:
    """Make a role, or set its description and its claims."""
    return context.write(
        access.SUPER,
        lambda work: SavedRoleRecord.saved(roles.put(work, role, description=body.description, claims=body.claims)),
        locks=lambda _work: [service.USERS_LOCK],
    )


@router.delete(
    "/roles/{role}",
    status_code=status.HTTP_204_NO_CONTENT,
    openapi_extra=operation(USERS, "not_found", "internal_role"),
)
@pools.writes
def delete_role(context: Context, role: RoleName) -> None:
    """Delete a role, and take it from everybody."""
    context.write(access.SUPER, lambda work: roles.delete(work, role), locks=lambda _work: [service.USERS_LOCK])


@router.get("/claims", openapi_extra=operation(USERS))
def list_claims(context: Context) -> Claims:
    """List all claims."""
    with context.reading(access.MANAGE_PEOPLE) as work:
        return Claims(claims=[ClaimRecord.of(claim) for claim in queries.all_claims(work.session)])
