# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The third step of a commit, in the transaction that writes: decide again, and make the manifest."""

from __future__ import annotations

import typing as t

from catalog_server.catalog import authority, deltas, outbox, tagging
from catalog_server.catalog import queries as catalog_queries
from catalog_server.catalog import service as catalog
from catalog_server.errors import NameTaken, UploadClosed, VersionExists
from catalog_server.models.catalog import Manifest, SegmentedContent
from catalog_server.models.transfers import ABORTED, COMMITTED, OPEN, Delta, PatchObject, Upload
from catalog_server.transfers import leases, queries, quotas, service
from catalog_server.transfers.commit.draft import at_address, committable, reusable_segments
from catalog_server.transfers.commit.prepare import Prepared, check_references
from catalog_server.unit_of_work import UnitOfWork


class Overtaken(Exception):
    """Since the draft, somebody else has pushed the version for the first time: draft it again."""


def settle(work: UnitOfWork, prepared: Prepared) -> Manifest:
    """Make the manifest. A caller who asks again after a lost answer gets the same answer.

    :raises UploadClosed, UploadExpired, UploadChanged: the upload cannot be committed any more, or not as that
    :raises VersionExists, Revoked: another manifest is at the address and may not be replaced, or the same for others
    :raises UnknownSegment: a base has changed since the draft
    :raises QuotaExceeded: the catalog id may not take so much
    :raises Overtaken: the draft names another manifest than the one that is at the address now
    """
    made = prepared.draft
    upload = committable(work, made.upload_id, made.revision)
    existing = at_address(work, upload)
    if existing is not None and existing.digest == prepared.content["digest"] and _is_visible(work, existing):
        return _already_there(work, upload, existing)
    if upload.state != OPEN:
        raise UploadClosed("The upload was committed or aborted.")
    if existing is not None:
        service.check_replaceable(work, existing, upload.force, prepared.content["digest"])
    if existing is not None and existing.id != made.manifest_id:
        raise Overtaken
    authority.require_push(work, upload.catalog_id)
    if catalog_queries.has_tag(work.session, upload.catalog_id, upload.version):
        raise NameTaken(
            f"The catalog id {upload.catalog_id!r} has a tag {upload.version!r}, so no version can have that name."
        )
    check_references(prepared.locator.segments, upload.id, reusable_segments(work, upload))
    quota = quotas.quota_of(work, upload.catalog_id)
    _write(work, prepared, upload, existing)
    quotas.require_kept(work, quota)
    return catalog.get(work, made.manifest_id)


def _is_visible(work: UnitOfWork, manifest: Manifest) -> bool:
    return catalog_queries.manifest(work.session, work.caller, manifest.id) is not None


def _already_there(work: UnitOfWork, upload: Upload, existing: Manifest) -> Manifest:
    if upload.state == OPEN:
        if upload.audience_id != existing.audience_id:
            # Whoever is told that it is there takes it to be for those whom the push named.
            raise VersionExists(
                f"Version {existing.version!r} of catalog id {existing.catalog_id!r} for {existing.architecture} has "
                "this content already, but for other roles or claims: edit the version to change them."
            )
        service.close(work, upload, ABORTED)
        work.record("upload.abort", service.SUBJECT, upload.id, reason="the same content is there already")
    leases.release(work)
    return catalog.get(work, existing.id)


def _write(work: UnitOfWork, prepared: Prepared, upload: Upload, existing: Manifest | None) -> None:
    session, made = work.session, prepared.draft
    service.close(work, upload, COMMITTED)
    _add_own_segments(work, prepared, upload)
    columns = {**made.columns, **_times(work), "push_number": catalog.next_push_number(work, upload.catalog_id)}
    old_digest: str | None = None
    before: set[queries.SegmentName] = set()
    if existing is None:
        existing = Manifest(id=made.manifest_id, created_at=work.now, **columns)
        existing.content = SegmentedContent(**prepared.content)
        session.add(existing)
    else:
        before = queries.segments_of(session, existing.id)
        leases.keep(work, existing.id)
        content = existing.segmented
        leases.let_go_pack(work, content.pack)
        outbox.packs_changed(work, [content.pack])
        old_digest = content.digest
        drop = deltas.drop_of if existing.audience_id == upload.audience_id else deltas.drop_touching
        for row, values in ((existing, columns), (content, prepared.content)):
            for name, value in values.items():
                setattr(row, name, value)
        drop(work, existing.id)
    session.flush()
    _add_deltas(work, prepared, upload, existing.id)
    queries.set_uses(session, existing.id, ((segment.pack, segment.sha256) for segment in prepared.locator.segments))
    tagging.tag_push(work, existing, made.tags)
    work.record(
        "manifest.push",
        catalog.SUBJECT,
        existing.id,
        catalog_id=existing.catalog_id,
        version=existing.version,
        architecture=existing.architecture,
        digest=prepared.content["digest"],
        upload=upload.id,
        replaced_digest=old_digest,
    )
    outbox.packs_changed(work, [upload.id])
    leases.release(work, before)


def _add_deltas(work: UnitOfWork, prepared: Prepared, upload: Upload, manifest_id: str) -> None:
    """Add the deltas whose base may still be used; the objects of others are tidied away."""
    if not prepared.deltas:
        return
    usable = {base.id for base in service.usable_bases(work, upload)}
    for delta in prepared.deltas:
        if delta.base.manifest_id not in usable:
            continue
        work.session.add(
            Delta(
                pack=upload.id,
                sha256=delta.sha256,
                manifest_id=manifest_id,
                base_manifest_id=delta.base.manifest_id,
                base_digest=delta.base.digest,
                size=len(delta.file),
                patch_bytes=delta.patch_bytes,
                chunk_bytes=delta.chunk_bytes,
            )
        )
        work.session.flush()
        work.session.add_all(
            PatchObject(pack=upload.id, delta=delta.sha256, sha256=item.sha256, size=item.size)
            for item in delta.objects
        )


def _times(work: UnitOfWork) -> dict[str, t.Any]:
    return {"pushed_at": work.now, "updated_at": work.now, "created_by": work.caller.username}


def _add_own_segments(work: UnitOfWork, prepared: Prepared, upload: Upload) -> None:
    proved = work.services.storages.get(upload.storage).capabilities.proves_content
    queries.add_segments(
        work.session,
        [
            {
                "pack": segment.pack,
                "sha256": segment.sha256,
                "size": segment.size,
                "audience_id": upload.audience_id,
                "proved": proved,
                "created_at": work.now,
            }
            for segment in prepared.locator.segments
            if segment.pack == upload.id
        ],
    )
