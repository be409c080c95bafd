# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Uploads: begin, resume, store segments, commit, abort."""

from __future__ import annotations

import tempfile
import typing as t
from dataclasses import dataclass
from functools import partial

from fastapi import APIRouter, Path, Query, Request, Response, status
from starlette.concurrency import run_in_threadpool

from catalog_server import access, answers, paging
from catalog_server.catalog import service as catalog
from catalog_server.catalog.schemas import ManifestRecord
from catalog_server.openapi import octets
from catalog_server.openapi.operation import USERS_AND_GRANTS, operation
from catalog_server.parameters import Positive
from catalog_server.receivers import Body
from catalog_server.texts import Line
from catalog_server.transfers import holders, leftovers, packs, service, signed_urls
from catalog_server.transfers.begin import Begin, begin
from catalog_server.transfers.commit import run
from catalog_server.transfers.schemas import (
    SEGMENTS_OF_A_PAGE,
    BeginUpload,
    NewObjects,
    Revision,
    StoredSegment,
    StoreUrl,
    StoreUrls,
    UploadRecord,
)
from catalog_server.transfers.streaming import RECEIVED_BYTES, receive_file
from catalog_server.unit_of_work import Context, RequestContext, UnitOfWork

router = APIRouter(tags=["uploads"])

UploadId = t.Annotated[Line, Path(max_length=200, description="Id of the upload.")]
Limit = t.Annotated[
    Positive | None,
    Query(description=f"Number of segments in a page: {SEGMENTS_OF_A_PAGE} by default, and at most."),
]
FromRevision = t.Annotated[Revision, Query(description="`revision` in the answer to the begin of this push.")]

# Why an upload of the caller cannot be gone on with
_OF_UPLOAD = ("catalog_id_denied", "unknown_upload", "upload_closed", "upload_expired")
_COMMIT = operation(
    USERS_AND_GRANTS,
    *_OF_UPLOAD,
    "invalid_index",
    "unknown_segment",
    "missing_segment",
    "upload_changed",
    "version_exists",
    "revoked",
    "name_taken",
    "tag_immutable",
    "quota_exceeded",
    "too_many_receivers",
    "insufficient_storage",
    body="index",
    requestBody=octets.received(
        "The index of the pack: its listing, its locator and its deltas, as docs/pack-format.md says."
    ),
)


@router.post(
    "/uploads",
    response_model=UploadRecord,
    openapi_extra=operation(
        USERS_AND_GRANTS,
        "catalog_id_denied",
        "unknown_manifest",
        "version_exists",
        "revoked",
        "name_taken",
        "tag_immutable",
        "quota_exceeded",
    ),
)
async def begin_upload(context: Context, body: BeginUpload) -> Response:
    """Begin an upload, or resume the one that the same user has open for the same address."""
    opened = await context.pools.writes.run(partial(_begin, context, body))

    def record() -> Response:
        leftovers.discard(context.services, opened.upload.abandoned)
        return _upload_record(context, opened, "", SEGMENTS_OF_A_PAGE)

    # The storage may not answer, and then takes threads of those that need it only.
    return await context.pools.objects.run(record)


def _begin(context: RequestContext, body: BeginUpload) -> _Opened:
    wanted = body.model_dump(exclude={"minimum_requirements"})
    minimum = body.minimum_requirements
    asked = Begin(**wanted, minimum_requirements=minimum.model_dump(exclude_none=True) if minimum is not None else None)

    def unit(work: UnitOfWork) -> _Opened:
        return _Opened.of(work, begin(work, asked))

    return context.write(access.TRANSFER_IN, unit, locks=lambda work: catalog.locks_of(asked.catalog_id))


@router.get("/uploads/{upload_id}", response_model=UploadRecord, openapi_extra=operation(USERS_AND_GRANTS, *_OF_UPLOAD))
async def get_upload(
    context: Context, upload_id: UploadId, limit: Limit = None, cursor: paging.Cursor = None
) -> Response:
    """Get an open upload, with the segments that are stored already, page by page."""
    after = paging.parts(context.services.keys, cursor, 1)[0] if cursor is not None else ""

    def resumed() -> _Opened:
        with context.reading(access.TRANSFER_IN) as work:
            return _Opened.of(work, service.resume(work, upload_id))

    opened = await run_in_threadpool(resumed)
    length = min(limit or SEGMENTS_OF_A_PAGE, SEGMENTS_OF_A_PAGE)
    return await context.pools.objects.run(partial(_upload_record, context, opened, after, length))


@dataclass(frozen=True)
class _Opened:
    """An open upload, the records of its bases, and the holder of its URLs."""

    upload: service.OpenUpload
    bases: list[ManifestRecord]
    holder: str

    @classmethod
    def of(cls, work: UnitOfWork, upload: service.OpenUpload) -> _Opened:
        bases = [ManifestRecord.of(base) for base in upload.bases]
        return cls(upload, bases, holders.of_upload(work.caller, upload.id))


def _upload_record(context: RequestContext, opened: _Opened, after: str, length: int) -> Response:
    """Answer with the record of an upload with at most ``length`` of its segments, those behind ``after``."""
    upload = opened.upload
    pack = packs.pack_of(context.services, upload.storage, upload.id)
    stored = pack.segments() if upload.is_readable else {}
    left = sorted(name for name in stored if name > after)
    shown = left[:length]
    request = signed_urls.wanted(context, opened.holder, context.services.settings.get_url_seconds)
    record = UploadRecord(
        id=upload.id,
        expires_at=int(upload.expires_at.timestamp()),
        storage=upload.storage,
        chunk_size=upload.chunk_size,
        revision=upload.revision,
        bases=opened.bases,
        segments=[
            StoredSegment(sha256=name, size=stored[name], **signed_urls.fields(pack.presign_get(name, request)))
            for name in shown
        ],
        next=paging.cursor(context.services.keys, shown[-1]) if len(left) > length else None,
    )
    return answers.response(record)


@router.post("/uploads/{upload_id}/urls", openapi_extra=operation(USERS_AND_GRANTS, *_OF_UPLOAD))
@answers.written
def make_store_urls(context: Context, upload_id: UploadId, body: NewObjects) -> StoreUrls:
    """Make URLs that store segments and patches of an open upload."""
    context.services.storages.require_current()
    with context.reading(access.TRANSFER_IN) as work:
        upload = service.open_upload(work, upload_id)
        pack = packs.pack_of(context.services, upload.storage, upload.id)
        holder = holders.of_upload(work.caller, upload.id)
        request = signed_urls.wanted(context, holder, work.settings.put_url_seconds, upload.expires_at)
    wanted = [(segment.sha256, segment.sha256, segment.size) for segment in body.segments]
    wanted += [(item.sha256, packs.patches_name(item.sha256), item.size) for item in body.patches]
    return StoreUrls(
        urls=[
            StoreUrl(sha256=sha256, **signed_urls.fields(pack.presign_put(name, size, request)))
            for sha256, name, size in wanted
        ]
    )


@router.post("/uploads/{upload_id}/commit", openapi_extra=_COMMIT)
async def commit_upload(
    request: Request, context: Context, upload_id: UploadId, revision: FromRevision
) -> ManifestRecord:
    """Make a manifest of an upload, as the begin of this revision said.

    The body is the index of the pack. Committing the same again gives the same answer.
    """
    # Nothing is read for whoever may not commit, and for others only in a place of theirs.
    user_id = await run_in_threadpool(run.check, context, upload_id, revision)
    settings = context.services.settings
    announced = request.headers.get("content-length", "")
    # One that is longer is refused when it is read.
    size = min(int(announced), settings.max_index_bytes) if announced.isdigit() else settings.max_index_bytes
    receivers = context.services.receivers
    volume = await context.pools.objects.run(partial(receivers.volume, settings.spool))
    with receivers.place(Body(user_id, size), volume):
        with tempfile.SpooledTemporaryFile(RECEIVED_BYTES, dir=str(settings.spool)) as index:
            await receive_file(request, index, context.pools.objects)
            return await context.pools.commits.run(partial(run.run, context, upload_id, revision, index))


@router.delete(
    "/uploads/{upload_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    openapi_extra=operation(USERS_AND_GRANTS, "unknown_upload", "upload_closed"),
)
async def abort_upload(context: Context, upload_id: UploadId) -> None:
    """Abort an upload, and remove what it has stored.

    Whoever began it may do so, also who may not push there any more.
    """

    def abort() -> None:
        context.write(
            access.TRANSFER_IN,
            lambda work: service.abort(work, upload_id),
            locks=lambda work: service.locks(work, upload_id),
        )

    await context.pools.writes.run(abort)
    await context.pools.objects.run(partial(leftovers.discard, context.services, [upload_id]))
