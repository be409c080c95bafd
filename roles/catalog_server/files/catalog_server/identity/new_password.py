# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A new password, made ready before the transaction that sets it: its hash takes long."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from starlette.concurrency import run_in_threadpool

from catalog_server.access import KNOWN
from catalog_server.errors import Forbidden, InvalidCredentials
from catalog_server.identity import authority, login
from catalog_server.identity.passwords import check_new
from catalog_server.unit_of_work import RequestContext


@dataclass(frozen=True)
class NewPassword:
    """What is stored of a password; ``replaces`` is the version of the old one, if it was proved."""

    hashed: str = field(repr=False)
    replaces: int | None = None


async def of_new_user(context: RequestContext, password: str) -> NewPassword:
    """The first password of a user that is about to be added.

    :raises Forbidden: the caller adds no users
    """
    check_new(password)
    await run_in_threadpool(_require_manager, context)
    return NewPassword(await _hashed(context, password))


async def of_user(context: RequestContext, name: str, password: str, old: str | None) -> NewPassword:
    """Another password of a user. One's own takes the old one, which a stolen token or key does not know.

    A wrong old password counts as a login that failed.

    :raises Forbidden: the caller may not set it, or the old password is wrong
    :raises LockedOut: too many wrong ones before
    """
    check_new(password)
    username, is_own = await run_in_threadpool(_target, context, name)
    replaces = await _proved(context, username, old) if is_own else None
    return NewPassword(await _hashed(context, password), replaces)


def _require_manager(context: RequestContext) -> None:
    with context.reading(KNOWN) as work:
        authority.require_manager(work)


def _target(context: RequestContext, name: str) -> tuple[str, bool]:
    """The user name of the user, and whether it is the caller itself."""
    with context.reading(KNOWN) as work:
        user = authority.own_or_managed(work, name)
        is_own = authority.is_own(work, user)
        if not is_own:
            authority.require_all_rights_of(work, user)
        return user.username, is_own


async def _proved(context: RequestContext, username: str, old: str | None) -> int:
    if old is None:
        raise Forbidden("Your own password can be changed only together with the old one.")
    try:
        attempt = login.Attempt(username, old, context.address, context.request_id)
        proof = await login.proved(context.services, attempt)
    except InvalidCredentials:
        raise Forbidden("The old password is wrong.") from None
    return proof.version


async def _hashed(context: RequestContext, password: str) -> str:
    return await context.pools.logins.run(partial(context.services.passwords.hashed, password), first=True)
