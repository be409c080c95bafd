# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The begin of an upload: what a pusher asks for is checked before anything is sent."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks, paths
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import UnsafePath

from catalog_server import access
from catalog_server.access import Audience
from catalog_server.catalog import authority, tagging
from catalog_server.catalog import queries as catalog_queries
from catalog_server.catalog.tags import wanted_tags
from catalog_server.errors import BadRequest, Forbidden, NameTaken
from catalog_server.models.base import new_short_id
from catalog_server.models.catalog import Manifest
from catalog_server.models.storage import Pack, Storage
from catalog_server.models.transfers import ABORTED, OPEN, Upload, UploadBase
from catalog_server.transfers import leases, queries, service
from catalog_server.transfers.quotas import require_room
from catalog_server.unit_of_work import UnitOfWork


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


def begin(work: UnitOfWork, wanted: Begin) -> service.OpenUpload:
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
    require_room(work, catalog_id)
    if catalog_queries.has_tag(work.session, catalog_id, version):
        raise NameTaken(f"The catalog id {catalog_id!r} has a tag {version!r}, so no version can have that name.")
    existing = catalog_queries.at_address(work.session, catalog_id, version, architecture)
    if existing is not None:
        service.check_replaceable(work, existing, wanted.force, wanted.expected_digest)
    _check_tags(work, catalog_id, version, architecture, wanted, existing)
    upload, abandoned = _open(work, catalog_id, version, architecture)
    before = service.revision_of(work, upload) if upload in work.session else None
    audience = _audience(wanted, existing).text()
    if before is not None and audience != upload.audience and not service.is_readable(work, upload):
        raise Forbidden(
            f"The open upload {upload.id} of this version is for roles or claims that this login, key or grant does "
            "not have: go on with it for the same ones, or abort it."
        )
    upload.chunk_size = wanted.chunk_size
    upload.force = wanted.force
    upload.expected_digest = wanted.expected_digest
    upload.pack.storage = _storage(work, wanted.storage)
    upload.fields = _fields(wanted, existing)
    upload.audience_text = catalog_queries.audience_row(work.session, audience)
    upload.expires_at = work.in_seconds(work.settings.upload_seconds)
    work.session.add(upload)
    work.session.flush()
    bases = service.shareable(work, upload, wanted.bases)
    _lease(work, upload, bases)
    opened = service.opened(work, upload, bases, abandoned)
    if opened.revision != before:
        address = {"catalog_id": catalog_id, "version": version, "architecture": architecture}
        work.record("upload.begin", service.SUBJECT, upload.id, **address)
    leases.release(work)
    return opened


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
    tagging.require_tags(work, catalog_id, architecture, asked, existing_id)


def _open(work: UnitOfWork, catalog_id: str, version: str, architecture: str) -> tuple[Upload, tuple[str, ...]]:
    user_id = work.caller.user_id
    if user_id is None:
        raise Forbidden("Only a user can push.")
    found = queries.open_uploads(work.session, user_id, catalog_id, version, architecture)
    alive = [upload for upload in found if upload.expires_at > work.now]
    dead = [upload for upload in found if upload.expires_at <= work.now]
    for upload in dead:
        service.close(work, upload, ABORTED)
        work.record("upload.expire", service.SUBJECT, upload.id)
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


def _lease(work: UnitOfWork, upload: Upload, bases: Sequence[Manifest]) -> None:
    work.session.flush()
    wanted = {base.id for base in bases}
    for known in queries.bases_of(work.session, upload.id):
        if known not in wanted:
            work.session.delete(work.session.get_one(UploadBase, (upload.id, known)))
        wanted.discard(known)
    work.session.add_all(UploadBase(upload_id=upload.id, manifest_id=base) for base in sorted(wanted))
