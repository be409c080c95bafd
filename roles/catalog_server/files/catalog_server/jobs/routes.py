# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs: list, get, run, and what a run of those that remove something would do."""

from __future__ import annotations

import typing as t

from fastapi import APIRouter, Path, Request, status

from catalog_server import access, pools
from catalog_server.jobs import gc, leases, retention, service
from catalog_server.jobs.kinds import kind_called
from catalog_server.jobs.runner import JobThread
from catalog_server.jobs.schemas import CatalogIdPlan, GcPlan, JobList, JobRecord, RetentionPlan
from catalog_server.openapi.operation import USERS, operation
from catalog_server.texts import Line
from catalog_server.unit_of_work import Context

router = APIRouter(tags=["jobs"])

Name = t.Annotated[Line, Path(max_length=150, description="Name of the job.")]


@router.get("/jobs", openapi_extra=operation(USERS))
def list_jobs(context: Context) -> JobList:
    """List the jobs, with their last runs."""
    with context.reading(access.JOBS) as work:
        return JobList(jobs=[JobRecord.of(kind, row) for kind, row in service.jobs(work)])


@router.get("/jobs/gc/plan", openapi_extra=operation(USERS))
def plan_gc(context: Context) -> GcPlan:
    """Tell what the garbage collection would remove, and change nothing."""
    with context.reading(access.JOBS):
        pass
    return GcPlan.of(gc.plan(context.services))


@router.get("/jobs/retention/plan", openapi_extra=operation(USERS))
def plan_retention(context: Context) -> RetentionPlan:
    """Tell what the retention of catalog ids would delete, and change nothing."""
    with context.reading(access.JOBS):
        pass
    return RetentionPlan(catalog_ids=[CatalogIdPlan.of(one) for one in retention.plan(context.services)])


@router.get("/jobs/{name}", openapi_extra=operation(USERS, "not_found"))
def get_job(context: Context, name: Name) -> JobRecord:
    """Get a job, with its last run."""
    with context.reading(access.JOBS) as work:
        return JobRecord.of(*service.job(work, name))


@router.post(
    "/jobs/{name}/run",
    status_code=status.HTTP_202_ACCEPTED,
    openapi_extra=operation(USERS, "not_found", "gc_disabled", "implausible_clock"),
)
@pools.writes
def run_job(context: Context, request: Request, name: Name) -> JobRecord:
    """Ask for a run of a job, which begins at once, or behind the one that is in progress."""
    record = context.write(
        access.JOBS,
        lambda work: JobRecord.of(*service.request(work, name)),
        locks=lambda _work: [leases.lock_of(kind_called(name).name)],
    )
    jobs: JobThread = request.app.state.jobs
    jobs.wake()
    return record
