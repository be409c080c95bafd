# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Login, at the path and in the shape of the stock service, and grants."""

from __future__ import annotations

import typing as t

from fastapi import APIRouter, Path, status

from catalog_server.errors import BadRequest
from catalog_server.identity import access, grants, login
from catalog_server.identity.schemas import (
    Empty,
    GrantRequest,
    LoginReply,
    LoginRequest,
    MintedGrant,
    PullGrantRequest,
    RenewedGrant,
)
from catalog_server.unit_of_work import Context

router = APIRouter(tags=["identity"])


@router.post("/auth/token")
def get_token(context: Context, body: LoginRequest) -> LoginReply:
    """A login token for a password or an API key."""
    if body.api_key:
        token = login.with_api_key(context.services, body.api_key.get_secret_value())
    else:
        name = body.email or body.username
        if not name:
            raise BadRequest("Either email, username or api_key must be given.")
        if not body.password:
            raise BadRequest("The password is missing.")
        token = login.with_password(context.services, name, body.password.get_secret_value(), context.request_id)
    return LoginReply(email=token.email, token=token.token, expires_at=token.expires_at)


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


@router.delete("/grants/{jti}", status_code=status.HTTP_204_NO_CONTENT)
def revoke(context: Context, jti: t.Annotated[str, Path(max_length=100)]) -> None:
    """Take a grant back."""
    context.write(access.KNOWN, lambda work: grants.deny(work, jti))
