# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Uploads, and reading the index and the segments of a pack."""

from __future__ import annotations

import datetime
import tempfile
import typing as t
from collections.abc import Callable
from functools import partial

from fastapi import APIRouter, Path, Query, Request, Response, status
from starlette.concurrency import run_in_threadpool

from catalog_server import access, answers, pools
from catalog_server.catalog import service as catalog
from catalog_server.catalog.schemas import ManifestRecord
from catalog_server.storages import holders
from catalog_server.storages.base import OpenedObject, Signed, UrlRequest
from catalog_server.texts import Line
from catalog_server.transfers import leftovers, objects, packs, reading, removal, service
from catalog_server.transfers.commit import run
from catalog_server.transfers.schemas import (
    BeginUpload,
    FreedSpace,
    NewSegments,
    ReadUrl,
    ReadUrls,
    Revision,
    Sha256,
    StoredSegment,
    StoreUrl,
    StoreUrls,
    UploadRecord,
    WantedSegments,
)
from catalog_server.transfers.streaming import RECEIVED_BYTES, object_response, receive_file
from catalog_server.unit_of_work import Context, RequestContext, UnitOfWork

router = APIRouter(tags=["transfers"])
router.include_router(objects.router)

UploadId = t.Annotated[Line, Path(max_length=200)]
ManifestId = t.Annotated[Line, Path(max_length=200)]
# Of the content that is meant; another one is answered 409 replaced.
Digest = t.Annotated[Sha256 | None, Query()]


_OCTETS = "application/octet-stream"
_INDEX = {"requestBody": {"required": True, "content": {_OCTETS: {}}}}


class IndexFile(Response):
    """A listing or locator, with its SHA-256."""

    media_type = _OCTETS


def _urls(context: RequestContext, holder: str, seconds: int, until: datetime.datetime | None = None) -> UrlRequest:
    return UrlRequest(context.base_url, context.services.clock(), seconds, holder, until)


def _fields(signed: Signed) -> dict[str, t.Any]:
    return {
        "url": signed.url,
        "headers": dict(signed.headers),
        "expires_at": signed.expires_at,
        "expires_in": signed.expires_in,
    }


@router.post("/uploads")
@pools.writes
def begin(context: Context, body: BeginUpload) -> UploadRecord:
    """Open an upload, or go on with the one that the same user has open for the same address."""
    wanted = body.model_dump(exclude={"minimum_requirements"})
    minimum = body.minimum_requirements
    asked = service.Begin(
        **wanted, minimum_requirements=minimum.model_dump(exclude_none=True) if minimum is not None else None
    )

    def unit(work: UnitOfWork) -> tuple[service.OpenUpload, list[ManifestRecord]]:
        opened = service.begin(work, asked)
        return opened, [ManifestRecord.of(base) for base in opened.bases]

    opened, bases = context.write(access.TRANSFER_IN, unit, locks=lambda work: catalog.locks_of(asked.catalog_id))
    leftovers.discard(context.services, opened.abandoned)
    return _upload_record(context, opened, bases)


@router.get("/uploads/{upload_id}")
def resume(context: Context, upload_id: UploadId) -> UploadRecord:
    """An open upload, with the segments that are there already."""
    with context.reading(access.TRANSFER_IN) as work:
        opened = service.resume(work, upload_id)
        bases = [ManifestRecord.of(base) for base in opened.bases]
    return _upload_record(context, opened, bases)


def _upload_record(context: RequestContext, opened: service.OpenUpload, bases: list[ManifestRecord]) -> UploadRecord:
    pack = packs.pack_of(context.services, opened.storage, opened.id)
    request = _urls(context, holders.of_upload(opened.id), context.services.settings.get_url_seconds)
    return UploadRecord(
        id=opened.id,
        expires_at=int(opened.expires_at.timestamp()),
        storage=opened.storage,
        chunk_size=opened.chunk_size,
        revision=opened.revision,
        bases=bases,
        segments=[
            StoredSegment(sha256=sha256, size=size, **_fields(pack.presign_get(sha256, request)))
            for sha256, size in pack.segments().items()
        ],
    )


@router.post("/uploads/{upload_id}/urls")
@answers.written
def store_urls(context: Context, upload_id: UploadId, body: NewSegments) -> StoreUrls:
    """URLs that store segments of an open upload."""
    with context.reading(access.TRANSFER_IN) as work:
        upload = service.open_upload(work, upload_id)
        pack = packs.pack_of(context.services, upload.storage, upload.id)
        request = _urls(context, holders.of_upload(upload.id), work.settings.put_url_seconds, upload.expires_at)
    return StoreUrls(
        urls=[
            StoreUrl(sha256=segment.sha256, **_fields(pack.presign_put(segment.sha256, segment.size, request)))
            for segment in body.segments
        ]
    )


@router.post("/uploads/{upload_id}/commit", openapi_extra=_INDEX)
async def commit(
    request: Request, context: Context, upload_id: UploadId, revision: t.Annotated[Revision, Query()]
) -> ManifestRecord:
    """Make a manifest of an upload, as the begin of this revision said; the body is its index.

    Committing the same again gives the same answer.
    """
    # Nothing is read for whoever may not commit, and for others only in one of the few places.
    await run_in_threadpool(run.check, context, upload_id, revision)
    async with request.app.state.commits:
        with tempfile.SpooledTemporaryFile(RECEIVED_BYTES, dir=str(context.services.settings.spool)) as index:
            await receive_file(request, index, context.pools.objects)
            return await context.pools.writes.run(partial(run.run, context, upload_id, revision, index))


@router.delete("/uploads/{upload_id}", status_code=status.HTTP_204_NO_CONTENT)
@pools.writes
def abort(context: Context, upload_id: UploadId) -> None:
    """Give up an upload, and remove what it has stored."""
    context.write(
        access.TRANSFER_IN,
        lambda work: service.abort(work, upload_id),
        locks=lambda work: service.locks(work, upload_id),
    )
    leftovers.discard(context.services, [upload_id])


@router.delete("/manifests/{manifest_id}")
@pools.writes
def delete(context: Context, manifest_id: ManifestId) -> FreedSpace:
    """Delete the record of a manifest; the answer says what becomes free, and when."""
    freed = context.write(
        access.DELETE,
        lambda work: removal.delete(work, manifest_id),
        locks=lambda work: catalog.locks(work, manifest_id),
    )
    return FreedSpace(freed_bytes=freed.bytes, freed_after=freed.after)


@router.get("/manifests/{manifest_id}/listing", response_class=IndexFile)
async def listing(request: Request, context: Context, manifest_id: ManifestId, digest: Digest = None) -> Response:
    """What a manifest contains."""
    return await _index_file(
        request, context, lambda work: reading.listing_object(work, manifest_id, digest), manifest_id
    )


@router.get("/manifests/{manifest_id}/locator", response_class=IndexFile)
async def locator(request: Request, context: Context, manifest_id: ManifestId, digest: Digest = None) -> Response:
    """Where the content of a manifest lies."""
    return await _index_file(
        request, context, lambda work: reading.locator_object(work, manifest_id, digest), manifest_id
    )


async def _index_file(
    request: Request, context: RequestContext, find: Callable[[UnitOfWork], reading.IndexObject], manifest_id: str
) -> Response:
    """Stream an index file: its bytes are checked where they are written, and by whoever reads them."""

    def opened() -> tuple[OpenedObject, str]:
        with context.reading(access.reading_index_of(manifest_id)) as work:
            found = find(work)
        pack = packs.pack_of(context.services, found.storage, found.pack)
        return pack.open(found.name), found.name.partition(".")[0]

    file, sha256 = await run_in_threadpool(opened)
    headers = {"X-Content-SHA256": sha256, "Cache-Control": "private, no-cache"}
    return object_response(request, file, sha256, context.pools.objects, headers)


@router.post("/manifests/{manifest_id}/urls")
@answers.written
def read_urls(context: Context, manifest_id: ManifestId, body: WantedSegments) -> ReadUrls:
    """URLs that read segments of a manifest."""
    wanted = [(segment.pack, segment.sha256) for segment in body.segments]
    needs = access.pulling(manifest_id)
    with context.reading(needs) as work:
        found = reading.wanted_segments(work, manifest_id, wanted, body.digest)
    if found.download is not None:
        context.services.downloads.add(found.download)
    request = _urls(context, holders.of_manifest(manifest_id), context.services.settings.get_url_seconds)
    urls = []
    for pack, sha256 in wanted:
        objects_of = packs.pack_of(context.services, found.storages[pack, sha256], pack)
        urls.append(ReadUrl(pack=pack, sha256=sha256, **_fields(objects_of.presign_get(sha256, request))))
    return ReadUrls(urls=urls)
