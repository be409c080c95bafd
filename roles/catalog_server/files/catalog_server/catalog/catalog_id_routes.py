# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Catalog ids: list, get, put, delete."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence

from fastapi import APIRouter, Path, status

from catalog_server import access, paging, pools
from catalog_server.catalog import catalog_ids, queries
from catalog_server.catalog.catalog_id_schemas import CatalogIdEdit, CatalogIdPage, CatalogIdRecord, SavedCatalogId
from catalog_server.catalog.service import catalog_id_lock
from catalog_server.database import Lock
from catalog_server.identity.service import USERS_LOCK
from catalog_server.names import CatalogId
from catalog_server.openapi.operation import USERS, operation
from catalog_server.unit_of_work import Context

router = APIRouter(tags=["catalog ids"])

Name = t.Annotated[CatalogId, Path(description="The catalog id; capitals mean the same as lower case.")]


@router.get("/catalog_ids", openapi_extra=operation(USERS))
def list_catalog_ids(context: Context, limit: paging.Limit = None, cursor: paging.Cursor = None) -> CatalogIdPage:
    """List the catalog ids of which the caller sees a version, or may push to, page by page."""
    after = paging.parts(context.services.keys, cursor, 1)[0] if cursor is not None else None
    length = paging.length(context.services.settings, limit)
    with context.reading(access.READ) as work:
        found = queries.page_of_catalog_ids(work.session, work.caller, after, length + 1)
        return CatalogIdPage(
            catalog_ids=[CatalogIdRecord.of(row) for row in found[:length]],
            next=paging.cursor(context.services.keys, found[length - 1].name) if len(found) > length else None,
        )


@router.get("/catalog_ids/{catalog_id}", openapi_extra=operation(USERS, "not_found"))
def get_catalog_id(context: Context, catalog_id: Name) -> CatalogIdRecord:
    """Get a catalog id."""
    with context.reading(access.READ) as work:
        return CatalogIdRecord.of(catalog_ids.find(work, catalog_id))


@router.put("/catalog_ids/{catalog_id}", openapi_extra=operation(USERS, "catalog_id_denied"))
@pools.writes
def put_catalog_id(context: Context, catalog_id: Name, body: CatalogIdEdit) -> SavedCatalogId:
    """Make a catalog id, or set who may push to it and move its tags, and what holds for its versions."""
    return context.write(
        access.MANAGE_IDS,
        lambda work: SavedCatalogId.saved(catalog_ids.put(work, catalog_id, body.changes())),
        locks=lambda _work: _locks(catalog_id),
    )


@router.delete(
    "/catalog_ids/{catalog_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    openapi_extra=operation(USERS, "catalog_id_denied", "not_found", "catalog_id_in_use"),
)
@pools.writes
def delete_catalog_id(context: Context, catalog_id: Name) -> None:
    """Delete a catalog id that has no versions."""
    context.write(
        access.MANAGE_IDS,
        lambda work: catalog_ids.delete(work, catalog_id),
        locks=lambda _work: _locks(catalog_id),
    )


def _locks(catalog_id: str) -> Sequence[Lock]:
    # Roles and claims that are not there yet are made.
    return [catalog_id_lock(catalog_ids.normalised(catalog_id)), USERS_LOCK]
