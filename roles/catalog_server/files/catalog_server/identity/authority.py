# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may manage whom.

Everybody sees and manages his own API keys, password and logins. For anything else of a user it takes the claim
MANAGE_USERS, or the role SUPER_USER. Without that role nobody gives, takes or acts on more than he has himself: whoever
manages a user has every role and claim of that user, before and after. A key or a password that he has given somebody
opens no more than he had then, whatever that user gets later. So MANAGE_USERS alone makes nobody an administrator, and
opens no image that its holder does not see.
"""

from __future__ import annotations

from catalog_server.access import MANAGE_USERS, PASSWORD, Caller
from catalog_server.errors import Forbidden, NotFound
from catalog_server.identity import queries
from catalog_server.identity.standing import rights_of
from catalog_server.models.identity import User
from catalog_server.unit_of_work import UnitOfWork

# Roles and claims, by these two words
Ceiling = dict[str, list[str]]


def own_or_managed(work: UnitOfWork, name: str) -> User:
    """The user with that id, user name or mail address, whom the caller may see.

    :raises Forbidden: it is somebody else, and the caller manages no users
    :raises NotFound: there is no such user
    """
    user = queries.user_with_rights(work.session, name)
    if user is not None and is_own(work, user):
        return user
    if not _manages(work.caller):
        raise Forbidden(f"You need the claim {MANAGE_USERS} for other users than yourself.")
    if user is None:
        raise NotFound(f"There is no user {name!r}.")
    return user


def is_own(work: UnitOfWork, user: User) -> bool:
    """Return True if the caller acts as that user."""
    return work.caller.user_id is not None and work.caller.user_id == user.id


def require_manager(work: UnitOfWork) -> None:
    """:raises Forbidden: the caller manages no users"""
    if not _manages(work.caller):
        raise Forbidden(f"You need the claim {MANAGE_USERS} for this.")


def require_all_rights_of(work: UnitOfWork, user: User) -> None:
    """Check that the caller has every right that a user has now.

    :raises Forbidden: it has not
    """
    if work.caller.is_super_user:
        return
    work.session.flush()
    rights = rights_of(work.session, user.id)
    more = (rights.roles - work.caller.roles) | (rights.claims - work.caller.claims)
    if more:
        raise Forbidden(
            f"You may not do this for the user {user.username!r}, who has or would have roles or claims that you do "
            f"not have: {', '.join(sorted(more))}."
        )


def require_new_key(work: UnitOfWork, user: User) -> None:
    """Check that the caller may make an API key of a user.

    A key that makes itself another one would outlive its end, so for oneself it takes a login with the password.

    :raises Forbidden: it may not
    """
    if _manages(work.caller):
        require_all_rights_of(work, user)
    elif work.caller.source is None or work.caller.source.kind != PASSWORD:
        raise Forbidden("Log in with your password to make an API key: a key cannot make another one.")


def ceiling_of_new_key(work: UnitOfWork, user: User) -> Ceiling | None:
    """Return beyond which rights a key that the caller makes of a user never goes; None for whoever may do everything.

    Otherwise whoever has made a key of somebody would get what that user gets later. A user who logs in with the
    password has all that the password opens anyway.
    """
    caller = work.caller
    if is_own(work, user) and caller.source is not None and caller.source.kind == PASSWORD:
        return user.password_ceiling
    return ceiling_of(caller)


def ceiling_of(caller: Caller) -> Ceiling | None:
    """Return beyond which rights a credential that the caller makes for somebody else never goes.

    It is None for whoever may do everything.
    """
    if caller.is_super_user:
        return None
    return {"roles": sorted(caller.roles), "claims": sorted(caller.claims)}


def _manages(caller: Caller) -> bool:
    return caller.is_super_user or MANAGE_USERS in caller.claims
