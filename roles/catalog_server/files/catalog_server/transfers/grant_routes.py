# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Grants: mint, renew, revoke."""

from __future__ import annotations

import typing as t

from fastapi import APIRouter, Path, Query, status

from catalog_server import access, pools
from catalog_server.identity.service import USERS_LOCK
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

UserName = t.Annotated[Wanted | None, Query(max_length=300)]


@router.post("/grants")
def mint(context: Context, body: GrantRequest) -> MintedGrant:
    """A grant for one transfer, with the manifests that it is about."""
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


@router.post("/grants/renew")
def renew(context: Context, _body: Empty | None = None) -> RenewedGrant:
    """The next grant for the one that is sent as the bearer token."""
    with context.reading(access.RENEW) as work:
        minted = grants.renew(work)
        return RenewedGrant.renewed(minted)


@router.get("/grants")
def list_grants(context: Context, user: UserName = None) -> Transfers:
    """The transfers of a user, by default of the caller, that are going on."""
    with context.reading(access.KNOWN) as work:
        return Transfers.of(grants.in_use(work, user))


@router.delete("/grants", status_code=status.HTTP_204_NO_CONTENT)
@pools.writes
def end_grants(context: Context, user: UserName = None) -> None:
    """End every grant of a user, by default of the caller; logins and API keys stay."""
    context.write(access.KNOWN, lambda work: grants.end_all(work, user), locks=lambda _work: [USERS_LOCK])


@router.delete("/grants/{jti}", status_code=status.HTTP_204_NO_CONTENT)
@pools.writes
def revoke(context: Context, jti: t.Annotated[Line, Path(max_length=100)]) -> None:
    """Take a grant back."""
    context.write(access.KNOWN, lambda work: grants.deny(work, jti))
