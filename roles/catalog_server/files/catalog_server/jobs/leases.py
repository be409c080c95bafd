# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lease of a job: which process runs it, until when, and how its last run ended."""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog_server.database import Lock, upsert
from catalog_server.models.jobs import Job
from catalog_server.unit_of_work import Services

LEASE_SECONDS = 300


class LeaseLost(Exception):
    """Another process runs the job now."""


def jobs(session: Session) -> Sequence[Job]:
    """All jobs that have ever run."""
    return session.scalars(select(Job).order_by(Job.name)).all()


def is_due(session: Session, name: str, now: datetime.datetime, period_seconds: float) -> bool:
    """Returns True if nobody runs the job, and its last run ended, or failed, so long ago."""
    job = session.get(Job, name)
    if job is None:
        return True
    if _is_leased(job, now):
        return False
    # A run that was interrupted is resumed at once.
    if job.owner is not None or job.finished_at is None:
        return True
    # One that ended in the future did so by a clock that was wrong.
    return abs(now - job.finished_at) >= datetime.timedelta(seconds=period_seconds)


def _is_leased(job: Job, now: datetime.datetime) -> bool:
    """Returns True if a process is believed to run the job. No lease ends further ahead, by whatever right clock."""
    if job.owner is None or job.leased_until is None:
        return False
    return now < job.leased_until <= now + 2 * datetime.timedelta(seconds=LEASE_SECONDS)


def is_requested(session: Session, name: str) -> bool:
    """Returns True if somebody asked for a run, and none has begun since."""
    job = session.get(Job, name)
    if job is None or job.requested_at is None:
        return False
    return job.started_at is None or job.started_at < job.requested_at


def request(session: Session, name: str, now: datetime.datetime) -> Job:
    """Ask for a run of a job; returns its row. Its lock is held."""
    session.execute(upsert(session, Job).values(name=name, result={}, progress={}).on_conflict_do_nothing())
    job = session.get_one(Job, name, populate_existing=True)
    job.requested_at = now
    session.flush()
    return job


def take(services: Services, name: str, owner: str) -> dict[str, t.Any] | None:
    """Take the lease of a job; returns what its last run has left to resume from, None if another process runs it."""
    now = services.clock()

    def unit(session: Session) -> dict[str, t.Any] | None:
        session.execute(upsert(session, Job).values(name=name, result={}, progress={}).on_conflict_do_nothing())
        job = session.get_one(Job, name, populate_existing=True)
        if job.owner != owner and _is_leased(job, now):
            return None
        job.owner, job.leased_until, job.started_at = owner, _end(now), now
        return dict(job.progress)

    return services.database.write(unit, [lock_of(name)])


def extend(services: Services, name: str, owner: str, progress: dict[str, t.Any]) -> None:
    """Extend the lease, and note what has been done.

    :raises LeaseLost: another process has taken it
    """
    now = services.clock()

    def unit(session: Session) -> None:
        job = _own(session, name, owner)
        job.leased_until, job.progress = _end(now), dict(progress)

    services.database.write(unit, [lock_of(name)])


def end(services: Services, name: str, owner: str, result: dict[str, t.Any], error: str | None) -> None:
    """Give the lease back behind a run.

    :raises LeaseLost: another process has taken it
    """
    now = services.clock()

    def unit(session: Session) -> None:
        job = _own(session, name, owner)
        job.owner = job.leased_until = None
        job.finished_at, job.error, job.result, job.progress = now, error, dict(result), {}
        if error is None:
            job.succeeded_at = now

    services.database.write(unit, [lock_of(name)])


def _own(session: Session, name: str, owner: str) -> Job:
    job = session.get_one(Job, name, populate_existing=True)
    if job.owner != owner:
        raise LeaseLost(name)
    return job


def _end(now: datetime.datetime) -> datetime.datetime:
    return now + datetime.timedelta(seconds=LEASE_SECONDS)


def lock_of(name: str) -> Lock:
    """What excludes every other change of the row of a job."""
    return Lock("job", name)
