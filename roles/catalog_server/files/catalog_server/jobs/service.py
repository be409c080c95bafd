# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be done with jobs from outside: look at them, and ask for a run."""

from __future__ import annotations

from catalog_server import clock
from catalog_server.jobs import leases
from catalog_server.jobs.kinds import KINDS, kind_called
from catalog_server.jobs.runner import JobKind
from catalog_server.models.jobs import Job
from catalog_server.unit_of_work import UnitOfWork

SUBJECT = "job"


def jobs(work: UnitOfWork) -> list[tuple[JobKind, Job | None]]:
    """All jobs; of each, its row, or None if it has never run."""
    rows = {row.name: row for row in leases.jobs(work.session)}
    return [(kind, rows.get(kind.name)) for kind in KINDS]


def job(work: UnitOfWork, name: str) -> tuple[JobKind, Job | None]:
    """One job, as ``jobs``.

    :raises NotFound: there is none of that name
    """
    kind = kind_called(name)
    return kind, work.session.get(Job, name)


def request(work: UnitOfWork, name: str) -> tuple[JobKind, Job]:
    """Ask for a run of a job, whose lock is held.

    :raises NotFound: there is none of that name
    :raises GcDisabled: it removes something, and that is off since a restore
    :raises ImplausibleClock: it deletes by the clock, which has jumped
    """
    kind = kind_called(name)
    kind.require_allowed(work.session)
    if kind.deletes:
        clock.require_plausible(work.session, work.now)
    row = leases.request(work.session, name, work.now)
    work.record("job.request", SUBJECT, name)
    return kind, row
