# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Uploads: whose they are, how they end, and what they may refer to.

Their begin is in ``begin.py``, their commit in ``commit/``, the reading of packs in ``reading.py``.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from catalog_server import access
from catalog_server.access import Audience
from catalog_server.catalog import authority, tagging
from catalog_server.catalog import queries as catalog_queries
from catalog_server.catalog import service as catalog
from catalog_server.database import Lock
from catalog_server.errors import (
    Revoked,
    UnknownManifest,
    UnknownUpload,
    UploadClosed,
    UploadExpired,
    VersionExists,
)
from catalog_server.models.catalog import Manifest
from catalog_server.models.storage import GONE, LIVE
from catalog_server.models.transfers import ABORTED, COMMITTED, OPEN, Upload
from catalog_server.settings import LONGEST_URL_SECONDS
from catalog_server.transfers import leases, queries
from catalog_server.unit_of_work import UnitOfWork

SUBJECT = "upload"


@dataclass(frozen=True)
class OpenUpload:
    """An open upload; ``abandoned`` are the packs of expired ones, which the caller tidies.

    Unless it ``is_readable``, the caller does not get what is stored already.
    """

    id: str
    storage: str
    chunk_size: int
    expires_at: datetime.datetime
    revision: str
    bases: tuple[Manifest, ...]
    is_readable: bool
    abandoned: tuple[str, ...] = ()


def resume(work: UnitOfWork, upload_id: str) -> OpenUpload:
    """Return an upload of this caller that is still open."""
    upload = open_upload(work, upload_id)
    return opened(work, upload, usable_bases(work, upload), ())


def abort(work: UnitOfWork, upload_id: str) -> Upload:
    """Close an upload that is not committed. The caller tidies its pack.

    Whoever began it may always do that: what it has stored takes room, and nobody else is asked to free it.
    """
    upload = own_upload(work, upload_id)
    if upload.state == OPEN:
        close(work, upload, ABORTED)
        work.record("upload.abort", SUBJECT, upload.id)
    elif upload.state != ABORTED:
        raise UploadClosed("The upload was committed and cannot be aborted.")
    leases.release(work)
    return upload


def locks(work: UnitOfWork, upload_id: str) -> tuple[Lock, ...]:
    """Return what the end of an upload has to hold.

    :raises UnknownUpload: there is none, or it is another user's
    """
    return catalog.locks_of(own_upload(work, upload_id).catalog_id)


def own_upload(work: UnitOfWork, upload_id: str) -> Upload:
    """Return an upload of this caller in any state, whether or not it may still push there.

    :raises UnknownUpload: there is none, or it is another user's
    :raises GrantScope: the caller came with a grant for another push
    """
    upload = queries.upload(work.session, upload_id)
    if upload is None or upload.user_id != work.caller.user_id:
        raise UnknownUpload(f"There is no upload {upload_id} of yours.")
    access.check_push(work.caller, upload.catalog_id, upload.version, upload.architecture)
    return upload


def pushable_upload(work: UnitOfWork, upload_id: str) -> Upload:
    """Return an upload of this caller in any state, if it may still push there.

    :raises UnknownUpload: there is none, or it is another user's
    :raises Forbidden, CatalogIdDenied: the caller may not push there any more
    """
    upload = own_upload(work, upload_id)
    authority.require_push(work, upload.catalog_id)
    return upload


def open_upload(work: UnitOfWork, upload_id: str) -> Upload:
    """Return an upload of this caller that is still open.

    :raises UploadClosed, UploadExpired: it is not
    """
    upload = pushable_upload(work, upload_id)
    if upload.state != OPEN:
        raise UploadClosed("The upload was committed or aborted.")
    if upload.expires_at <= work.now:
        raise UploadExpired("The upload was not committed in time.")
    return upload


def is_readable(work: UnitOfWork, upload: Upload) -> bool:
    """Return True if the caller may read what is stored of an upload of its user.

    Whoever has made a limited credential must not see by it what the user pushes for others.
    """
    return not work.caller.is_limited or Audience.parse(upload.audience).admits(work.caller)


def revision_of(work: UnitOfWork, upload: Upload) -> str:
    """Return a name for what the last begin asked for. A commit tells by it whose fields it makes visible."""
    said = [
        upload.fields,
        upload.audience,
        upload.chunk_size,
        upload.storage,
        upload.force,
        upload.expected_digest,
        queries.bases_of(work.session, upload.id),
    ]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]


def close(work: UnitOfWork, upload: Upload, state: str) -> None:
    """End an upload, and its lease. What it has stored and nothing refers to is removed, at the latest by the job."""
    upload.state = state
    upload.closed_at = work.now
    upload.pack.state = LIVE if state == COMMITTED else GONE
    # The last URL that stores an object of it may have been used just now.
    upload.pack.tidy_after = work.in_seconds(LONGEST_URL_SECONDS)


def usable_bases(work: UnitOfWork, upload: Upload) -> tuple[Manifest, ...]:
    """Return the bases named at begin whose segments this caller may use now."""
    return shareable(work, upload, queries.bases_of(work.session, upload.id), strict=False)


def check_replaceable(work: UnitOfWork, existing: Manifest, force: bool, digest: str | None) -> None:
    """Check that a push may replace a manifest; ``digest`` is that of the new content, if it is known.

    :raises VersionExists, Revoked: it may not
    :raises CatalogIdDenied, TagImmutable: it has tags that the caller may not let name other content
    """
    visible = catalog_queries.manifest(work.session, work.caller, existing.id) is not None
    if visible and digest == existing.digest:
        return
    if not visible or (not force and digest is not None):
        raise VersionExists(
            f"Version {existing.version!r} of catalog id {existing.catalog_id!r} for {existing.architecture} exists "
            "with other content, and a version is immutable."
        )
    if force and existing.revoked:
        raise Revoked(f"Version {existing.version!r} of catalog id {existing.catalog_id!r} is revoked for good.")
    if digest is not None:
        tagging.require_release(work, existing, existing.tags)


def shareable(work: UnitOfWork, upload: Upload, named: Sequence[str], *, strict: bool = True) -> tuple[Manifest, ...]:
    """Return those of the named manifests whose segments the new one may share.

    With ``strict``, one that the caller cannot see is an error. One that is tainted, in another storage or for another
    audience is left out: nothing of it can be reused.
    """
    found = []
    for manifest_id in dict.fromkeys(named):
        manifest = catalog_queries.manifest(work.session, work.caller, manifest_id)
        if manifest is None:
            if strict:
                raise UnknownManifest.of(manifest_id)
        elif (
            not manifest.tainted
            and not manifest.revoked
            and manifest.segmented.storage == upload.storage
            and manifest.audience_id == upload.audience_id
        ):
            found.append(manifest)
    return tuple(found)


def opened(work: UnitOfWork, upload: Upload, bases: tuple[Manifest, ...], abandoned: tuple[str, ...]) -> OpenUpload:
    revision = revision_of(work, upload)
    return OpenUpload(
        upload.id,
        upload.storage,
        upload.chunk_size,
        upload.expires_at,
        revision,
        bases,
        is_readable(work, upload),
        abandoned,
    )
