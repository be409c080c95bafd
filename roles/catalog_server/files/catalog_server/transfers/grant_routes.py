# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Grants: mint, renew, revoke."""

from __future__ import annotations

import typing as t

from fastapi import APIRouter, Path, Query, status

from catalog_server import access, pools
from catalog_server.identity.service import USERS_LOCK
from catalog_server.openapi.operation import GRANTS, USERS, operation
from catalog_server.texts import Line, Wanted
from catalog_server.transfers import grants
from catalog_server.transfers.grant_schemas import (
    Empty,
    GrantRequest,
    MintedGrant,
    PullGrantRequest,
    RenewedGrant,
    Transfers,
)
from catalog_server.unit_of_work import Context

router = APIRouter(tags=["grants"])

UserName = t.Annotated[
    Wanted | None,
    Query(max_length=300, description="Id, user name or mail address of the user; by default the caller."),
]
GrantId = t.Annotated[Line, Path(max_length=100, description="Id of the grant.")]


@router.post("/grants", openapi_extra=operation(USERS, "catalog_id_denied", "unknown_manifest", "tainted", "revoked"))
def make_grant(context: Context, body: GrantRequest) -> MintedGrant:
    """Make a grant for one transfer, and return it with the manifests that it is for.

    Making a grant changes nothing, and is not counted as a download.
    """
    if isinstance(body, PullGrantRequest):
        with context.reading(access.READ) as work:
            return MintedGrant.of(grants.mint_pull(work, body.catalog_id, body.version, body.architecture))
    with context.reading(access.MINT_PUSH) as work:
        return MintedGrant.of(
            grants.mint_push(
                work,
                body.catalog_id,
                body.version,
                body.architecture,
                body.bases,
                body.required_roles,
                body.required_claims,
            )
        )


@router.post(
    "/grants/renew",
    openapi_extra=operation(GRANTS, "catalog_id_denied", "unknown_manifest", "tainted", "revoked", "replaced"),
)
def renew_grant(context: Context, _body: Empty | None = None) -> RenewedGrant:
    """Renew the grant that is sent as the bearer token."""
    with context.reading(access.RENEW) as work:
        minted = grants.renew(work)
        return RenewedGrant.renewed(minted)


@router.get("/grants", openapi_extra=operation(USERS, "not_found"))
def list_grants(context: Context, user: UserName = None) -> Transfers:
    """List the transfers of a user that are going on."""
    with context.reading(access.KNOWN) as work:
        return Transfers.of(grants.in_use(work, user))


@router.delete("/grants", status_code=status.HTTP_204_NO_CONTENT, openapi_extra=operation(USERS, "not_found"))
@pools.writes
def end_grants(context: Context, user: UserName = None) -> None:
    """End every grant of a user that was made until now; logins and API keys stay."""
    context.write(access.KNOWN, lambda work: grants.end_all(work, user), locks=lambda _work: [USERS_LOCK])


@router.delete("/grants/{jti}", status_code=status.HTTP_204_NO_CONTENT, openapi_extra=operation(USERS, "not_found"))
@pools.writes
def revoke_grant(context: Context, jti: GrantId) -> None:
    """Take a grant and its renewals back."""
    context.write(access.KNOWN, lambda work: grants.deny(work, jti))
