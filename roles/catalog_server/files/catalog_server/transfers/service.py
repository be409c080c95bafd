# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Uploads from begin to abort; their commit is in ``commit/``, the reading of packs in ``reading.py``."""

from __future__ import annotations

import datetime
import hashlib
import json
import typing as t
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks, paths
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import UnsafePath

from catalog_server import access
from catalog_server.access import Audience
from catalog_server.catalog import authority
from catalog_server.catalog import queries as catalog_queries
from catalog_server.catalog import service as catalog
from catalog_server.catalog.tags import wanted_tags
from catalog_server.database import Lock
from catalog_server.errors import (
    BadRequest,
    NameTaken,
    QuotaExceeded,
    Revoked,
    UnknownManifest,
    UnknownUpload,
    UploadClosed,
    UploadExpired,
    VersionExists,
)
from catalog_server.models.base import new_short_id
from catalog_server.models.catalog import Manifest
from catalog_server.models.storage import GONE, LIVE, Pack, Storage
from catalog_server.models.transfers import ABORTED, COMMITTED, OPEN, Upload, UploadBase
from catalog_server.settings import LONGEST_URL_SECONDS
from catalog_server.transfers import leases, queries
from catalog_server.unit_of_work import UnitOfWork

SUBJECT = "upload"


@dataclass(frozen=True)
class Begin:
    """What a pusher asks for, before anything of it is checked."""

    catalog_id: str
    version: str
    architecture: str
    type: str
    name: str
    chunk_size: int
    description: str | None
    tags: Sequence[str] | None
    required_roles: Sequence[str] | None
    required_claims: Sequence[str] | None
    minimum_requirements: t.Mapping[str, int] | None
    bases: Sequence[str]
    storage: str | None
    force: bool
    expected_digest: str | None


@dataclass(frozen=True)
class OpenUpload:
    """An open upload; ``abandoned`` are the packs of expired ones, which the caller tidies."""

    id: str
    storage: str
    chunk_size: int
    expires_at: datetime.datetime
    revision: str
    bases: tuple[Manifest, ...]
    abandoned: tuple[str, ...] = ()


def begin(work: UnitOfWork, wanted: Begin) -> OpenUpload:
    """Open an upload, or resume the one that the same user has open for the same address.

    :raises UnknownManifest: a base does not exist for the caller
    :raises VersionExists: the version is there, the announced digest is another, and ``force`` is not set
    """
    catalog_id = addresses.normalise_catalog_id(wanted.catalog_id)
    version = addresses.normalise_version(wanted.version)
    architecture = addresses.normalise_architecture(wanted.architecture)
    access.check_push(work.caller, catalog_id, version, architecture, wanted.bases)
    _check_contents(wanted, version)
    authority.require_push(work, catalog_id)
    check_quota(work, catalog_id)
    if catalog_queries.has_tag(work.session, catalog_id, version):
        raise NameTaken(f"The catalog id {catalog_id!r} has a tag {version!r}, so no version can have that name.")
    existing = catalog_queries.at_address(work.session, catalog_id, version, architecture)
    if existing is not None:
        check_replaceable(work, existing, wanted.force, wanted.expected_digest)
    _check_tags(work, catalog_id, version, architecture, wanted, existing)
    upload, abandoned = _open(work, catalog_id, version, architecture)
    upload.chunk_size = wanted.chunk_size
    upload.force = wanted.force
    upload.expected_digest = wanted.expected_digest
    upload.pack.storage = _storage(work, wanted.storage)
    upload.fields = _fields(wanted, existing)
    upload.audience_text = catalog_queries.audience_row(work.session, _audience(wanted, existing).text())
    upload.expires_at = work.in_seconds(work.settings.upload_seconds)
    work.session.add(upload)
    work.session.flush()
    bases = _bases(work, upload, wanted.bases)
    _lease(work, upload, bases)
    work.record("upload.begin", SUBJECT, upload.id, catalog_id=catalog_id, version=version, architecture=architecture)
    leases.release(work)
    return _opened(work, upload, bases, abandoned)


def resume(work: UnitOfWork, upload_id: str) -> OpenUpload:
    """Return an upload of this caller that is still open."""
    upload = open_upload(work, upload_id)
    return _opened(work, upload, usable_bases(work, upload), ())


def abort(work: UnitOfWork, upload_id: str) -> Upload:
    """Close an upload that is not committed. The caller tidies its pack."""
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
    """Return an upload of this caller in any state.

    :raises UnknownUpload: there is none, or it is another user's
    :raises Forbidden, CatalogIdDenied: the caller may not push there any more
    """
    upload = queries.upload(work.session, upload_id)
    if upload is None or upload.user_id != work.caller.user_id:
        raise UnknownUpload(f"There is no upload {upload_id} of yours.")
    authority.require_push(work, upload.catalog_id)
    access.check_push(work.caller, upload.catalog_id, upload.version, upload.architecture)
    return upload


def open_upload(work: UnitOfWork, upload_id: str) -> Upload:
    """Return an upload of this caller that is still open.

    :raises UploadClosed, UploadExpired: it is not
    """
    upload = own_upload(work, upload_id)
    if upload.state != OPEN:
        raise UploadClosed("The upload was committed or aborted.")
    if upload.expires_at <= work.now:
        raise UploadExpired("The upload was not committed in time.")
    return upload


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
    return _bases(work, upload, queries.bases_of(work.session, upload.id), strict=False)


def check_replaceable(work: UnitOfWork, existing: Manifest, force: bool, digest: str | None) -> None:
    """Check that a push may replace a manifest; ``digest`` is that of the new content, if it is known.

    :raises VersionExists, Revoked: it may not
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


def check_quota(work: UnitOfWork, catalog_id: str, *, is_pushed: bool = False) -> None:
    """Check that the versions of a catalog id take no more than they may; with ``is_pushed``, the new one included.

    :raises QuotaExceeded: they do, or nothing is left for a new one
    """
    row = catalog_queries.catalog_id(work.session, catalog_id)
    if row is None or row.quota_bytes is None:
        return
    used = queries.bytes_of(work.session, catalog_id)
    if used > row.quota_bytes or (used == row.quota_bytes and not is_pushed):
        raise QuotaExceeded(
            f"The versions of the catalog id {catalog_id!r} {'would ' if is_pushed else ''}take {used} bytes in "
            f"storage, and its quota is {row.quota_bytes}: delete versions that nobody needs, or have the quota raised."
        )


def _check_contents(wanted: Begin, version: str) -> None:
    if not chunks.is_chunk_size(wanted.chunk_size):
        raise BadRequest(
            f"{wanted.chunk_size} is not a valid chunk size: it must be a power of two from 64 KiB to 4 MiB."
        )
    if version == addresses.LATEST:
        raise BadRequest(f"{version!r} is a tag that the server moves, and cannot be a version.")
    try:
        paths.check_path(wanted.name)
    except UnsafePath as error:
        raise BadRequest(error.message) from None
    if "/" in wanted.name or not wanted.name.lower().endswith(f".{wanted.type}"):
        raise BadRequest(f"{wanted.name!r} is not a valid name of a {wanted.type} bundle.")


def _check_tags(
    work: UnitOfWork, catalog_id: str, version: str, architecture: str, wanted: Begin, existing: Manifest | None
) -> None:
    """Refuse tags before hours of upload, and not behind them."""
    asked = wanted_tags(wanted.tags or (), existing.tags if existing is not None else ()) - {addresses.LATEST}
    if version in asked:
        raise NameTaken(f"The version {version!r} cannot have a tag of the same name.")
    existing_id = existing.id if existing is not None else None
    catalog.require_tags(work, catalog_id, architecture, asked, existing_id)


def _open(work: UnitOfWork, catalog_id: str, version: str, architecture: str) -> tuple[Upload, tuple[str, ...]]:
    user_id = t.cast(str, work.caller.user_id)
    found = queries.open_uploads(work.session, user_id, catalog_id, version, architecture)
    alive = [upload for upload in found if upload.expires_at > work.now]
    dead = [upload for upload in found if upload.expires_at <= work.now]
    for upload in dead:
        close(work, upload, ABORTED)
        work.record("upload.expire", SUBJECT, upload.id)
    work.session.flush()
    abandoned = tuple(upload.id for upload in dead)
    if alive:
        return alive[0], abandoned
    pack = Pack(id=new_short_id(), user_id=user_id, created_at=work.now)
    upload = Upload(
        id=pack.id,
        pack=pack,
        user_id=user_id,
        catalog_id=catalog_id,
        version=version,
        architecture=architecture,
        state=OPEN,
        created_at=work.now,
    )
    return upload, abandoned


def _storage(work: UnitOfWork, name: str | None) -> str:
    name = name or work.settings.storage_name
    if work.session.get(Storage, name) is None:
        raise BadRequest(f"There is no storage {name!r}.")
    return name


def _fields(wanted: Begin, existing: Manifest | None) -> dict[str, t.Any]:
    minimum = wanted.minimum_requirements
    if existing is not None and minimum is None:
        minimum = {
            "cpu": existing.minimum_cpu,
            "memory_mb": existing.minimum_memory_mb,
            "disk_mb": existing.minimum_disk_mb,
        }
    description = wanted.description
    if existing is not None and description is None:
        description = existing.description
    return {
        "type": wanted.type,
        "name": wanted.name,
        "description": description or "",
        # The commit decides about "latest".
        "tags": sorted(
            wanted_tags(wanted.tags or (), existing.tags if existing is not None else ()) - {addresses.LATEST}
        ),
        "minimum_requirements": dict(minimum or {}),
    }


def _audience(wanted: Begin, existing: Manifest | None) -> Audience:
    now = Audience.parse(existing.audience) if existing is not None else Audience()
    return now.edited(wanted.required_roles, wanted.required_claims)


def _bases(work: UnitOfWork, upload: Upload, named: Sequence[str], *, strict: bool = True) -> tuple[Manifest, ...]:
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


def _lease(work: UnitOfWork, upload: Upload, bases: Sequence[Manifest]) -> None:
    work.session.flush()
    wanted = {base.id for base in bases}
    for known in queries.bases_of(work.session, upload.id):
        if known not in wanted:
            work.session.delete(work.session.get_one(UploadBase, (upload.id, known)))
        wanted.discard(known)
    work.session.add_all(UploadBase(upload_id=upload.id, manifest_id=base) for base in sorted(wanted))


def _opened(work: UnitOfWork, upload: Upload, bases: tuple[Manifest, ...], abandoned: tuple[str, ...]) -> OpenUpload:
    revision = revision_of(work, upload)
    return OpenUpload(upload.id, upload.storage, upload.chunk_size, upload.expires_at, revision, bases, abandoned)
