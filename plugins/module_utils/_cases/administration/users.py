# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""A user as desired state. Runs on the controller."""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.saved import Json, NewNames
from ansible_collections.macfleet.parallels.plugins.module_utils._api.users import User, UserClient
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.administration.change import (
    Change,
    differing,
    given,
    result,
    rights,
)

_SHOWN = ("username", "email", "name", "roles", "claims", "disabled")


def plan(options: t.Mapping[str, t.Any], found: t.Optional[User]) -> Change:
    """Return what has to happen; pure. A password that is there already cannot be compared."""
    username = options["username"].strip().lower()
    what = f"user {username}"
    before = _shown(found) if found is not None else None
    if options["state"] == "absent":
        return Change(what, before, None)
    wanted = given(
        email=options["email"].strip().lower() if options["email"] else None,
        name=options["name"].strip() if options["name"] is not None else None,
        roles=rights(options["roles"]),
        claims=rights(options["claims"]),
        disabled=options["disabled"],
    )
    password = given(password=options["password"])
    if before is None:
        return Change(what, None, {"username": username, **wanted}, {"username": username, **wanted, **password})
    edits = differing(before, wanted)
    if options["update_password"] != "always":
        password = {}
    return Change(what, before, {**before, **edits}, {**edits, **password})


def _shown(user: User) -> Json:
    data = user.to_json()
    return {name: data[name] for name in _SHOWN}


def apply(client: UserClient, change: Change) -> t.Tuple[t.Optional[User], NewNames]:
    """Carry out a change; return the user as it is afterwards."""
    if change.after is None:
        client.delete(str((change.before or {})["username"]))
        return None, NewNames()
    if change.before is not None:
        return client.edit(str(change.before["username"]), change.edits)
    fields = dict(change.edits)
    disabled = fields.pop("disabled", False)
    user, created = client.add(fields)
    if disabled:
        user, _nothing = client.edit(user.username, {"disabled": True})
    return user, created


def ensure(client: UserClient, options: t.Mapping[str, t.Any], *, check_mode: bool, diff: bool) -> Json:
    """Return the result of ``catalog_user``."""
    found = client.find(options["username"].strip().lower())
    change = plan(options, found)
    if not change.changed:
        return result(change, "user", found.to_json() if found is not None else None, NewNames(), diff=diff)
    if check_mode:
        record = None if change.after is None else {**(found.to_json() if found is not None else {}), **change.after}
        return result(change, "user", record, NewNames(), diff=diff)
    user, created = apply(client, change)
    return result(change, "user", user.to_json() if user is not None else None, created, diff=diff)
