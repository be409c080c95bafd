# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``catalog-server job …`` and ``catalog-server gc``: arguments, one call, a few lines."""

from __future__ import annotations

import argparse
import json
import typing as t

from catalog_server.jobs import gc, leases, restored
from catalog_server.jobs.kinds import KINDS
from catalog_server.jobs.runner import JobKind, new_owner, run
from catalog_server.unit_of_work import Services, command_unit

_FAILED = 1


def add_to(commands: t.Any) -> None:
    """Add the commands to those of catalog-server; ``run_with_services`` of the result is what to call."""
    job = commands.add_parser("job", help="jobs: what runs behind the requests")
    actions = job.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list the jobs and their last runs")
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(run_with_services=_list)
    now = actions.add_parser("run", help="run a job now")
    now.add_argument("name", choices=[kind.name for kind in KINDS], metavar="NAME")
    now.set_defaults(run_with_services=_run)

    collect = commands.add_parser("gc", help="remove stored objects that nothing uses any more")
    how = collect.add_mutually_exclusive_group()
    how.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    how.add_argument(
        "--after-restore",
        action="store_true",
        help="list the packs that the database does not know, and switch the collection on again",
    )
    collect.set_defaults(run_with_services=_collect)


def _list(options: argparse.Namespace, services: Services) -> int:
    with services.database.reading() as session:
        known = {job.name: job for job in leases.jobs(session)}
    rows = []
    for kind in KINDS:
        job = known.get(kind.name)
        rows.append(
            {
                "name": kind.name,
                "what": kind.text,
                "running": job is not None and job.owner is not None,
                "owner": job.owner if job is not None else None,
                "finished_at": job.finished_at.isoformat() if job is not None and job.finished_at else None,
                "error": job.error if job is not None else None,
                "result": job.result if job is not None else {},
            }
        )
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        for row in rows:
            state = "running" if row["running"] else f"ended {row['finished_at'] or 'never'}"
            print(f"{row['name']}: {row['error'] or _said(row['result'])} ({state})")
    return 0


def _run(options: argparse.Namespace, services: Services) -> int:
    return _run_kind(next(kind for kind in KINDS if kind.name == options.name), services)


def _run_kind(kind: JobKind, services: Services) -> int:
    counts = run(services, kind, new_owner())
    if counts is None:
        print(f"{kind.name}: another process runs it now")
        return _FAILED
    print(f"{kind.name}: {_said(counts)}")
    return 0


def _said(counts: t.Any) -> str:
    return ", ".join(f"{name} {counts[name]}" for name in sorted(counts)) or "nothing to do"


def _collect(options: argparse.Namespace, services: Services) -> int:
    if options.after_restore:
        return _after_restore(services)
    if options.dry_run:
        planned = gc.plan(services)
        if not planned.enabled:
            print("off after a restore: run catalog-server gc --after-restore")
        print(f"would remove {planned.segments} segments of {planned.bytes} bytes, and tidy {planned.packs} packs")
        print(
            f"{planned.waiting_segments} more segments of {planned.waiting_bytes} bytes wait for their URLs to expire"
        )
        return 0
    return _run_kind(next(kind for kind in KINDS if kind.name == "gc"), services)


def _after_restore(services: Services) -> int:
    number = 0
    for pack in restored.unknown_packs(services):
        number += 1
        print(f"{pack.storage} {pack.id}: {pack.objects} objects, {pack.bytes} bytes {pack.address}".rstrip())
    was_off = command_unit(services, restored.enable_gc)
    print(f"{number} packs that the database does not know; they are left alone")
    print("the garbage collection is on again" if was_off else "the garbage collection was on")
    return 0
