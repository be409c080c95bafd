# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a pull reads of packs: index, segments, deltas; and the count of pulls."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from catalog_server.access import PUSH
from catalog_server.catalog import authority, deltas
from catalog_server.catalog import service as catalog
from catalog_server.catalog.records import Brief
from catalog_server.downloads import Download
from catalog_server.errors import Replaced, UnknownSegment
from catalog_server.models.catalog import Manifest
from catalog_server.transfers import packs, queries
from catalog_server.unit_of_work import UnitOfWork

# What the audit log calls it when somebody gets URLs that read a manifest's segments
READ_URLS = "manifest.read_urls"


@dataclass(frozen=True)
class IndexObject:
    """Where a listing or locator lies: the object ``name`` of a pack."""

    storage: str
    pack: str
    name: str


def listing_object(work: UnitOfWork, manifest_id: str, digest: str | None = None) -> IndexObject:
    """Return where the listing of a manifest lies.

    :raises Replaced: the manifest has other content than that of ``digest``, or than its grant was made for
    """
    content = _readable(work, manifest_id, digest).segmented
    return IndexObject(content.storage, content.pack, content.listing_object)


def locator_object(work: UnitOfWork, manifest_id: str, digest: str | None = None) -> IndexObject:
    """Return where the locator of a manifest lies; see ``listing_object``."""
    content = _readable(work, manifest_id, digest).segmented
    return IndexObject(content.storage, content.pack, content.locator_object)


def _readable(work: UnitOfWork, manifest_id: str, digest: str | None) -> Manifest:
    # Users may see what a blocked manifest contains, but a transfer of it has to end.
    grant = work.caller.grant
    _require_push(work)
    found = catalog.get(work, manifest_id) if grant is None else catalog.pullable(work, manifest_id)
    _check_content(work, found, digest)
    return found


def _require_push(work: UnitOfWork) -> None:
    """Check that whoever came with a grant to push may still do that; a push reads its bases."""
    grant = work.caller.grant
    if grant is not None and grant.verb == PUSH:
        authority.require_push(work, grant.catalog_id)


def _check_content(work: UnitOfWork, found: Manifest | Brief, digest: str | None) -> None:
    grant = work.caller.grant
    granted = grant.manifests.get(found.id) if grant is not None else None
    if {digest, granted} - {None, found.digest}:
        raise Replaced.of(found.catalog_id, found.version)


@dataclass(frozen=True)
class ObjectPlace:
    """An object that a puller may read: its SHA-256, and where it lies."""

    storage: str
    pack: str
    sha256: str
    name: str


@dataclass(frozen=True)
class Wanted:
    """What a puller asks for, each by pack and SHA-256."""

    segments: Sequence[queries.SegmentName] = ()
    deltas: Sequence[queries.SegmentName] = ()
    patches: Sequence[queries.SegmentName] = ()


@dataclass(frozen=True)
class WantedObjects:
    """Objects that a puller may read. ``download`` is to be counted, None if nothing is."""

    objects: tuple[ObjectPlace, ...]
    download: Download | None


def wanted_objects(work: UnitOfWork, manifest_id: str, wanted: Wanted, digest: str | None = None) -> WantedObjects:
    """Check that the caller may pull a manifest, and that all these objects belong to it or lead to it.

    :raises Replaced: see ``listing_object``
    :raises UnknownSegment: one of them does not, whether it exists or not
    """
    _require_push(work)
    _check_content(work, catalog.pullable_brief(work, manifest_id), digest)
    segments = queries.used_by(work.session, manifest_id, wanted.segments) if wanted.segments else {}
    leading = deltas.leading_to(work.session, manifest_id) if wanted.deltas or wanted.patches else []
    storages = {(delta.pack, delta.sha256): delta.storage for delta in leading}
    patches = set(deltas.patch_objects(work.session, storages) if wanted.patches else ())
    storage_of_pack = {delta.pack: delta.storage for delta in leading}
    if not (
        segments.keys() >= set(wanted.segments)
        and storages.keys() >= set(wanted.deltas)
        and patches >= set(wanted.patches)
    ):
        raise UnknownSegment("The manifest has no such segment, and no such delta leads to it.")
    found = [ObjectPlace(segments[name], *name, name[1]) for name in wanted.segments]
    found += [ObjectPlace(storages[name], *name, packs.delta_name(name[1])) for name in wanted.deltas]
    found += [ObjectPlace(storage_of_pack[name[0]], *name, packs.patches_name(name[1])) for name in wanted.patches]
    # Deltas are read as an index is: to know what a pull would do.
    is_content = bool(wanted.segments or wanted.patches)
    return WantedObjects(tuple(found), _download(work, manifest_id) if is_content else None)


@dataclass(frozen=True)
class Leading:
    """The deltas that lead to a manifest, and the bytes of its index."""

    deltas: list[deltas.LeadingDelta]
    index_bytes: int


def leading_deltas(work: UnitOfWork, manifest_id: str, digest: str | None = None) -> Leading:
    """Return the deltas that lead to a manifest that the caller may pull.

    :raises Replaced: see ``listing_object``
    """
    found = catalog.pullable(work, manifest_id)
    _check_content(work, found, digest)
    return Leading(deltas.leading_to(work.session, manifest_id), found.segmented.index_bytes)


def _download(work: UnitOfWork, manifest_id: str) -> Download | None:
    """Return what is to be counted and audited behind the request.

    None if that was done for this grant before. A push that reads its base is audited, and is no pull to be counted.
    """
    grant = work.caller.grant
    if grant is None or grant.verb == PUSH:
        behind = work.services.behind
        reader, said = (work.caller.user_id, {}) if grant is None else (grant.jti, {"grant": grant.jti})
        if behind.readers.lets_through((reader, manifest_id), work.now.timestamp()):
            behind.notes.add(work.note(READ_URLS, catalog.SUBJECT, manifest_id, **said))
        return None
    if queries.was_used(work.session, grant.jti, manifest_id):
        return None
    end = datetime.datetime.fromtimestamp(grant.first_minted_at + work.settings.grant_limit_seconds, datetime.UTC)
    note = work.note(READ_URLS, catalog.SUBJECT, manifest_id, grant=grant.jti)
    return Download(grant.jti, manifest_id, work.caller.username, work.now, end, note)
