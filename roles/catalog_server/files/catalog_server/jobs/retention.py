# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Retention: versions that the rule of their catalog id does not keep, and that nothing holds, are deleted.

They are deleted as by the API: audited, one after the other, and what only they used is condemned. What a plan says is
decided again under the lock of the catalog id, so a tag that is set meanwhile holds its version.
"""

from __future__ import annotations

import collections
import datetime
import functools
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from catalog_server import access, clock
from catalog_server.catalog import queries as catalog_queries
from catalog_server.catalog import retention_queries as queries
from catalog_server.catalog import service as catalog
from catalog_server.catalog.retention import Decision, Rule, Version, decide
from catalog_server.jobs import gc
from catalog_server.jobs.runner import Run
from catalog_server.models.catalog import CatalogId
from catalog_server.transfers import removal
from catalog_server.unit_of_work import Services, UnitOfWork

# Whoever sets a rule has so long to look at its plan before anything is deleted.
DELAY = datetime.timedelta(days=1)
# Deletions in one transaction; while it runs, nobody else pushes to the catalog id.
_AT_ONCE = 20
# More are planned by the next run: a statement takes so many parameters.
_MOST_PLANNED = 10_000


@dataclass(frozen=True)
class Plan:
    """What a run would delete of one catalog id. ``held`` counts, by reason, what the rule alone would not keep."""

    catalog_id: str
    rule: Rule
    # Not before then.
    effective_at: datetime.datetime
    versions: tuple[Version, ...]
    bytes: int
    held: Mapping[str, int]


def plan(services: Services) -> list[Plan]:
    """Returns what a run would do to each catalog id that has a retention; nothing is changed."""
    now = services.clock()
    plans = []
    with services.database.reading() as session:
        for row in queries.ruled(session):
            decision = _decision(session, row, now)
            versions = decision.over[:_MOST_PLANNED]
            size = queries.bytes_only_of(session, [one.id for one in versions]) if versions else 0
            held = dict(collections.Counter(decision.held.values()))
            plans.append(Plan(row.name, Rule.of(row.retention or {}), _effective_at(row), versions, size, held))
            session.expunge_all()
    return plans


def work(run: Run) -> None:
    """Delete what is over, by every rule that is old enough.

    Not after a restore: what was pushed since the backup is missing, so what is left seems to be too old.
    """
    with run.services.database.reading() as session:
        if not gc.is_enabled(session):
            run.counts["disabled"] = True
            return
        names = [row.name for row in queries.ruled(session) if _effective_at(row) <= run.services.clock()]
    for name in names:
        while freed := run.services.database.write(
            functools.partial(_delete_some, run.services, name), catalog.locks_of(name)
        ):
            run.add("versions", len(freed))
            run.add("bytes", sum(freed))
            run.checkpoint()


def _effective_at(row: CatalogId) -> datetime.datetime:
    return (row.retention_set_at or row.created_at) + DELAY


def _decision(session: Session, row: CatalogId, now: datetime.datetime) -> Decision:
    in_use, required = queries.in_use(session, row.name, now), queries.parents(session, row.name)
    return decide(Rule.of(row.retention or {}), queries.versions(session, row.name), in_use, required, now)


def _delete_some(services: Services, name: str, session: Session) -> list[int]:
    """Returns how many bytes each deletion frees."""
    work_of = UnitOfWork(services, session, services.clock(), access.COMMAND)
    clock.require_plausible(session, work_of.now)
    if not gc.is_enabled(session):
        return []
    row = catalog_queries.catalog_id(session, name)
    if row is None or row.retention is None or _effective_at(row) > work_of.now:
        return []
    reason = f"retention {row.retention}"
    over = _decision(session, row, work_of.now).over[:_AT_ONCE]
    return [removal.delete(work_of, one.id, reason).bytes for one in over]
