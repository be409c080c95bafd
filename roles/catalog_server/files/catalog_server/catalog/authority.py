# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may push to a catalog id, and who may move its tags.

What a fleet runs is decided by whoever writes under a name, so this right belongs to the catalog id:

* A catalog id may name an audience for pushes, and one for tags. Whoever belongs to it may do that, whatever else is
  there, and needs no claim beside; whoever does not, may not.
* Without one, whoever has the claim may that sees every version of the catalog id.

A catalog id that is not there yet is anybody's who may push at all.
"""

from __future__ import annotations

from catalog_server.access import PUSH_MANIFESTS, Audience, Caller
from catalog_server.catalog import queries
from catalog_server.errors import CatalogIdDenied, Forbidden
from catalog_server.models.catalog import AudienceText, CatalogId
from catalog_server.unit_of_work import UnitOfWork


def require_push(work: UnitOfWork, catalog_id: str) -> None:
    """Check that the caller may push to a catalog id, and change what was pushed to it.

    :raises Forbidden: it may push nowhere
    :raises CatalogIdDenied: it may not push there
    """
    row = queries.catalog_id(work.session, catalog_id)
    has_claim = work.caller.is_super_user or PUSH_MANIFESTS in work.caller.claims
    # Whoever may push nowhere is not told of a catalog id that does not exist for him.
    if not has_claim and queries.known_catalog_id(work.session, work.caller, catalog_id) is None:
        row = None
    if _named(row.push_audience if row else None, work.caller, catalog_id, "push to"):
        return
    if not has_claim:
        raise Forbidden(f"You need the claim {PUSH_MANIFESTS} for this.")
    _require_nothing_hidden(work, row, catalog_id, "push to")


def require_change(work: UnitOfWork, catalog_id: str) -> None:
    """Check that the caller, who has the claim for the change, may change or delete versions of a catalog id.

    :raises CatalogIdDenied: it may not
    """
    row = queries.catalog_id(work.session, catalog_id)
    _named(row.push_audience if row else None, work.caller, catalog_id, "change")


def require_tag(work: UnitOfWork, catalog_id: str) -> None:
    """Check that the caller may move the tags of a catalog id.

    :raises CatalogIdDenied: it may not
    """
    row = queries.catalog_id(work.session, catalog_id)
    if not _named(row.tag_audience if row else None, work.caller, catalog_id, "move the tags of"):
        _require_nothing_hidden(work, row, catalog_id, "move the tags of")


def require_manage(work: UnitOfWork, row: CatalogId) -> None:
    """Check that the caller, who has the claim for it, may change who pushes to a catalog id, and its other settings.

    It must be able to push there and to move tags, and see every version: nobody opens to himself what is closed.

    :raises CatalogIdDenied: it may not
    """
    for audience in (row.push_audience, row.tag_audience):
        _named(audience, work.caller, row.name, "manage")
    _require_nothing_hidden(work, row, row.name, "manage")


def _named(audience: AudienceText | None, caller: Caller, catalog_id: str, verb: str) -> bool:
    """Return True if the catalog id says that the caller may, False if it says nothing."""
    if audience is None:
        return False
    if not Audience.parse(audience.text).admits(caller):
        raise CatalogIdDenied(f"You may not {verb} the catalog id {catalog_id!r}: it is for other roles or claims.")
    return True


def _require_nothing_hidden(work: UnitOfWork, row: CatalogId | None, catalog_id: str, verb: str) -> None:
    if row is None or work.caller.is_super_user:
        return
    audiences = queries.audiences_of(work.session, catalog_id)
    if not all(Audience.parse(text).admits(work.caller) for text in audiences):
        raise CatalogIdDenied(
            f"You may not {verb} the catalog id {catalog_id!r}: it has versions that you may not see. An administrator "
            "can let you, by the roles or claims of the catalog id."
        )
