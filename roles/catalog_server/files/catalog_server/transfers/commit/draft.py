# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The first step of a commit, in a transaction that reads: what an upload would become."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from catalog_server.catalog import queries as catalog_queries
from catalog_server.errors import UploadChanged
from catalog_server.models.base import new_long_id
from catalog_server.models.catalog import Manifest
from catalog_server.models.storage import SEGMENTED
from catalog_server.models.transfers import OPEN, Upload
from catalog_server.transfers import queries, service
from catalog_server.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class Base:
    """A base that the caller may use now: its manifest, and where its listing lies."""

    manifest_id: str
    digest: str
    chunks: int
    storage: str
    pack: str
    listing_object: str


@dataclass(frozen=True)
class Draft:
    """What an upload would become.

    ``columns`` are those of the manifest, ``content`` those of its content that do not depend on the index.
    ``reusable`` are the sizes of the segments of other packs that the index may refer to, ``bases`` what its deltas may
    start from.
    """

    upload_id: str
    revision: str
    is_open: bool
    storage: str
    audience: str
    expected_digest: str | None
    manifest_id: str
    columns: Mapping[str, t.Any]
    content: Mapping[str, t.Any]
    tags: tuple[str, ...]
    reusable: Mapping[queries.SegmentName, int]
    bases: tuple[Base, ...]


def committable(work: UnitOfWork, upload_id: str, revision: str) -> Upload:
    """Return the caller's upload. A closed one may be committed again: the answer may have been lost.

    :raises UnknownUpload, UploadExpired: it cannot be committed
    :raises UploadChanged: a later begin asked for something else than that of ``revision``
    """
    upload = service.pushable_upload(work, upload_id)
    if upload.state == OPEN:
        service.open_upload(work, upload_id)
    if service.revision_of(work, upload) != revision:
        raise UploadChanged("Another push of this version has begun since, with other fields or bases.")
    return upload


def draft(work: UnitOfWork, upload_id: str, revision: str) -> Draft:
    """Return what the caller's upload would become.

    :raises UnknownUpload, UploadExpired, UploadChanged: see ``committable``
    """
    upload = committable(work, upload_id, revision)
    existing = at_address(work, upload)
    return Draft(
        upload_id=upload.id,
        revision=revision,
        is_open=upload.state == OPEN,
        storage=upload.storage,
        audience=upload.audience,
        expected_digest=upload.expected_digest,
        manifest_id=existing.id if existing is not None else new_long_id(),
        columns=_columns_of(upload),
        content={"chunk_size": upload.chunk_size, "pack": upload.id},
        tags=tuple(upload.fields["tags"]),
        reusable=reusable_segments(work, upload),
        bases=tuple(_base_of(base) for base in service.usable_bases(work, upload)),
    )


def _base_of(manifest: Manifest) -> Base:
    content = manifest.segmented
    return Base(manifest.id, content.digest, content.chunks, content.storage, content.pack, content.listing_object)


def at_address(work: UnitOfWork, upload: Upload) -> Manifest | None:
    """Return the manifest that is at the address of an upload, visible to the caller or not."""
    return catalog_queries.at_address(work.session, upload.catalog_id, upload.version, upload.architecture)


def reusable_segments(work: UnitOfWork, upload: Upload) -> dict[queries.SegmentName, int]:
    """Return the sizes of the segments of other packs that the caller may refer to now."""
    bases = [base.id for base in service.usable_bases(work, upload)]
    return queries.reusable_segments(
        work.session, upload.id, bases, upload.audience_id, upload.storage, work.caller.user_id
    )


def _columns_of(upload: Upload) -> dict[str, t.Any]:
    fields = upload.fields
    minimum = fields["minimum_requirements"]
    return {
        "catalog_id": upload.catalog_id,
        "version": upload.version,
        "architecture": upload.architecture,
        "type": fields["type"],
        "name": fields["name"],
        "description": fields["description"],
        "audience_id": upload.audience_id,
        "minimum_cpu": minimum.get("cpu") or 0,
        "minimum_memory_mb": minimum.get("memory_mb") or 0,
        "minimum_disk_mb": minimum.get("disk_mb") or 0,
        "format": SEGMENTED,
    }
