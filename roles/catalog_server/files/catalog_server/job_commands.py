# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``catalog-server job …`` and ``catalog-server gc``: arguments, one call, a few lines."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import typing as t
from collections.abc import Callable, Mapping

from catalog_server import clock
from catalog_server.catalog import deltas
from catalog_server.catalog.retention import HELD, IN_USE, REQUIRED, TAGGED
from catalog_server.catalog.service import SEGMENTS_LOCK
from catalog_server.errors import BadRequest
from catalog_server.jobs import gc, restored, retention, service
from catalog_server.jobs.kinds import KINDS, kind_called
from catalog_server.jobs.runner import JobKind, new_owner, run
from catalog_server.jobs.schemas import JobRecord
from catalog_server.os_user import os_user
from catalog_server.unit_of_work import Services, UnitOfWork, command_unit

# Some hundred years: what a time can be counted back by.
_MOST_DAYS = 100_000


def add_to(commands: t.Any) -> None:
    """Add the commands to those of catalog-server; ``run_with_services`` of the result is what to call."""
    job = commands.add_parser("job", help="jobs: what runs behind the requests")
    actions = job.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list the jobs and their last runs")
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(run_with_services=_list)
    now = actions.add_parser("run", help="run a job now")
    now.add_argument("name", choices=[kind.name for kind in KINDS], metavar="NAME")
    now.add_argument("--dry-run", action="store_true", help="only say what gc or retention would remove")
    now.set_defaults(run_with_services=_run)

    collect = commands.add_parser("gc", help="remove stored objects that nothing uses any more")
    how = collect.add_mutually_exclusive_group()
    how.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    how.add_argument(
        "--after-restore",
        action="store_true",
        help="list the packs that the database does not know, and switch the collection on again",
    )
    how.add_argument(
        "--drop-deltas",
        type=_days,
        metavar="DAYS",
        help="also drop the deltas of versions that were pushed more than DAYS days ago; "
        "hosts download whole chunks then",
    )
    collect.set_defaults(run_with_services=_collect)


def _days(text: str) -> int:
    days = int(text)
    if not 0 <= days <= _MOST_DAYS:
        raise ValueError
    return days


def _list(options: argparse.Namespace, services: Services) -> int:
    rows = command_unit(services, lambda work: [JobRecord.of(kind, row) for kind, row in service.jobs(work)])
    if options.json:
        print(json.dumps([row.model_dump(mode="json") for row in rows], indent=1))
        return 0
    for row in rows:
        ended = row.finished_at.isoformat(timespec="seconds") if row.finished_at is not None else "never"
        print(f"{row.name}: {row.error or _said(row.result)} ({'running' if row.running else f'ended {ended}'})")
    return 0


def _run(options: argparse.Namespace, services: Services) -> int:
    if not options.dry_run:
        return _run_kind(kind_called(options.name), services)
    if options.name not in _PLANS:
        raise BadRequest(f"The job {options.name} has no dry run; those that have are {', '.join(_PLANS)}.")
    return _PLANS[options.name](services)


def _run_kind(kind: JobKind, services: Services) -> int:
    with services.database.reading() as session:
        kind.require_allowed(session)
    counts = run(services, kind, new_owner())
    if counts is None:
        print(f"{kind.name}: another process runs it now")
        return os.EX_TEMPFAIL
    _tell_left_alone(counts.pop("left_alone", {}))
    print(f"{kind.name}: {_said(counts)}")
    return 0


def _said(counts: t.Any) -> str:
    return ", ".join(f"{name} {counts[name]}" for name in sorted(counts)) or "nothing to do"


def _tell_left_alone(storages: Mapping[str, str]) -> None:
    for name in sorted(storages):
        print(f"storage {name} is left alone: {storages[name]}")


def _collect(options: argparse.Namespace, services: Services) -> int:
    if options.after_restore:
        return _after_restore(services)
    if options.drop_deltas is not None:
        dropped = command_unit(services, lambda work: _drop_deltas(work, options.drop_deltas), SEGMENTS_LOCK)
        print(f"{dropped} deltas are dropped; their objects go when no signed URL opens them any more")
    return _plan_gc(services) if options.dry_run else _run_kind(kind_called("gc"), services)


def _drop_deltas(work: UnitOfWork, days: int) -> int:
    clock.require_plausible(work.session, work.now)
    dropped = deltas.drop_older(work, work.now - datetime.timedelta(days=days))
    if dropped:
        work.record("delta.drop", "catalog", "catalog", deltas=dropped, older_than_days=days, **os_user())
    return dropped


def _plan_gc(services: Services) -> int:
    planned = gc.plan(services)
    if not planned.enabled:
        print("off after a restore: run catalog-server gc --after-restore")
    _tell_left_alone(planned.left_alone)
    print(f"would remove {planned.segments} segments of {planned.bytes} bytes, and tidy {planned.packs} packs")
    print(f"{planned.waiting_segments} more segments of {planned.waiting_bytes} bytes wait for their URLs to expire")
    return 0


def _plan_retention(services: Services) -> int:
    plans = retention.plan(services)
    for one in plans:
        for version in one.versions:
            pushed = version.pushed_at.isoformat(timespec="seconds")
            print(f"{one.catalog_id} {version.version} {version.architecture}, pushed {pushed}")
        when = (
            ""
            if one.effective_at <= services.clock()
            else f", from {one.effective_at.isoformat(timespec='seconds')} on"
        )
        print(f"{one.catalog_id}: would delete {len(one.versions)} versions and free {one.bytes} bytes{when}")
        if one.held:
            kept = ", ".join(f"{one.held[reason]} {_REASONS[reason]}" for reason in HELD if reason in one.held)
            print(f"{one.catalog_id}: would also keep {kept}")
    if not plans:
        print("no catalog id has a retention")
    return 0


_REASONS = {TAGGED: "with a tag", IN_USE: "that a transfer uses", REQUIRED: "that others refer to"}
# The jobs that remove something, and what tells what they would remove.
_PLANS: Mapping[str, Callable[[Services], int]] = {"gc": _plan_gc, "retention": _plan_retention}


def _after_restore(services: Services) -> int:
    _tell_left_alone(services.storages.survey(reading=True).left_alone)
    number = 0
    for pack in restored.unknown_packs(services):
        number += 1
        print(f"{pack.storage} {pack.id}: {pack.objects} objects, {pack.bytes} bytes {pack.address}".rstrip())
    was_off = command_unit(services, restored.enable_gc)
    print(f"{number} packs that the database does not know; they are left alone")
    print("the garbage collection is on again" if was_off else "the garbage collection was on")
    return 0
