# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Manifests: list, get, resolve, edit, taint, untaint, revoke."""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses
from fastapi import APIRouter, Query

from catalog_server import access, answers, paging, pools
from catalog_server.catalog import records, service
from catalog_server.catalog.schemas import BundleType, ManifestEdit, ManifestPage, ManifestRecord, Reason, Resolved
from catalog_server.keys import KeyRing
from catalog_server.names import Architecture, CatalogId, Tag, Version, VersionText
from catalog_server.openapi.operation import USERS, operation
from catalog_server.parameters import Flag, ManifestId
from catalog_server.unit_of_work import Context

router = APIRouter(tags=["manifests"])

OfArchitecture = t.Annotated[
    Architecture | None, Query(description="Processor architecture: `arm64` or `x86_64`, or another name of them.")
]


@router.get("/manifests", openapi_extra=operation(USERS))
@answers.written
def list_manifests(
    context: Context,
    catalog_id: t.Annotated[CatalogId | None, Query(description="Only versions of this catalog id.")] = None,
    version: t.Annotated[Version | None, Query(description="Only this version, literally.")] = None,
    architecture: OfArchitecture = None,
    tag: t.Annotated[Tag | None, Query(description="Only versions that this tag names.")] = None,
    type: t.Annotated[BundleType | None, Query(description="Only bundles of this kind.")] = None,
    tainted: t.Annotated[Flag | None, Query(description="Only versions that are tainted, or that are not.")] = None,
    revoked: t.Annotated[Flag | None, Query(description="Only versions that are revoked, or that are not.")] = None,
    limit: paging.Limit = None,
    cursor: paging.Cursor = None,
) -> ManifestPage:
    """List the manifests that the caller may see, page by page.

    Every parameter but `limit` and `cursor` is a filter; all of them must let a manifest pass.
    """
    filters = records.Filters(
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
        found = records.page(work.session, work.caller, filters, after, length + 1)
        return ManifestPage(
            manifests=[ManifestRecord.of(row) for row in found[:length]],
            next=_cursor(context.services.keys, found[length - 1]) if len(found) > length else None,
        )


def _cursor(keys: KeyRing, last: records.Columns) -> str:
    return paging.cursor(keys, last.catalog_id, last.version, last.architecture)


def _after(keys: KeyRing, cursor: str) -> tuple[str, str, str]:
    catalog_id, version, architecture = paging.parts(keys, cursor, 3)
    return catalog_id, version, architecture


@router.get("/manifests/resolve", openapi_extra=operation(USERS, "unknown_manifest", "tainted", "revoked"))
@answers.written
def resolve_version(
    context: Context,
    catalog_id: t.Annotated[CatalogId, Query(description="Catalog id of the version.")],
    version: t.Annotated[
        VersionText | None, Query(description="Version, tag or range, such as `>=1.4,<2`; by default `latest`.")
    ] = None,
    architecture: OfArchitecture = None,
) -> Resolved:
    """Find the manifests that a version, tag or range means.

    Without an architecture, one manifest of each is found. A range skips what is tainted or revoked; a version or tag
    that names such a manifest is an error.
    """
    with context.reading(access.READ) as work:
        found = service.resolve(work, catalog_id, version, architecture)
        return Resolved(manifests=[ManifestRecord.of(manifest) for manifest in found])


@router.get("/manifests/{manifest_id}", openapi_extra=operation(USERS, "unknown_manifest"))
@answers.written_at_once(answers.always)
def get_manifest(context: Context, manifest_id: ManifestId) -> ManifestRecord:
    """Get a manifest."""
    with context.reading(access.READ) as work:
        return ManifestRecord.of(service.shown(work, manifest_id))


@router.patch(
    "/manifests/{manifest_id}",
    openapi_extra=operation(
        USERS, "catalog_id_denied", "unknown_manifest", "name_taken", "tag_immutable", "shared_segments"
    ),
)
@pools.writes
def edit_manifest(context: Context, manifest_id: ManifestId, body: ManifestEdit) -> ManifestRecord:
    """Set fields of a manifest."""
    changes = body.model_dump(exclude_none=True)
    return context.write(
        access.EDIT,
        lambda work: ManifestRecord.of(service.edit(work, manifest_id, changes)),
        locks=lambda work: service.locks(work, manifest_id),
    )


_MARKS = operation(USERS, "catalog_id_denied", "unknown_manifest", "revoked")


def _reason(body: Reason | None) -> str | None:
    return body.reason if body else None


@router.post("/manifests/{manifest_id}/taint", openapi_extra=_MARKS)
@pools.writes
def taint_manifest(context: Context, manifest_id: ManifestId, body: Reason | None = None) -> ManifestRecord:
    """Taint a manifest: nobody can pull it until it is untainted."""
    return context.write(
        access.TAINT,
        lambda work: ManifestRecord.of(service.taint(work, manifest_id, _reason(body))),
        locks=lambda work: service.locks(work, manifest_id),
    )


@router.post("/manifests/{manifest_id}/untaint", openapi_extra=_MARKS)
@pools.writes
def untaint_manifest(context: Context, manifest_id: ManifestId, body: Reason | None = None) -> ManifestRecord:
    """Take the taint of a manifest back."""
    return context.write(
        access.TAINT,
        lambda work: ManifestRecord.of(service.untaint(work, manifest_id, _reason(body))),
        locks=lambda work: service.locks(work, manifest_id),
    )


@router.post("/manifests/{manifest_id}/revoke", openapi_extra=operation(USERS, "catalog_id_denied", "unknown_manifest"))
@pools.writes
def revoke_manifest(context: Context, manifest_id: ManifestId, body: Reason | None = None) -> ManifestRecord:
    """Revoke a manifest: nobody can ever pull it again."""
    return context.write(
        access.REVOKE,
        lambda work: ManifestRecord.of(service.revoke(work, manifest_id, _reason(body))),
        locks=lambda work: service.locks(work, manifest_id),
    )
