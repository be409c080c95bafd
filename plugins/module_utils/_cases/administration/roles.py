# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""A role as desired state. Runs on the controller."""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Conflict
from ansible_collections.macfleet.parallels.plugins.module_utils._api.roles import Role, RoleClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.saved import Json, NewNames
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.administration.change import (
    Change,
    differing,
    given,
    result,
    rights,
)


def plan(options: t.Mapping[str, t.Any], found: t.Optional[Role]) -> Change:
    """Return what has to happen; pure.

    :raises Conflict: a role of the server's own is to be deleted
    """
    name = addresses.normalise_right(options["name"])
    before = _shown(found) if found is not None else None
    if options["state"] == "absent":
        if found is not None and found.internal:
            raise Conflict(
                f"Could not delete the role {name!r}: it belongs to the server.",
                "Take the role from the users who shall not have it.",
                code="internal_role",
            )
        return Change(f"role {name}", before, None)
    description = options["description"].strip() if options["description"] is not None else None
    wanted = given(description=description, claims=rights(options["claims"]))
    if before is None:
        return Change(f"role {name}", None, {"name": name, "description": "", "claims": [], **wanted}, wanted)
    edits = differing(before, wanted)
    return Change(f"role {name}", before, {**before, **edits}, edits)


def _shown(role: Role) -> Json:
    return {"name": role.name, "description": role.description, "claims": sorted(role.claims)}


def ensure(client: RoleClient, options: t.Mapping[str, t.Any], *, check_mode: bool, diff: bool) -> Json:
    """Return the result of ``catalog_role``."""
    name = addresses.normalise_right(options["name"])
    found = client.find(name)
    change = plan(options, found)
    record = found.to_json() if found is not None else None
    if not change.changed:
        return result(change, "role", record, NewNames(), diff=diff)
    if check_mode:
        predicted = None if change.after is None else {"internal": False, **(record or {}), **change.after}
        return result(change, "role", predicted, NewNames(), diff=diff)
    if change.after is None:
        client.delete(name)
        return result(change, "role", None, NewNames(), diff=diff)
    role, created = client.put(name, change.edits)
    return result(change, "role", role.to_json(), created, diff=diff)
