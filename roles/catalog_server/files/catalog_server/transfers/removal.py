# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deleting a manifest, and what becomes free by it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from catalog_server.catalog import outbox
from catalog_server.catalog import service as catalog
from catalog_server.models.catalog import Manifest
from catalog_server.settings import LONGEST_URL_SECONDS
from catalog_server.transfers import leases, queries
from catalog_server.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class Freed:
    """Bytes that only a deleted manifest used, and when the garbage collection may remove them."""

    bytes: int
    after: datetime.datetime


def delete(work: UnitOfWork, manifest_id: str, reason: str | None = None) -> Freed:
    """Delete the record of a manifest, and condemn what only it used; the audit log keeps the reason."""
    manifest = catalog.get(work, manifest_id)
    packs = [manifest.content.pack] if manifest.content is not None else []
    used = queries.segments_of(work.session, manifest_id)
    deltas = queries.delta_bytes(work.session, Manifest.id == manifest_id)
    catalog.delete(work, manifest_id, reason)
    for pack in packs:
        leases.let_go_pack(work, pack)
    outbox.packs_changed(work, packs)
    return Freed(leases.release(work, used) + deltas, work.in_seconds(LONGEST_URL_SECONDS))
