# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Manifests: list, get, resolve, edit, taint, untaint, revoke."""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses
from fastapi import APIRouter, Path, Query

from catalog_server import access, answers, paging, pools
from catalog_server.catalog import queries, service
from catalog_server.catalog.schemas import ManifestEdit, ManifestPage, ManifestRecord, Reason, Resolved
from catalog_server.keys import KeyRing
from catalog_server.models.catalog import Manifest
from catalog_server.texts import Line, Wanted
from catalog_server.unit_of_work import Context

_LONGEST_ADDRESS = 300

router = APIRouter(tags=["manifests"])

ManifestId = t.Annotated[Line, Path(max_length=200)]
Address = t.Annotated[Wanted | None, Query(max_length=_LONGEST_ADDRESS)]


@router.get("/manifests")
@answers.written
def list_manifests(
    context: Context,
    catalog_id: Address = None,
    version: Address = None,
    architecture: Address = None,
    tag: Address = None,
    type: t.Annotated[t.Literal["pvm", "macvm"] | None, Query()] = None,
    tainted: bool | None = None,
    revoked: bool | None = None,
    limit: t.Annotated[int | None, Query(ge=1)] = None,
    cursor: t.Annotated[Wanted | None, Query(max_length=2000)] = None,
) -> ManifestPage:
    """The manifests that the caller may see and that all filters let pass, ordered by address, page by page."""
    filters = queries.Filters(
        catalog_id=addresses.normalise_catalog_id(catalog_id) if catalog_id is not None else None,
        version=addresses.normalise_version(version) if version is not None else None,
        architecture=addresses.normalise_architecture(architecture) if architecture is not None else None,
        tag=addresses.normalise_tag(tag) if tag is not None else None,
        type=type,
        tainted=tainted,
        revoked=revoked,
    )
    after = _after(context.services.keys, cursor) if cursor is not None else None
    length = paging.length(context.services.settings, limit)
    with context.reading(access.READ) as work:
        # One more than is shown tells whether there is another page.
        found = queries.page(work.session, work.caller, filters, after, length + 1)
        return ManifestPage(
            manifests=[ManifestRecord.of(manifest) for manifest in found[:length]],
            next=_cursor(context.services.keys, found[length - 1]) if len(found) > length else None,
        )


def _cursor(keys: KeyRing, last: Manifest) -> str:
    return paging.cursor(keys, last.catalog_id, last.version, last.architecture)


def _after(keys: KeyRing, cursor: str) -> tuple[str, str, str]:
    catalog_id, version, architecture = paging.parts(keys, cursor, 3)
    return catalog_id, version, architecture


@router.get("/manifests/resolve")
@answers.written
def resolve(
    context: Context,
    catalog_id: t.Annotated[Wanted, Query(max_length=_LONGEST_ADDRESS)],
    version: Address = None,
    architecture: Address = None,
) -> Resolved:
    """What a version, tag or range means; without a version, ``latest``."""
    with context.reading(access.READ) as work:
        found = service.resolve(work, catalog_id, version, architecture)
        return Resolved(manifests=[ManifestRecord.of(manifest) for manifest in found])


@router.get("/manifests/{manifest_id}")
@answers.written
def get(context: Context, manifest_id: ManifestId) -> ManifestRecord:
    """One manifest."""
    with context.reading(access.READ) as work:
        return ManifestRecord.of(service.get(work, manifest_id))


@router.patch("/manifests/{manifest_id}")
@pools.writes
def edit(context: Context, manifest_id: ManifestId, body: ManifestEdit) -> ManifestRecord:
    """Set fields of a manifest."""
    changes = body.model_dump(exclude_none=True)
    return context.write(
        access.EDIT,
        lambda work: ManifestRecord.of(service.edit(work, manifest_id, changes)),
        locks=lambda work: service.locks(work, manifest_id),
    )


def _reason(body: Reason | None) -> str | None:
    return body.reason if body else None


@router.post("/manifests/{manifest_id}/taint")
@pools.writes
def taint(context: Context, manifest_id: ManifestId, body: Reason | None = None) -> ManifestRecord:
    """Let nobody pull it for now."""
    return context.write(
        access.TAINT,
        lambda work: ManifestRecord.of(service.taint(work, manifest_id, _reason(body))),
        locks=lambda work: service.locks(work, manifest_id),
    )


@router.post("/manifests/{manifest_id}/untaint")
@pools.writes
def untaint(context: Context, manifest_id: ManifestId, body: Reason | None = None) -> ManifestRecord:
    """Take back a taint."""
    return context.write(
        access.TAINT,
        lambda work: ManifestRecord.of(service.untaint(work, manifest_id, _reason(body))),
        locks=lambda work: service.locks(work, manifest_id),
    )


@router.post("/manifests/{manifest_id}/revoke")
@pools.writes
def revoke(context: Context, manifest_id: ManifestId, body: Reason | None = None) -> ManifestRecord:
    """Let nobody pull it any more."""
    return context.write(
        access.REVOKE,
        lambda work: ManifestRecord.of(service.revoke(work, manifest_id, _reason(body))),
        locks=lambda work: service.locks(work, manifest_id),
    )
