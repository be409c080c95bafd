# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Catalog ids: who may push to each and move its tags, and what holds for its versions."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses

from catalog_server.access import Audience
from catalog_server.catalog import authority, queries
from catalog_server.errors import CatalogIdInUse, NotFound
from catalog_server.identity.roles import Created, claims_called, roles_called
from catalog_server.models.catalog import AudienceText, CatalogId
from catalog_server.unit_of_work import UnitOfWork

SUBJECT = "catalog_id"
_PLAIN = ("native_only", "immutable_tags", "retention", "quota_bytes")


@dataclass(frozen=True)
class SavedCatalogId:
    """A catalog id as it is now, and what saving it did."""

    row: CatalogId
    changed: bool
    created: Created


def normalised(name: str) -> str:
    """:raises InvalidAddress: it is not a valid catalog id"""
    return addresses.normalise_catalog_id(name)


def find(work: UnitOfWork, name: str) -> CatalogId:
    """A catalog id that exists for the caller.

    :raises NotFound: there is none
    """
    name = addresses.normalise_catalog_id(name)
    row = queries.known_catalog_id(work.session, work.caller, name)
    if row is None:
        raise NotFound(f"There is no catalog id {name!r}, or you may not see it.")
    return row


def put(work: UnitOfWork, name: str, changes: Mapping[str, t.Any]) -> SavedCatalogId:
    """Make a catalog id, or set of it what ``changes`` names; its lock is held.

    Without roles and claims for pushes, whoever has the claim for pushes may that sees every version; so for tags.

    :raises CatalogIdDenied: the caller may not manage it, or could not any more
    """
    name, created = addresses.normalise_catalog_id(name), Created()
    row = queries.catalog_id(work.session, name)
    before = settings_of(row) if row is not None else None
    if row is None:
        row = CatalogId(name=name, last_push_number=0, created_at=work.now, created_by=work.caller.username)
        row.native_only = row.immutable_tags = False
        work.session.add(row)
    else:
        authority.require_manage(work, row)
    if "retention" in changes and changes["retention"] != row.retention:
        row.retention_set_at = work.now
    for field in _PLAIN:
        if field in changes:
            setattr(row, field, changes[field])
    row.push_audience = _audience(work, row.push_audience, changes, "push", created)
    row.tag_audience = _audience(work, row.tag_audience, changes, "tag", created)
    after = settings_of(row)
    work.session.flush()
    if after != before:
        authority.require_manage(work, row)
        work.record("catalog_id.edit" if before else "catalog_id.add", SUBJECT, name, before=before, after=after)
    return SavedCatalogId(row, after != before, created)


def _audience(
    work: UnitOfWork, now: AudienceText | None, changes: Mapping[str, t.Any], verb: str, created: Created
) -> AudienceText | None:
    roles, claims = changes.get(f"{verb}_roles"), changes.get(f"{verb}_claims")
    before = Audience.parse(now.text) if now is not None else Audience()
    wanted = before.edited(roles, claims)
    if wanted == before:
        return now
    # So that whoever made a mistake in a name sees it.
    roles_called(work, wanted.roles, created)
    claims_called(work, wanted.claims, created)
    return queries.audience_row(work.session, wanted.text()) if wanted != Audience() else None


def delete(work: UnitOfWork, name: str) -> None:
    """Delete a catalog id that has no versions; its lock is held.

    :raises CatalogIdInUse: it has some
    """
    row = find(work, name)
    authority.require_manage(work, row)
    if queries.has_manifests(work.session, row.name):
        raise CatalogIdInUse(f"The catalog id {row.name!r} has versions; delete them first.")
    work.record("catalog_id.delete", SUBJECT, row.name, before=settings_of(row))
    work.session.flush()
    queries.delete_catalog_id(work.session, row.name)
    work.session.expunge_all()


def settings_of(row: CatalogId) -> dict[str, t.Any]:
    """Everything that can be set of a catalog id."""
    push, tag = (
        Audience.parse(found.text) if found is not None else Audience()
        for found in (row.push_audience, row.tag_audience)
    )
    return {
        "push_roles": list(push.roles),
        "push_claims": list(push.claims),
        "tag_roles": list(tag.roles),
        "tag_claims": list(tag.claims),
        **{field: getattr(row, field) for field in _PLAIN},
    }
