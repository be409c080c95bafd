# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs, and what they would do, as JSON."""

from __future__ import annotations

import typing as t

from catalog_server.bodies import ResponseBody
from catalog_server.catalog.retention import HELD
from catalog_server.catalog.schemas import Timestamp
from catalog_server.jobs import gc, retention
from catalog_server.jobs.runner import JobKind
from catalog_server.models.jobs import Job


class JobRecord(ResponseBody):
    """A job and its last run."""

    name: str
    """What it is called."""
    description: str
    """What it does."""
    running: bool
    """Whether a process runs it now."""
    requested_at: Timestamp | None
    """When somebody last asked for a run; null if nobody has."""
    started_at: Timestamp | None
    """When the last run began; null if there was none."""
    finished_at: Timestamp | None
    """When the last run that has ended did so; null if there was none."""
    error: str | None
    """Why that run failed; null if it succeeded."""
    result: dict[str, t.Any]
    """What that run has done, as numbers by their names."""
    progress: dict[str, t.Any]
    """What a run that has not ended has done so far."""

    @classmethod
    def of(cls, kind: JobKind, row: Job | None) -> JobRecord:
        if row is None:
            row = Job(name=kind.name, result={}, progress={})
        return cls(
            name=kind.name,
            description=kind.text,
            running=row.owner is not None,
            requested_at=row.requested_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
            error=row.error,
            result=row.result,
            progress=row.progress,
        )


class JobList(ResponseBody):
    """All jobs."""

    jobs: list[JobRecord]
    """All jobs, in the order in which they are looked at."""


class GcPlan(ResponseBody):
    """What the garbage collection would remove."""

    enabled: bool
    """False after a restore, until an administrator has looked."""
    segments: int
    """Number of segments that would be removed now."""
    bytes: int
    """What they take in storage, in bytes."""
    packs: int
    """Number of packs whose objects would be compared with the database."""
    waiting_segments: int
    """Number of segments that nothing uses, and that signed URLs may still open."""
    waiting_bytes: int
    """What those take in storage, in bytes."""
    left_alone: dict[str, str]
    """Storages that the collection does not touch, and why."""

    @classmethod
    def of(cls, plan: gc.Plan) -> GcPlan:
        return cls(**{name: getattr(plan, name) for name in cls.model_fields})


class DoomedVersion(ResponseBody):
    """A version that would be deleted."""

    id: str
    """Id of the manifest."""
    version: str
    """Its version."""
    architecture: str
    """Its architecture."""
    pushed_at: Timestamp
    """When its content was pushed."""
    tags: list[str]
    """Its tags, which do not keep it."""


class HeldVersions(ResponseBody):
    """How many versions are kept that the rule alone would not keep."""

    tagged: int
    """Number of those that have a tag."""
    in_use: int
    """Number of those that an open upload or a grant may need."""
    required: int
    """Number of those that other versions refer to."""


class CatalogIdPlan(ResponseBody):
    """What would be deleted of one catalog id."""

    catalog_id: str
    """The catalog id."""
    effective_at: Timestamp
    """When the rule begins to delete, a day after it was set."""
    versions: list[DoomedVersion]
    """The versions that would be deleted, the oldest push first."""
    bytes: int
    """What only they use in storage, in bytes."""
    held: HeldVersions
    """Versions that are kept for other reasons than the rule."""

    @classmethod
    def of(cls, plan: retention.Plan) -> CatalogIdPlan:
        return cls(
            catalog_id=plan.catalog_id,
            effective_at=plan.effective_at,
            versions=[
                DoomedVersion(
                    **{name: getattr(one, name) for name in DoomedVersion.model_fields} | {"tags": list(one.tags)}
                )
                for one in plan.versions
            ],
            bytes=plan.bytes,
            held=HeldVersions(**{reason: plan.held.get(reason, 0) for reason in HELD}),
        )


class RetentionPlan(ResponseBody):
    """What the retention would delete of each catalog id that has one."""

    catalog_ids: list[CatalogIdPlan]
    """One for each catalog id that has a retention, by name."""
