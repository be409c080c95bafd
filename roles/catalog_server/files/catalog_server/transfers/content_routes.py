# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The content of manifests: read its index, its segments and deltas, and delete it."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from functools import partial

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from catalog_server import access, answers, pools
from catalog_server.catalog import service as catalog
from catalog_server.openapi import octets
from catalog_server.openapi.operation import USERS, USERS_AND_GRANTS, operation
from catalog_server.parameters import ManifestId
from catalog_server.storages.base import OpenedObject
from catalog_server.transfers import holders, packs, reading, removal, signed_urls
from catalog_server.transfers.schemas import (
    DeltaRecord,
    DeltaRecords,
    FreedSpace,
    ReadUrl,
    ReadUrls,
    Sha256,
    WantedObjects,
)
from catalog_server.transfers.streaming import object_response
from catalog_server.unit_of_work import Context, RequestContext, UnitOfWork

router = APIRouter()

Digest = t.Annotated[
    Sha256 | None,
    Query(
        description="Digest of the content that is meant; if the version has other content, the error is `replaced`."
    ),
]

_CONTENT: list[str | t.Any] = ["content"]
# A URL takes some microseconds. So many do not keep others waiting.
_FEW_OBJECTS = 32
_INDEX_FILE = operation(
    USERS_AND_GRANTS,
    "catalog_id_denied",
    "unknown_manifest",
    "tainted",
    "revoked",
    "replaced",
    "range_not_satisfiable",
    parameters=octets.RANGES,
    responses=octets.sent("The file", octets.CONTENT_SHA256),
)


@router.delete(
    "/manifests/{manifest_id}",
    tags=["manifests"],
    openapi_extra=operation(USERS, "catalog_id_denied", "unknown_manifest"),
)
@pools.writes
def delete_manifest(context: Context, manifest_id: ManifestId) -> FreedSpace:
    """Delete a manifest, and tell what becomes free by it."""
    freed = context.write(
        access.DELETE,
        lambda work: removal.delete(work, manifest_id),
        locks=lambda work: catalog.locks(work, manifest_id),
    )
    return FreedSpace(freed_bytes=freed.bytes, freed_after=freed.after)


@router.get("/manifests/{manifest_id}/listing", tags=_CONTENT, response_class=octets.Octets, openapi_extra=_INDEX_FILE)
async def get_listing(request: Request, context: Context, manifest_id: ManifestId, digest: Digest = None) -> Response:
    """Get the listing of a manifest: the files and chunks that it contains.

    Compare its bytes with `X-Content-SHA256`, as the server only passes them on.
    """
    return await _index_file(
        request, context, lambda work: reading.listing_object(work, manifest_id, digest), manifest_id
    )


@router.get("/manifests/{manifest_id}/locator", tags=_CONTENT, response_class=octets.Octets, openapi_extra=_INDEX_FILE)
async def get_locator(request: Request, context: Context, manifest_id: ManifestId, digest: Digest = None) -> Response:
    """Get the locator of a manifest: where its chunks lie.

    Compare its bytes with `X-Content-SHA256`, as the server only passes them on.
    """
    return await _index_file(
        request, context, lambda work: reading.locator_object(work, manifest_id, digest), manifest_id
    )


async def _index_file(
    request: Request, context: RequestContext, find: Callable[[UnitOfWork], reading.IndexObject], manifest_id: str
) -> Response:
    """Stream an index file: its bytes are checked where they are written, and by whoever reads them."""

    def lookup() -> reading.IndexObject:
        with context.reading(access.reading_content_of(manifest_id)) as work:
            return find(work)

    def opened(found: reading.IndexObject) -> OpenedObject:
        return packs.pack_of(context.services, found.storage, found.pack).open(found.name)

    found = await run_in_threadpool(lookup)
    # A storage that does not answer must not take the threads of those that need none.
    file = await context.pools.objects.run(partial(opened, found))
    sha256 = found.name.partition(".")[0]
    headers = {"X-Content-SHA256": sha256, "Cache-Control": "private, no-cache"}
    return object_response(request, file, sha256, context.pools.objects, headers)


@router.get(
    "/manifests/{manifest_id}/deltas",
    tags=_CONTENT,
    openapi_extra=operation(USERS_AND_GRANTS, "unknown_manifest", "tainted", "revoked", "replaced"),
)
def list_deltas(context: Context, manifest_id: ManifestId, digest: Digest = None) -> DeltaRecords:
    """List the deltas by which a host that has an older version can pull a manifest.

    A version that may not be pulled any more can still be the base of one, and no delta leads to it.
    """
    with context.reading(access.pulling(manifest_id)) as work:
        leading = reading.leading_deltas(work, manifest_id, digest)
    return DeltaRecords(
        deltas=[
            DeltaRecord(
                base_digest=delta.base_digest,
                digest=delta.digest,
                pack=delta.pack,
                sha256=delta.sha256,
                size=delta.size,
                patch_bytes=delta.patch_bytes,
                chunk_bytes=delta.chunk_bytes,
            )
            for delta in leading.deltas
        ],
        index_bytes=leading.index_bytes,
    )


@router.post(
    "/manifests/{manifest_id}/urls",
    tags=_CONTENT,
    openapi_extra=operation(
        USERS_AND_GRANTS, "catalog_id_denied", "unknown_manifest", "unknown_segment", "tainted", "revoked", "replaced"
    ),
)
@answers.written_at_once(
    lambda context, manifest_id, body: len(body.segments) + len(body.deltas) + len(body.patches) <= _FEW_OBJECTS
)
def make_read_urls(context: Context, manifest_id: ManifestId, body: WantedObjects) -> ReadUrls:
    """Make URLs that read segments of a manifest, or deltas and patches that lead to it."""
    wanted = reading.Wanted(
        *([(item.pack, item.sha256) for item in items] for items in (body.segments, body.deltas, body.patches))
    )
    with context.reading(access.reading_content_of(manifest_id)) as work:
        found = reading.wanted_objects(work, manifest_id, wanted, body.digest)
        holder = holders.of_manifest(work.caller, manifest_id)
    if found.download is not None:
        context.services.behind.downloads.add(found.download)
    request = signed_urls.wanted(context, holder, context.services.settings.get_url_seconds)
    urls = []
    for place in found.objects:
        signed = packs.pack_of(context.services, place.storage, place.pack).presign_get(place.name, request)
        urls.append(ReadUrl(pack=place.pack, sha256=place.sha256, **signed_urls.fields(signed)))
    return ReadUrls(urls=urls)
