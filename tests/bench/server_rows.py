# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fills the database of a catalog server with manifests, and says where they are; run by the server's interpreter.

Its settings come by the environment, as the server's do. Prints JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import secrets
import sys

from catalog_server import paging
from catalog_server.access import Audience
from catalog_server.app import open_services
from catalog_server.database import POSTGRESQL, SQLITE
from catalog_server.identity import service as users
from catalog_server.models.catalog import AudienceText
from catalog_server.settings_sources import load_settings
from catalog_server.transfers.packs import pack_of
from catalog_server.unit_of_work import Services, UnitOfWork, command_unit
from server_shape import ARCHITECTURE, Shape, identity, name_of, version_of
from sqlalchemy import Connection, insert, select, text

_ROWS_AT_ONCE = 10_000
_CACHE_KIB = 1 << 20


def put(connection: Connection, shape: Shape) -> None:
    """Put all rows of a shape, as fast as the database takes them."""
    if connection.dialect.name == SQLITE:
        connection.execute(text(f"PRAGMA cache_size=-{_CACHE_KIB}"))
    for table, rows in shape.tables():
        while part := list(itertools.islice(rows, _ROWS_AT_ONCE)):
            connection.execute(insert(table), part)


def put_audiences(connection: Connection, count: int) -> list[int]:
    """Make audiences; the numbers of that of everybody, and of those that each need a claim of their own."""
    wanted = [Audience.of([], [f"TEAM_{number}"] if number else []).text() for number in range(count)]
    known = set(connection.scalars(select(AudienceText.text)))
    missing = [{"text": one} for one in wanted if one not in known]
    if missing:
        connection.execute(insert(AudienceText), missing)
    numbers = {row.text: row.id for row in connection.execute(select(AudienceText.text, AudienceText.id))}
    return [numbers[one] for one in wanted]


def put_user(services: Services, name: str, password: str) -> str:
    """Add a user without special rights; returns a new API key of theirs."""
    hashed = services.passwords.hashed(password)

    def unit(work: UnitOfWork) -> str:
        users.add(work, name, None, name, hashed, ["USER"], [])
        return users.add_key(work, name, "bench", None).encoded

    return command_unit(services, unit)


def main() -> None:
    """Put the rows; print some that everybody may see, the id of the first, and cursors of three places."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--user", required=True, help="name of a new user; the password comes by standard input")
    parser.add_argument("--catalog-ids", type=int, required=True)
    parser.add_argument("--versions", type=int, required=True)
    parser.add_argument("--audiences", type=int, default=1)
    parser.add_argument("--sample", type=int, default=100)
    parser.add_argument("--index-bytes", type=int, default=0, help="size of the listing of the first manifest")
    arguments = parser.parse_args()
    services = open_services(load_settings())
    with services.database.engine.begin() as connection:
        audiences = put_audiences(connection, arguments.audiences)
        shape = Shape(arguments.catalog_ids, arguments.versions, audiences, services.settings.storage_name)
        put(connection, shape)
        if connection.dialect.name == POSTGRESQL:
            # As the server of the database does by itself, some time later
            connection.execute(text("ANALYZE"))
    if arguments.index_bytes:
        put_listing(services, shape, arguments.index_bytes)
    chosen = random.Random(1).choices(range(0, arguments.catalog_ids, arguments.audiences), k=arguments.sample)
    places = (0, arguments.catalog_ids // 2, arguments.catalog_ids - 1)
    last = version_of(arguments.versions - 1)
    print(
        json.dumps(
            {
                "api_key": put_user(services, arguments.user, sys.stdin.read()),
                "manifests": [
                    {"id": identity(one, number % arguments.versions), "catalog_id": name_of(one)}
                    for number, one in enumerate(chosen)
                ],
                "first": identity(0, 0),
                "cursors": [paging.cursor(services.keys, name_of(one), last, ARCHITECTURE) for one in places],
            }
        )
    )
    services.database.close()


def put_listing(services: Services, shape: Shape, length: int) -> None:
    """Give the first manifest a listing of that length in storage; what it says is nothing."""
    one = identity(0, 0)
    pack_of(services, shape.storage, one[:32]).put(f"{one}.listing", secrets.token_bytes(length))


if __name__ == "__main__":
    main()
