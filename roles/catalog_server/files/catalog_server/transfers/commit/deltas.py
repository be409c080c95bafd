# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The deltas that come with an index: each is applied to the listing of its base, and must lead to the new listing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta import Delta
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta_apply import apply_delta
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta_file import decode_delta, memory_bytes
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import Index, PatchesRef
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import decode_listing

from catalog_server.errors import InvalidIndex, MissingSegment, UnknownSegment
from catalog_server.transfers import packs
from catalog_server.transfers.commit.draft import Base, Draft
from catalog_server.unit_of_work import Services


@dataclass(frozen=True)
class CheckedDelta:
    """A delta that leads from a base to the new listing, and whose patches are stored."""

    base: Base
    file: bytes
    sha256: str
    patch_bytes: int
    chunk_bytes: int
    objects: tuple[PatchesRef, ...]


def check_deltas(services: Services, made: Draft, index: Index) -> tuple[CheckedDelta, ...]:
    """Check the deltas of an index, one after the other.

    :raises InvalidIndex, MalformedIndex: one breaks the format, or does not lead to the listing of the index
    :raises UnknownSegment: one starts from something else than a base that the caller may use now
    :raises MissingSegment: patches of one are not in storage, or have another size
    """
    if not index.delta_files:
        return ()
    stored = packs.pack_of(services, made.storage, made.upload_id).patches()
    found: list[CheckedDelta] = []
    for file in index.delta_files:
        delta = decode_delta(file, made.upload_id)
        base = _base_of(made, delta, found)
        _check_leads(services, delta, base, index)
        for item in delta.patches.objects:
            if stored.get(item.sha256) != item.size:
                raise MissingSegment(
                    f"The object of patches {item.sha256} is not in storage, or has another size. Run the push again."
                )
        found.append(
            CheckedDelta(
                base,
                file,
                hashlib.sha256(file).hexdigest(),
                delta.patches.stored_bytes,
                delta.rows.stored_bytes,
                delta.patches.objects,
            )
        )
    return tuple(found)


def needed_memory(index_bytes: Sequence[bytes]) -> int:
    """Return about how many bytes of memory the largest of some deltas takes, beside the listing of its base.

    That was accepted when the base was pushed, however many holes it has.
    """
    return max((memory_bytes(file) for file in index_bytes), default=0)


def _base_of(made: Draft, delta: Delta, before: Sequence[CheckedDelta]) -> Base:
    if any(one.base.digest == delta.base for one in before):
        raise InvalidIndex(f"Two deltas of the index start from {delta.base}.")
    for base in made.bases:
        if base.digest == delta.base:
            return base
    raise UnknownSegment(
        "A delta of the index does not start from a base of this upload that it may use now. Run the push again."
    )


def _check_leads(services: Services, delta: Delta, base: Base, index: Index) -> None:
    objects = packs.pack_of(services, base.storage, base.pack)
    listing = decode_listing(objects.get(base.listing_object))
    if listing.chunk_size != index.listing.chunk_size:
        raise InvalidIndex("A delta of the index starts from a listing of another chunk size.")
    applied = apply_delta(delta, listing)
    if applied.listing.digest != index.listing.digest:
        raise InvalidIndex(f"A delta of the index leads to the listing {applied.listing.digest}.")
    ids, locator, rows = delta.chunk_ids, index.locator, index.rows
    for number in range(delta.rows.row_total):
        row = rows.row_of.find(ids[32 * number : 32 * number + 32])
        if row < 0 or delta.rows.placement(number) != locator.placement(row):
            raise InvalidIndex("A delta of the index places a chunk elsewhere than the locator does.")
