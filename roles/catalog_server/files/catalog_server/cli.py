# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The catalog-server command: arguments, one call, exit status."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import (
    CatalogError,
)

from catalog_server import VERSION, schema, user_commands
from catalog_server.app import open_house
from catalog_server.database import database_file
from catalog_server.seed import seed
from catalog_server.serve import serve
from catalog_server.settings import Settings, SettingsError, load_settings
from catalog_server.work import House, command_work

FAILED = 1
WRONG_USE = 2


@contextmanager
def _opened(settings: Settings) -> Iterator[House]:
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    database_file(settings.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    house = open_house(settings)
    try:
        yield house
    finally:
        house.database.close()


def _serve(options: argparse.Namespace, settings: Settings) -> int:
    with _opened(settings) as house:
        schema.check(house.database)
        with command_work(house) as work:
            seed(work)
    return serve(settings, options.ready_file)


def _migrate(_options: argparse.Namespace, settings: Settings) -> int:
    with _opened(settings) as house:
        before, after = schema.migrate(house.database, settings.database)
        with command_work(house) as work:
            seed(work)
    print(f"schema {after}" if before == after else f"schema {before or 'none'} -> {after}")
    return 0


def _in_house(options: argparse.Namespace, settings: Settings) -> int:
    with _opened(settings) as house:
        schema.check(house.database)
        status: int = options.run_in_house(options, house)
        return status


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    whole = argparse.ArgumentParser(prog="catalog-server", description="The metadata server of a catalog of VMs.")
    whole.add_argument("--version", action="version", version=VERSION)
    whole.add_argument("--settings", type=Path, metavar="FILE", help="a file of settings, CATALOG_NAME=value a line")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")

    server = _command(commands, "serve", _serve, "run the server until SIGTERM")
    server.add_argument("--host", help="address to listen on")
    server.add_argument("--port", type=int, help="port to listen on; 0 takes a free one")
    server.add_argument(
        "--ready-file", type=Path, metavar="FILE", help="where to write the server's URL once it answers"
    )

    _command(commands, "migrate", _migrate, "bring the database to the schema of this release")
    user_commands.add_to(commands)
    return whole


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace, Settings], int],
    text: str,
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(run=run)
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    options = parser().parse_args(arguments)
    # Whatever the server writes is for its user alone.
    os.umask(0o077)
    overrides = {name: getattr(options, name, None) for name in ("host", "port")}
    try:
        settings = load_settings(file=options.settings, **overrides)
        return options.run(options, settings) if "run" in options else _in_house(options, settings)
    except SettingsError as error:
        print(f"catalog-server: {error}", file=sys.stderr)
        return WRONG_USE
    except (CatalogError, OSError) as error:
        print(f"catalog-server: {error}", file=sys.stderr)
        return FAILED
