# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Garbage collection: condemned segments, and what else a pack has that the database does not know.

It works in two steps. The rows of segments that were condemned longer ago than any signed URL lives, and that still
nothing uses or leases, are deleted in a transaction that marks their packs. Then each marked pack is made what the
database says. A crash between the two leaves the mark, and the next run goes on.

Storages that cannot be used now, or where the server may not delete, are left alone, and the run names them.

Only objects of packs that this database knows are deleted, only below the prefix of a storage that has this catalog's
mark, and only those whose names are of our grammar. After a restore nothing is deleted until the administrator says so.
"""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import StorageError
from sqlalchemy import Select, delete, exists, func, select, tuple_, update
from sqlalchemy.orm import Session

from catalog_server import clock
from catalog_server.catalog.service import SEGMENTS_LOCK
from catalog_server.errors import GcDisabled, Unavailable
from catalog_server.jobs.runner import Run
from catalog_server.models.catalog import Catalog, ManifestSegment, SegmentedContent
from catalog_server.models.storage import GONE, GROWING, UNSURE, Pack
from catalog_server.models.transfers import LeasedSegment, Segment
from catalog_server.settings import LONGEST_URL_SECONDS
from catalog_server.transfers import leftovers, queries
from catalog_server.unit_of_work import Services

_AT_ONCE = 2000


@dataclass(frozen=True)
class Plan:
    """What a run would remove now, and what it would remove once no URL opens it any more."""

    enabled: bool
    segments: int
    bytes: int
    packs: int
    waiting_segments: int
    waiting_bytes: int
    # Storages that it does not touch, and why.
    left_alone: Mapping[str, str]


def is_enabled(session: Session) -> bool:
    """Returns False after a restore, until an administrator has looked at what the database does not know."""
    return bool(session.scalar(select(Catalog.gc_enabled)))


def require_enabled(session: Session) -> None:
    """Raise GcDisabled after a restore, until an administrator has looked."""
    if not is_enabled(session):
        raise GcDisabled(
            "The garbage collection and the retention are off since a restore: storage may hold what was pushed behind "
            "the backup. Run catalog-server gc --after-restore, which lists it and switches them on again."
        )


def plan(services: Services) -> Plan:
    """Returns what a run would do; nothing is changed."""
    survey = services.storages.survey(deleting=True)
    storages = survey.marked
    size = func.coalesce(func.sum(Segment.size), 0)
    with services.database.reading() as session:
        due = session.execute(
            _unused(storages, _cutoff(services)).with_only_columns(func.count(), size, maintain_column_froms=True)
        ).one()
        all_of_it = session.execute(
            _unused(storages, services.clock()).with_only_columns(func.count(), size, maintain_column_froms=True)
        ).one()
        packs = (
            session.scalar(
                _untidy(storages, services.clock())
                .with_only_columns(func.count(), maintain_column_froms=True)
                .order_by(None)
            )
            or 0
        )
        return Plan(
            is_enabled(session),
            due[0],
            due[1],
            packs,
            all_of_it[0] - due[0],
            all_of_it[1] - due[1],
            survey.left_alone,
        )


def work(run: Run) -> None:
    """Remove what is due."""
    services = run.services
    with services.database.reading() as session:
        if not is_enabled(session):
            run.counts["disabled"] = True
            return
    survey = services.storages.survey(deleting=True)
    storages = survey.marked
    if survey.left_alone:
        run.counts["left_alone"] = survey.left_alone
    while swept := services.database.write(lambda session: _sweep(services, session, storages), [SEGMENTS_LOCK]):
        run.add("segments", len(swept))
        run.add("bytes", sum(swept))
        run.checkpoint()
    for pack_id, tidy_after in _marked(services, storages):
        if _tidied(services, pack_id, tidy_after):
            run.add("packs")
        else:
            run.add("packs_left")
        run.checkpoint()


def _cutoff(services: Services) -> datetime.datetime:
    return services.clock() - datetime.timedelta(seconds=LONGEST_URL_SECONDS)


def _unused(storages: Collection[str], condemned_before: datetime.datetime) -> Select[*tuple[t.Any, ...]]:
    return (
        select(Segment.pack, Segment.sha256, Segment.size)
        .join(Pack, Pack.id == Segment.pack)
        .where(
            Segment.condemned_at <= condemned_before,
            Pack.storage.in_(storages),
            ~exists().where(ManifestSegment.pack == Segment.pack, ManifestSegment.sha256 == Segment.sha256),
            ~exists().where(LeasedSegment.pack == Segment.pack, LeasedSegment.sha256 == Segment.sha256),
        )
    )


def _sweep(services: Services, session: Session, storages: Collection[str]) -> list[int]:
    """Delete some rows, and mark their packs; returns the sizes of the segments."""
    clock.require_plausible(session, services.clock())
    if not is_enabled(session):
        return []
    rows = session.execute(_unused(storages, _cutoff(services)).limit(_AT_ONCE)).all()
    if not rows:
        return []
    names = [(row.pack, row.sha256) for row in rows]
    session.execute(
        delete(Segment)
        .where(tuple_(Segment.pack, Segment.sha256).in_(names))
        .execution_options(synchronize_session=False)
    )
    session.execute(
        update(Pack)
        .where(Pack.id.in_({pack for pack, _sha256 in names}), Pack.tidy_after.is_(None))
        .values(tidy_after=services.clock())
        .execution_options(synchronize_session=False)
    )
    return [row.size for row in rows]


def _untidy(storages: Collection[str], now: datetime.datetime) -> Select[*tuple[t.Any, ...]]:
    return (
        select(Pack.id, Pack.tidy_after)
        .where(Pack.tidy_after <= now, Pack.state != GROWING, Pack.storage.in_(storages))
        .order_by(Pack.tidy_after, Pack.id)
    )


def _marked(services: Services, storages: Collection[str]) -> list[tuple[str, datetime.datetime]]:
    with services.database.reading() as session:
        return [(row.id, row.tidy_after) for row in session.execute(_untidy(storages, services.clock()))]


def _tidied(services: Services, pack_id: str, tidy_after: datetime.datetime) -> bool:
    try:
        if not leftovers.tidy(services, pack_id):
            return False
    except (StorageError, Unavailable):
        return False

    def unit(session: Session) -> None:
        pack = session.get(Pack, pack_id)
        # Somebody may have let go something else meanwhile.
        if pack is None or pack.tidy_after != tidy_after:
            return
        pack.tidy_after = None
        holds_index = session.scalar(select(SegmentedContent.manifest_id).where(SegmentedContent.pack == pack_id))
        if holds_index is None and not queries.segments_in(session, pack_id) and pack.state != UNSURE:
            pack.state = GONE

    services.database.write(unit, [SEGMENTS_LOCK])
    return True
