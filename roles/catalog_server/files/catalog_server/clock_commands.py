# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``catalog-server clock accept``: arguments, one call, one line."""

from __future__ import annotations

import argparse
import typing as t

from catalog_server import clock
from catalog_server.unit_of_work import Services, command_unit


def add_to(commands: t.Any) -> None:
    """Add the command to those of catalog-server; ``run_with_services`` of the result is what to call."""
    group = commands.add_parser("clock", help="the clock, by which old things are deleted")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    text = "say that the clock is right, after it has jumped or the server was off for more than a week"
    actions.add_parser("accept", help=text, description=text).set_defaults(run_with_services=_accept)


def _accept(_options: argparse.Namespace, services: Services) -> int:
    now = services.clock()
    command_unit(services, clock.accept)
    print(f"{now:%Y-%m-%d %H:%M} UTC is right; what is too old by that is deleted again")
    return 0
