# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``catalog-server audit``: who changed what, the newest first."""

from __future__ import annotations

import argparse
import datetime
import json
import typing as t

from catalog_server.audit import service
from catalog_server.audit.schemas import AuditRecord
from catalog_server.unit_of_work import Services, command_unit

_DEFAULT = 100
_MOST = 10_000


def add_to(commands: t.Any) -> None:
    """Add the command to those of catalog-server; ``run_with_services`` of the result is what to call."""
    audit = commands.add_parser("audit", help="who changed what, the newest first")
    audit.add_argument("--actor", help="name of the user who did it")
    audit.add_argument("--subject", help="what it was done to: a kind, such as user, or KIND:ID, such as user:alice")
    audit.add_argument("--action", help="what was done, such as user.edit")
    audit.add_argument("--since", type=_timestamp, help="the earliest time, such as 2026-05-01T00:00:00Z")
    audit.add_argument("--limit", type=_limit, default=_DEFAULT, help=f"how many; by default {_DEFAULT}")
    audit.add_argument("--json", action="store_true", help="as JSON")
    audit.set_defaults(run_with_services=_show)


def _timestamp(text: str) -> datetime.datetime:
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time, such as 2026-05-01T00:00:00Z") from None
    return found if found.tzinfo is not None else found.astimezone()


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {_MOST}")
    return int(text)


def _show(options: argparse.Namespace, services: Services) -> int:
    wanted = {name: getattr(options, name) for name in ("actor", "subject", "action", "since", "limit")}
    found = command_unit(services, lambda work: [AuditRecord.of(one) for one in service.entries(work, **wanted)])
    if options.json:
        print(json.dumps([entry.model_dump(mode="json") for entry in found], indent=2))
        return 0
    for entry in found:
        at = entry.at.isoformat(timespec="seconds")
        print(f"{at}\t{entry.actor}\t{entry.action}\t{entry.subject_kind}:{entry.subject_id}")
    return 0
