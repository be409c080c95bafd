# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``catalog-server role …``: arguments, one call, one line."""

from __future__ import annotations

import argparse
import json
import typing as t

from catalog_server.identity import queries, roles, service
from catalog_server.identity.role_schemas import RoleRecord, SavedRoleRecord
from catalog_server.unit_of_work import Services, command_unit
from catalog_server.user_commands import tell_created


def add_to(commands: t.Any) -> None:
    """Add the command to those of catalog-server; ``run_with_services`` of the result is what to call."""
    role = commands.add_parser("role", help="roles and their claims")
    actions = role.add_subparsers(dest="action", required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="list the roles")
    listing.set_defaults(run_with_services=_list)

    put = actions.add_parser("set", help="make a role, or set its description and claims")
    put.add_argument("role")
    put.add_argument("--description")
    put.add_argument("--claim", action="append", dest="claims", metavar="CLAIM", help="a claim; may be repeated")
    put.add_argument("--no-claims", action="store_true", help="take all claims away")
    put.set_defaults(run_with_services=_set)

    delete = actions.add_parser("delete", help="delete a role, and take it from everybody")
    delete.add_argument("role")
    delete.set_defaults(run_with_services=_delete)

    for action in (listing, put, delete):
        action.add_argument("--json", action="store_true", help="as JSON")


def _list(options: argparse.Namespace, services: Services) -> int:
    with services.database.reading() as session:
        found = [RoleRecord.of(role) for role in queries.all_roles(session)]
    if options.json:
        print(json.dumps([role.model_dump(mode="json") for role in found], indent=2))
        return 0
    for role in found:
        print(f"{role.name}\t{','.join(role.claims)}\t{role.description}")
    return 0


def _set(options: argparse.Namespace, services: Services) -> int:
    claims = [] if options.no_claims else options.claims
    saved = command_unit(
        services,
        lambda work: roles.put(work, options.role, description=options.description, claims=claims),
        service.USERS_LOCK,
    )
    if options.json:
        print(SavedRoleRecord.saved(saved).model_dump_json(indent=2))
        return 0
    print("changed" if saved.changed else "unchanged")
    tell_created(saved.created)
    return 0


def _delete(options: argparse.Namespace, services: Services) -> int:
    command_unit(services, lambda work: roles.delete(work, options.role), service.USERS_LOCK)
    print(json.dumps({"changed": True}) if options.json else f"role {options.role} deleted")
    return 0
