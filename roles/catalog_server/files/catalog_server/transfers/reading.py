# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a pull reads of a pack: its index, its segments; and the count of pulls."""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Sequence
from dataclasses import dataclass

from catalog_server.access import PUSH
from catalog_server.catalog import authority
from catalog_server.catalog import service as catalog
from catalog_server.catalog.records import Brief
from catalog_server.downloads import Download
from catalog_server.errors import Replaced, UnknownSegment
from catalog_server.models.catalog import Manifest
from catalog_server.transfers import queries
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
    if grant is not None and grant.verb == PUSH:
        authority.require_push(work, grant.catalog_id)
    found = catalog.get(work, manifest_id) if grant is None else catalog.pullable(work, manifest_id)
    _check_content(work, found, digest)
    return found


def _check_content(work: UnitOfWork, found: Manifest | Brief, digest: str | None) -> None:
    grant = work.caller.grant
    granted = grant.manifests.get(found.id) if grant is not None else None
    if {digest, granted} - {None, found.digest}:
        raise Replaced.of(found.catalog_id, found.version)


@dataclass(frozen=True)
class WantedSegments:
    """Segments that a puller may read: the storage of each. ``download`` is to be counted, None if it has been."""

    storages: t.Mapping[queries.SegmentName, str]
    download: Download | None


def wanted_segments(
    work: UnitOfWork, manifest_id: str, wanted: Sequence[queries.SegmentName], digest: str | None = None
) -> WantedSegments:
    """Check that the caller may pull a manifest, and that it uses all these segments.

    :raises Replaced: see ``listing_object``
    :raises UnknownSegment: it does not use one of them, whether that exists or not
    """
    _check_content(work, catalog.pullable_brief(work, manifest_id), digest)
    found = queries.used_by(work.session, manifest_id, wanted)
    if not found.keys() >= set(wanted):
        raise UnknownSegment("The manifest has no such segment.")
    return WantedSegments(found, _download(work, manifest_id))


def _download(work: UnitOfWork, manifest_id: str) -> Download | None:
    """Return what is to be counted and audited behind the request; None if that was done for this grant before."""
    grant = work.caller.grant
    if grant is None:
        behind = work.services.behind
        if behind.readers.lets_through((work.caller.user_id, manifest_id), work.now.timestamp()):
            behind.notes.add(work.note(READ_URLS, catalog.SUBJECT, manifest_id))
        return None
    if queries.was_used(work.session, grant.jti, manifest_id):
        return None
    end = datetime.datetime.fromtimestamp(grant.first_minted_at + work.settings.grant_limit_seconds, datetime.UTC)
    note = work.note(READ_URLS, catalog.SUBJECT, manifest_id, grant=grant.jti)
    return Download(grant.jti, manifest_id, work.caller.username, work.now, end, note)
