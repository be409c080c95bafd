# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commit of an upload: before it nothing is visible, after it all is.

Three steps, as nothing slow may happen in a transaction that writes:

1. ``draft``, in a transaction that reads: what the upload would become, and what it may refer to.
2. ``prepare``, in none: read the index, look up every object that it names, and store listing, locator and
   record beside the segments. Should the server die here, an open upload is left.
3. ``settle``, in the transaction that writes: read again what the decision rests on, decide, and write.

Behind them the pack is tidied, see ``leftovers.py``, whatever came of it.

What an index must be, ``_pack.index`` checks; here it is checked against what is stored and who pushes.
"""

from __future__ import annotations

import hashlib
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    Index,
    Locator,
    SegmentRef,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index_file import decode_index

from catalog_server.catalog import queries as catalog_queries
from catalog_server.catalog import service as catalog
from catalog_server.errors import InvalidIndex, MissingSegment, Unavailable, UnknownSegment, UploadChanged, UploadClosed
from catalog_server.models.base import new_long_id
from catalog_server.models.catalog import Manifest
from catalog_server.models.storage import ABORTED, COMMITTED, OPEN, Upload
from catalog_server.transfers import leases, packs, queries, service
from catalog_server.transfers.leftovers import Garbage
from catalog_server.work import House, Work

FORMAT = "segmented"
_MOST_NAMED = 20


@dataclass(frozen=True)
class Draft:
    """What an upload would become: columns of the manifest as far as the pusher has decided them, its id, its tags.

    ``reusable`` are the sizes of the segments of other packs that it may refer to.
    """

    upload_id: str
    revision: str
    is_open: bool
    storage: str
    expected_digest: str | None
    manifest_id: str
    columns: Mapping[str, t.Any]
    tags: tuple[str, ...]
    reusable: Mapping[queries.SegmentName, int]


@dataclass(frozen=True)
class Prepared:
    """An index that may be committed as far as storage goes, and all columns of its manifest."""

    draft: Draft
    locator: Locator
    columns: Mapping[str, t.Any]


@dataclass(frozen=True)
class Settled:
    """What came of a commit."""

    manifest: Manifest
    garbage: tuple[Garbage, ...] = ()


# --- 1: in a transaction that reads ----------------------------------------------------------------------


def committable(work: Work, upload_id: str, revision: str) -> Upload:
    """The caller's upload. One that is closed may be committed again, too: the answer may have been lost.

    :raises UnknownUpload, UploadExpired: it cannot become anything
    :raises UploadChanged: it would become something else than the begin of that revision asked for
    """
    upload = service.own_upload(work, upload_id)
    if upload.state == OPEN:
        service.open_upload(work, upload_id)
    if service.revision_of(work, upload) != revision:
        raise UploadChanged("Another push of this version has begun since, with other fields or bases.")
    return upload


def draft(work: Work, upload_id: str, revision: str) -> Draft:
    """What the caller's upload would become.

    :raises UnknownUpload, UploadExpired, UploadChanged: it cannot become anything, or not that
    """
    upload = committable(work, upload_id, revision)
    existing = _at_address(work, upload)
    return Draft(
        upload_id=upload.id,
        revision=revision,
        is_open=upload.state == OPEN,
        storage=upload.storage,
        expected_digest=upload.expected_digest,
        manifest_id=existing.id if existing is not None else new_long_id(),
        columns=_columns_of(upload),
        tags=tuple(upload.fields["tags"]),
        reusable=_reusable(work, upload),
    )


def _at_address(work: Work, upload: Upload) -> Manifest | None:
    return catalog_queries.at_address(work.session, upload.catalog_id, upload.version, upload.architecture)


def _reusable(work: Work, upload: Upload) -> dict[queries.SegmentName, int]:
    bases = [base.id for base in service.usable_bases(work, upload)]
    return queries.reusable_segments(
        work.session, upload.id, bases, upload.audience, upload.storage, work.caller.user_id
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
        "audience": upload.audience,
        "minimum_cpu": minimum.get("cpu") or 0,
        "minimum_memory_mb": minimum.get("memory_mb") or 0,
        "minimum_disk_mb": minimum.get("disk_mb") or 0,
        "format": FORMAT,
        "chunk_size": upload.chunk_size,
        "storage": upload.storage,
        "pack": upload.id,
    }


# --- 2: in no transaction --------------------------------------------------------------------------------


def prepare(house: House, made: Draft, body: bytes) -> Prepared:
    """Check an index and everything that it refers to, then store what the manifest will refer to.

    :raises MalformedIndex, InvalidIndex: it breaks the format, or is not what was announced
    :raises UnknownSegment: it refers to a segment that it may not use, whether or not that exists
    :raises MissingSegment: an object that it refers to is not there, or has another size
    """
    index = decode_index(body)
    _check_announced(made, index)
    prepared = Prepared(made, index.locator, {**made.columns, **_columns_of_index(index)})
    if made.is_open:
        check_references(index.locator.segments, made.upload_id, made.reusable)
        _check_objects(house, made, index.locator.segments)
        _store(house, prepared, index)
    return prepared


def _check_announced(made: Draft, index: Index) -> None:
    wanted, found = made.columns["chunk_size"], index.listing.chunk_size
    if found != wanted:
        raise InvalidIndex(f"The index has chunks of {found} bytes, and the upload was begun with {wanted}.")
    if made.expected_digest not in (None, index.listing.digest):
        raise InvalidIndex(f"The index has the digest {index.listing.digest}, announced was {made.expected_digest}.")


def _columns_of_index(index: Index) -> dict[str, t.Any]:
    listing = index.listing
    return {
        "digest": listing.digest,
        "chunks": listing.chunk_total,
        "files": listing.file_total,
        "logical_bytes": listing.logical_bytes,
        "data_bytes": index.rows.data_bytes,
        "stored_bytes": index.locator.stored_bytes,
        "listing_object": f"{hashlib.sha256(index.listing_file).hexdigest()}.listing",
        "locator_object": f"{hashlib.sha256(index.locator_file).hexdigest()}.locator",
    }


def check_references(
    segments: Iterable[SegmentRef], upload_id: str, reusable: Mapping[queries.SegmentName, int]
) -> None:
    """Raise UnknownSegment unless each segment is of this upload, or is one that may be reused."""
    for segment in segments:
        if segment.pack != upload_id and reusable.get((segment.pack, segment.sha256)) != segment.size:
            raise UnknownSegment(
                "The index refers to a segment that is neither of this upload nor of a base that it may use now. "
                "Run the push again."
            )


def _check_objects(house: House, made: Draft, segments: Iterable[SegmentRef]) -> None:
    there: dict[str, dict[str, int]] = {}
    missing: list[SegmentRef] = []
    for segment in segments:
        if segment.pack not in there:
            there[segment.pack] = packs.pack_of(house, made.storage, segment.pack).segments()
        if there[segment.pack].get(segment.sha256) != segment.size:
            missing.append(segment)
    if missing:
        named = ", ".join(segment.sha256 for segment in missing[:_MOST_NAMED])
        # What a base has lost stays lost; what this upload lacks, the next attempt sends.
        of_base = any(segment.pack != made.upload_id for segment in missing)
        raise MissingSegment(
            f"{len(missing)} of the segments that the index refers to are not in storage, or have another size: "
            f"{named}{' …' if len(missing) > _MOST_NAMED else ''}. "
            + (
                "A base has lost them: push without it, by an empty list of bases."
                if of_base
                else "Run the push again."
            )
        )


def _store(house: House, prepared: Prepared, index: Index) -> None:
    made, columns = prepared.draft, prepared.columns
    pack = packs.pack_of(house, made.storage, made.upload_id)
    pack.put(columns["listing_object"], index.listing_file)
    pack.put(columns["locator_object"], index.locator_file)
    # Before the database says so, too: a server that dies behind its transaction has left what brings it back.
    pack.put(packs.RECORD, packs.record_of(made.manifest_id, made.tags, columns))


# --- 3: in the transaction that writes -------------------------------------------------------------------


def settle(work: Work, prepared: Prepared) -> Settled:
    """Make the manifest, or say why not. Whoever asks again after a lost answer gets the same answer.

    :raises UploadClosed, UploadExpired, UploadChanged: it can go on no more, or not as that
    :raises VersionExists, Revoked: something else is at the address, and may not be replaced
    :raises UnknownSegment: a base is not what it was a moment ago
    """
    made = prepared.draft
    upload = committable(work, made.upload_id, made.revision)
    existing = _at_address(work, upload)
    if existing is not None and existing.digest == prepared.columns["digest"] and _is_visible(work, existing):
        return _already_there(work, upload, existing)
    if upload.state != OPEN:
        raise UploadClosed("The upload was committed or aborted.")
    if existing is not None:
        service.check_replaceable(work, existing, upload.force, prepared.columns["digest"])
    if existing is not None and existing.id != made.manifest_id:
        raise Unavailable("The version was pushed by somebody else at the same moment; try again.", retry_after=1)
    check_references(prepared.locator.segments, upload.id, _reusable(work, upload))
    garbage = _write(work, prepared, upload, existing)
    return Settled(catalog.get(work, made.manifest_id), garbage)


def _is_visible(work: Work, manifest: Manifest) -> bool:
    return catalog_queries.manifest(work.session, work.caller, manifest.id) is not None


def _already_there(work: Work, upload: Upload, existing: Manifest) -> Settled:
    if upload.state == OPEN:
        service.close(work, upload, ABORTED)
        work.record("upload.abort", service.SUBJECT, upload.id, reason="the same content is there already")
    return Settled(catalog.get(work, existing.id), leases.release(work))


def _write(work: Work, prepared: Prepared, upload: Upload, existing: Manifest | None) -> tuple[Garbage, ...]:
    session, made, columns = work.session, prepared.draft, prepared.columns
    service.close(work, upload, COMMITTED)
    _add_own_segments(work, prepared, upload)
    replaced: Garbage | None = None
    before: set[queries.SegmentName] = set()
    if existing is None:
        existing = Manifest(id=made.manifest_id, created_at=work.now, **_moments(work), **columns)
        session.add(existing)
    else:
        before = queries.segments_of(session, existing.id)
        leases.keep(work, existing.id)
        replaced = Garbage(
            existing.storage, existing.pack, (existing.listing_object, existing.locator_object, packs.RECORD)
        )
        old_digest = existing.digest
        for name, value in {**columns, **_moments(work)}.items():
            setattr(existing, name, value)
    session.flush()
    queries.set_uses(session, existing.id, ((segment.pack, segment.sha256) for segment in prepared.locator.segments))
    catalog.tag_push(work, existing, made.tags)
    work.record(
        "manifest.push",
        catalog.SUBJECT,
        existing.id,
        catalog_id=existing.catalog_id,
        version=existing.version,
        architecture=existing.architecture,
        digest=existing.digest,
        upload=upload.id,
        replaced_digest=old_digest if replaced else None,
    )
    released = leases.release(work, before)
    return (replaced, *released) if replaced else released


def _moments(work: Work) -> dict[str, t.Any]:
    return {"pushed_at": work.now, "updated_at": work.now, "created_by": work.caller.username}


def _add_own_segments(work: Work, prepared: Prepared, upload: Upload) -> None:
    proved = work.house.storages[upload.storage].proves_content
    queries.add_segments(
        work.session,
        [
            {
                "pack": segment.pack,
                "sha256": segment.sha256,
                "size": segment.size,
                "storage": upload.storage,
                "audience": upload.audience,
                "proved": proved,
                "created_at": work.now,
            }
            for segment in prepared.locator.segments
            if segment.pack == upload.id
        ],
    )
