# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""A catalog id as desired state. Runs on the controller."""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses
from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog_ids import CatalogId, CatalogIdClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.saved import Json, NewNames
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.administration.change import (
    Change,
    differing,
    given,
    result,
    rights,
)

_NO_LIMIT = -1
_RIGHTS = ("push_roles", "push_claims", "tag_roles", "tag_claims")


def plan(options: t.Mapping[str, t.Any], found: t.Optional[CatalogId]) -> Change:
    """Return what has to happen; pure."""
    name = addresses.normalise_catalog_id(options["catalog_id"])
    what = f"catalog id {name}"
    before = _shown(found) if found is not None else None
    if options["state"] == "absent":
        return Change(what, before, None)
    wanted = _wanted(options)
    if before is None:
        return Change(what, None, {**_shown(CatalogId(name)), **wanted}, wanted)
    edits = differing(before, wanted)
    return Change(what, before, {**before, **edits}, edits)


def _wanted(options: t.Mapping[str, t.Any]) -> Json:
    wanted = given(
        **{name: rights(options[name]) for name in _RIGHTS},
        native_only=options["native_only"],
        immutable_tags=options["immutable_tags"],
    )
    if options["quota_bytes"] is not None:
        wanted["quota_bytes"] = None if options["quota_bytes"] == _NO_LIMIT else options["quota_bytes"]
    if options["retention"] is not None:
        wanted["retention"] = _retention(options["retention"])
    return wanted


def _retention(given_rule: t.Mapping[str, t.Any]) -> t.Optional[Json]:
    kept: Json = {name: given_rule.get(name) for name in ("keep_versions", "keep_days")}
    if all(value is None for value in kept.values()):
        return None
    return {**kept, "expire_tags": list(given_rule.get("expire_tags") or [])}


def _shown(row: CatalogId) -> Json:
    data = row.to_json()
    return {name: value for name, value in data.items() if name not in ("created_at", "created_by")}


def ensure(client: CatalogIdClient, options: t.Mapping[str, t.Any], *, check_mode: bool, diff: bool) -> Json:
    """Return the result of ``catalog_id``."""
    name = addresses.normalise_catalog_id(options["catalog_id"])
    found = client.find(name)
    change = plan(options, found)
    record = found.to_json() if found is not None else None
    if not change.changed:
        return result(change, "settings", record, NewNames(), diff=diff)
    if check_mode:
        predicted = None if change.after is None else {**(record or {}), **change.after}
        return result(change, "settings", predicted, NewNames(), diff=diff)
    if change.after is None:
        client.delete(name)
        return result(change, "settings", None, NewNames(), diff=diff)
    row, created = client.put(name, change.edits)
    return result(change, "settings", row.to_json(), created, diff=diff)
