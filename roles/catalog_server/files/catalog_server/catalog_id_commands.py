# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``catalog-server catalog-id …``: arguments, one call, one line."""

from __future__ import annotations

import argparse
import json
import typing as t
from collections.abc import Iterator

from catalog_server.access import COMMAND
from catalog_server.catalog import catalog_ids, queries
from catalog_server.catalog.catalog_id_schemas import CatalogIdRecord, SavedCatalogId
from catalog_server.catalog.service import catalog_id_lock
from catalog_server.database import Lock
from catalog_server.errors import BadRequest
from catalog_server.identity.service import USERS_LOCK
from catalog_server.unit_of_work import Services, command_unit
from catalog_server.user_commands import tell_created

_AT_ONCE = 500
_AUDIENCES = ("push_roles", "push_claims", "tag_roles", "tag_claims")


def add_to(commands: t.Any) -> None:
    """Add the command to those of catalog-server; ``run_with_services`` of the result is what to call."""
    whole = commands.add_parser(
        "catalog-id", help="catalog ids: who may push to them, and what holds for their versions"
    )
    actions = whole.add_subparsers(dest="action", required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="list the catalog ids")
    listing.set_defaults(run_with_services=_list)

    put = actions.add_parser("set", help="make a catalog id, or set something of it")
    put.add_argument("catalog_id")
    for name in _AUDIENCES:
        verb, kind = name.split("_")
        text = f"one of the {kind} of those who may {verb}; may be repeated"
        put.add_argument(f"--{verb}-{kind[:-1]}", action="append", dest=name, metavar=kind[:-1].upper(), help=text)
    put.add_argument("--anybody-pushes", action="store_true", help="no roles and claims for pushes of its own")
    put.add_argument("--anybody-tags", action="store_true", help="no roles and claims for tags of its own")
    put.add_argument("--native-only", action=argparse.BooleanOptionalAction, help="stock clients may not push to it")
    put.add_argument(
        "--immutable-tags", action=argparse.BooleanOptionalAction, help="a tag stays where it was set first"
    )
    put.add_argument("--keep-versions", type=int, metavar="NUMBER", help="what a clean-up keeps, by number")
    put.add_argument("--keep-days", type=int, metavar="DAYS", help="what a clean-up keeps, by age")
    put.add_argument(
        "--expire-tag",
        action="append",
        metavar="PATTERN",
        help="a tag, such as nightly-*, that does not hold a version; may be repeated",
    )
    put.add_argument("--keep-all", action="store_true", help="no clean-up")
    put.add_argument("--quota-bytes", type=int, metavar="BYTES", help="most bytes in storage; -1: no limit")
    put.set_defaults(run_with_services=_set)

    delete = actions.add_parser("delete", help="delete a catalog id that has no versions")
    delete.add_argument("catalog_id")
    delete.set_defaults(run_with_services=_delete)

    for action in (listing, put, delete):
        action.add_argument("--json", action="store_true", help="as JSON")


def _list(options: argparse.Namespace, services: Services) -> int:
    found = list(_all(services))
    if options.json:
        print(json.dumps([row.model_dump(mode="json") for row in found], indent=2))
        return 0
    for row in found:
        print(f"{row.name}\t{','.join(row.push_roles + row.push_claims) or '-'}\t{row.quota_bytes or '-'}")
    return 0


def _all(services: Services) -> Iterator[CatalogIdRecord]:
    after: str | None = None
    while True:
        with services.database.reading() as session:
            page = queries.page_of_catalog_ids(session, COMMAND, after, _AT_ONCE)
        yield from (CatalogIdRecord.of(row) for row in page)
        if len(page) < _AT_ONCE:
            return
        after = page[-1].name


def _changes(options: argparse.Namespace) -> dict[str, t.Any]:
    names = (*_AUDIENCES, "native_only", "immutable_tags", "quota_bytes")
    changes = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    for verb, nobody in (("push", options.anybody_pushes), ("tag", options.anybody_tags)):
        if nobody:
            changes.update({f"{verb}_roles": [], f"{verb}_claims": []})
    if changes.get("quota_bytes", 0) < -1:
        raise BadRequest("The quota is a number of bytes, or -1.")
    if changes.get("quota_bytes") == -1:
        changes["quota_bytes"] = None
    return {**changes, **_retention(options)}


def _retention(options: argparse.Namespace) -> dict[str, t.Any]:
    kept = {"keep_versions": options.keep_versions, "keep_days": options.keep_days}
    if options.keep_all:
        return {"retention": None}
    if all(value is None for value in kept.values()):
        if options.expire_tag:
            raise BadRequest("--expire-tag needs --keep-versions or --keep-days.")
        return {}
    if any(value is not None and value < 1 for value in kept.values()):
        raise BadRequest("What is kept is a number from 1.")
    return {"retention": {**kept, "expire_tags": options.expire_tag or []}}


def _set(options: argparse.Namespace, services: Services) -> int:
    changes = _changes(options)
    saved = command_unit(
        services, lambda work: catalog_ids.put(work, options.catalog_id, changes), *_locks(options.catalog_id)
    )
    if options.json:
        print(SavedCatalogId.saved(saved).model_dump_json(indent=2))
        return 0
    print("changed" if saved.changed else "unchanged")
    tell_created(saved.created)
    return 0


def _delete(options: argparse.Namespace, services: Services) -> int:
    command_unit(services, lambda work: catalog_ids.delete(work, options.catalog_id), *_locks(options.catalog_id))
    print(json.dumps({"changed": True}) if options.json else f"catalog id {options.catalog_id} deleted")
    return 0


def _locks(catalog_id: str) -> tuple[Lock, ...]:
    return (catalog_id_lock(catalog_ids.normalised(catalog_id)), USERS_LOCK)
