# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The second step of a commit, outside of a transaction: check an index against storage, and store it."""

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
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index_file import decode_index, memory_bytes

from catalog_server.errors import InvalidIndex, MissingSegment, UnknownSegment
from catalog_server.transfers import packs, queries
from catalog_server.transfers.commit.deltas import CheckedDelta, check_deltas, needed_memory
from catalog_server.transfers.commit.draft import Draft
from catalog_server.transfers.commit.placements import check_placements
from catalog_server.unit_of_work import Services

_MOST_NAMED = 20
_MEMORY_BYTES = 140 << 20
_MEMORY_OF_A_BYTE = 8


@dataclass(frozen=True)
class Prepared:
    """An index whose objects are all in storage, and all columns of the content of its manifest."""

    draft: Draft
    locator: Locator
    content: Mapping[str, t.Any]
    deltas: tuple[CheckedDelta, ...] = ()


def prepare(services: Services, made: Draft, body: bytes) -> Prepared:
    """Check an index and everything that it refers to, then store what the manifest will refer to.

    :raises MalformedIndex, InvalidIndex: the index breaks the format, or is not the one that was announced
    :raises UnknownSegment: it refers to a segment that it may not use, whether that exists or not
    :raises MissingSegment: an object that it refers to is not in storage, or has another size
    :raises InvalidIndex: a segment does not list a chunk where the index places it
    """
    _check_memory(memory_bytes(body), len(body))
    index = decode_index(body)
    _check_announced(made, index)
    content = {**made.content, **_content_of_index(index)}
    if not made.is_open:
        return Prepared(made, index.locator, content)
    check_references(index.locator.segments, made.upload_id, made.reusable)
    _check_objects(services, made, index.locator.segments)
    check_placements(services, made, index)
    _check_memory(needed_memory(index.delta_files), len(body))
    prepared = Prepared(made, index.locator, content, check_deltas(services, made, index))
    _store(services, prepared, index)
    return prepared


def _check_memory(needed: int, body_bytes: int) -> None:
    """Refuse an index that says little and needs much: an honest one hardly shrinks, as ids are random.

    What all need, and what comes with each byte, leaves room for the largest disks, which are mostly holes.
    """
    allowed = _MEMORY_BYTES + _MEMORY_OF_A_BYTE * body_bytes
    if needed > allowed:
        raise InvalidIndex(
            f"The index needs {needed >> 20} MiB of memory, and an index of its size may need {allowed >> 20} MiB."
        )


def _check_announced(made: Draft, index: Index) -> None:
    wanted, found = made.content["chunk_size"], index.listing.chunk_size
    if found != wanted:
        raise InvalidIndex(f"The index has chunks of {found} bytes, and the upload was begun with {wanted}.")
    if made.expected_digest not in (None, index.listing.digest):
        raise InvalidIndex(
            f"The index has the digest {index.listing.digest}, and {made.expected_digest} was announced."
        )


def _content_of_index(index: Index) -> dict[str, t.Any]:
    listing = index.listing
    return {
        "digest": listing.digest,
        "chunks": listing.chunk_total,
        "files": listing.file_total,
        "logical_bytes": listing.logical_bytes,
        "data_bytes": index.rows.data_bytes,
        "stored_bytes": index.locator.stored_bytes,
        "index_bytes": len(index.listing_file) + len(index.locator_file or b""),
        "listing_object": f"{hashlib.sha256(index.listing_file).hexdigest()}.listing",
        "locator_object": f"{hashlib.sha256(index.locator_file or b'').hexdigest()}.locator",
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


def _check_objects(services: Services, made: Draft, segments: Iterable[SegmentRef]) -> None:
    there: dict[str, dict[str, int]] = {}
    missing: list[SegmentRef] = []
    for segment in segments:
        if segment.pack not in there:
            there[segment.pack] = packs.pack_of(services, made.storage, segment.pack).segments()
        if there[segment.pack].get(segment.sha256) != segment.size:
            missing.append(segment)
    if missing:
        named = ", ".join(segment.sha256 for segment in missing[:_MOST_NAMED])
        # The next attempt sends what this upload lacks, but not what a base has lost.
        of_base = any(segment.pack != made.upload_id for segment in missing)
        raise MissingSegment(
            f"{len(missing)} of the segments that the index refers to are not in storage, or have another size: "
            f"{named}{' …' if len(missing) > _MOST_NAMED else ''}. "
            + (
                "A base has lost them: push without bases, by an empty list of bases."
                if of_base
                else "Run the push again."
            )
        )


def _store(services: Services, prepared: Prepared, index: Index) -> None:
    made, content = prepared.draft, prepared.content
    pack = packs.pack_of(services, made.storage, made.upload_id)
    recorded = {**made.columns, **content, "audience": made.audience, "storage": made.storage}
    with services.storages.own(made.storage):
        pack.put(content["listing_object"], index.listing_file)
        pack.put(content["locator_object"], index.locator_file or b"")
        for delta in prepared.deltas:
            pack.put(packs.delta_name(delta.sha256), delta.file)
        # Written before the transaction: if the server dies right after that, storage has what a rebuild needs.
        pack.put(packs.RECORD, packs.record_of(made.manifest_id, made.tags, recorded))
