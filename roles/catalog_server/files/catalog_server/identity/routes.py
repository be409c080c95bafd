# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Login, at the path and in the shape of the stock service."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from catalog_server.errors import BadRequest
from catalog_server.identity import login
from catalog_server.identity.schemas import LoginReply, LoginRequest
from catalog_server.openapi.operation import ANYBODY, operation
from catalog_server.unit_of_work import Context

router = APIRouter(tags=["logins"])


@router.post("/auth/token", openapi_extra=operation(ANYBODY, "invalid_credentials", "token_expired", "locked_out"))
async def log_in(context: Context, body: LoginRequest) -> LoginReply:
    """Make a login token for a password or an API key.

    It takes either `password` and one of `email` and `username`, or `api_key`.
    """
    if body.api_key:
        secret = body.api_key.get_secret_value()
        token = await run_in_threadpool(
            login.with_api_key, context.services, secret, context.address, context.request_id
        )
    else:
        name = body.email or body.username
        if not name:
            raise BadRequest("Either email, username or api_key must be given.")
        if not body.password:
            raise BadRequest("The password is missing.")
        attempt = login.Attempt(name, body.password.get_secret_value(), context.address, context.request_id)
        token = await login.with_password(context.services, attempt)
    return LoginReply(email=token.email, token=token.token, expires_at=token.expires_at)
