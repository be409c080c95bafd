# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Users, their logins and their API keys, and who the caller is."""

from __future__ import annotations

import typing as t

from fastapi import APIRouter, Path, status
from pydantic import SecretStr

from catalog_server import access, paging, pools
from catalog_server.identity import authority, new_password, queries, service
from catalog_server.identity.new_password import NewPassword
from catalog_server.identity.schemas import (
    ApiKeyRecord,
    ApiKeys,
    Me,
    NewApiKey,
    NewApiKeyRequest,
    NewUser,
    SavedUser,
    UserEdit,
    UserPage,
    UserRecord,
)
from catalog_server.openapi.operation import USERS, operation
from catalog_server.texts import Line
from catalog_server.unit_of_work import Context, UnitOfWork

router = APIRouter(tags=["users"])

UserName = t.Annotated[Line, Path(max_length=300, description="Id, user name or mail address of the user.")]
Key = t.Annotated[Line, Path(max_length=100, description="The public part of the API key.")]


@router.get("/me", openapi_extra=operation(USERS))
def get_me(context: Context) -> Me:
    """Tell who the caller is, with its roles and claims."""
    with context.reading(access.KNOWN) as work:
        return Me.of(work.caller)


@router.get("/users", openapi_extra=operation(USERS))
def list_users(context: Context, limit: paging.Limit = None, cursor: paging.Cursor = None) -> UserPage:
    """List all users, page by page."""
    after = paging.parts(context.services.keys, cursor, 1)[0] if cursor is not None else None
    length = paging.length(context.services.settings, limit)
    with context.reading(access.MANAGE_PEOPLE) as work:
        found = queries.page_of_users(work.session, after, length + 1)
        return UserPage(
            users=[UserRecord.of(user) for user in found[:length]],
            next=paging.cursor(context.services.keys, found[length - 1].username) if len(found) > length else None,
        )


@router.get("/users/{user}", openapi_extra=operation(USERS, "not_found"))
def get_user(context: Context, user: UserName) -> UserRecord:
    """Get a user."""
    with context.reading(access.KNOWN) as work:
        return UserRecord.of(authority.own_or_managed(work, user))


@router.post("/users", status_code=status.HTTP_201_CREATED, openapi_extra=operation(USERS, "user_exists"))
async def add_user(context: Context, body: NewUser) -> SavedUser:
    """Add a user."""
    text = _text(body.password)
    password = None
    if text is not None:
        password = await new_password.of_new_user(context, text)
    hashed = password.hashed if password is not None else None

    def add(work: UnitOfWork) -> SavedUser:
        return SavedUser.saved(
            service.add(work, body.username, body.email, body.name, hashed, body.roles or [], body.claims or [])
        )

    return await context.pools.writes.run(
        lambda: context.write(access.MANAGE_PEOPLE, add, locks=lambda _work: [service.USERS_LOCK])
    )


@router.patch(
    "/users/{user}",
    openapi_extra=operation(USERS, "not_found", "user_exists", "last_administrator", "locked_out"),
)
async def edit_user(context: Context, user: UserName, body: UserEdit) -> SavedUser:
    """Set fields of a user, or its password.

    Everybody may change one's own password with the old one. Everything else is for those who manage users.
    """
    text, old = _text(body.password), _text(body.old_password)
    password = None
    if text is not None:
        password = await new_password.of_user(context, user, text, old)
    return await context.pools.writes.run(
        lambda: context.write(
            access.KNOWN,
            lambda work: _edit(work, user, body, password),
            locks=lambda _work: [service.USERS_LOCK],
        )
    )


def _edit(work: UnitOfWork, name: str, body: UserEdit, password: NewPassword | None) -> SavedUser:
    changes = body.model_dump(exclude={"password", "old_password"}, exclude_none=True)
    if "name" in changes:
        changes["shown_name"] = changes.pop("name")
    return SavedUser.saved(
        service.edit(
            work,
            name,
            changes,
            password_hash=password.hashed if password is not None else None,
            replaces=password.replaces if password is not None else None,
        )
    )


def _text(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None


@router.delete(
    "/users/{user}",
    status_code=status.HTTP_204_NO_CONTENT,
    openapi_extra=operation(USERS, "not_found", "last_administrator"),
)
@pools.writes
def delete_user(context: Context, user: UserName) -> None:
    """Delete a user, with its API keys; its logins and grants end."""
    context.write(
        access.MANAGE_PEOPLE,
        lambda work: service.delete(work, user),
        locks=lambda _work: [service.USERS_LOCK],
    )


@router.post(
    "/users/{user}/logout",
    status_code=status.HTTP_204_NO_CONTENT,
    openapi_extra=operation(USERS, "not_found"),
)
@pools.writes
def log_out_user(context: Context, user: UserName) -> None:
    """End every login and every grant of a user; API keys stay."""
    context.write(access.KNOWN, lambda work: service.log_out(work, user), locks=lambda _work: [service.USERS_LOCK])


@router.get("/users/{user}/api_keys", openapi_extra=operation(USERS, "not_found"))
def list_api_keys(context: Context, user: UserName) -> ApiKeys:
    """List the API keys of a user, without their secrets."""
    with context.reading(access.KNOWN) as work:
        return ApiKeys(api_keys=[ApiKeyRecord.of(key) for key in service.keys(work, user)])


@router.post(
    "/users/{user}/api_keys",
    status_code=status.HTTP_201_CREATED,
    openapi_extra=operation(USERS, "not_found"),
)
@pools.writes
def add_api_key(context: Context, user: UserName, body: NewApiKeyRequest) -> NewApiKey:
    """Make an API key that acts as the user; its secret is shown this once."""

    def add(work: UnitOfWork) -> NewApiKey:
        end = work.in_seconds(body.expires_in) if body.expires_in is not None else None
        return NewApiKey.made(service.add_key(work, user, body.name, end))

    return context.write(access.KNOWN, add, locks=lambda _work: [service.USERS_LOCK])


@router.delete("/api_keys/{key}", status_code=status.HTTP_204_NO_CONTENT, openapi_extra=operation(USERS, "not_found"))
@pools.writes
def revoke_api_key(context: Context, key: Key) -> None:
    """Revoke an API key for good; what was obtained with it ends."""
    context.write(access.KNOWN, lambda work: service.revoke_key(work, key), locks=lambda _work: [service.USERS_LOCK])
