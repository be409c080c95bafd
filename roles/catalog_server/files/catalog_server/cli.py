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

from catalog_server import VERSION, key_commands, schema, user_commands
from catalog_server.app import open_services
from catalog_server.database import database_file
from catalog_server.seed import seed
from catalog_server.serve import serve
from catalog_server.settings import Settings, SettingsError, load_settings
from catalog_server.unit_of_work import Services, command_unit

FAILED = 1
WRONG_USE = 2


@contextmanager
def _opened(settings: Settings) -> Iterator[Services]:
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = database_file(settings.database)
    if file is not None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    services = open_services(settings)
    try:
        yield services
    finally:
        services.database.close()


def _serve(options: argparse.Namespace, settings: Settings) -> int:
    with _opened(settings) as services:
        schema.check(services.database)
        command_unit(services, seed)
        services.storages.prepare(services.clock())
    return serve(settings, options.ready_file)


def _migrate(_options: argparse.Namespace, settings: Settings) -> int:
    with _opened(settings) as services:
        before, after = schema.migrate(services.database, settings.database)
        command_unit(services, seed)
    print(f"schema {after}" if before == after else f"schema {before or 'none'} -> {after}")
    return 0


def _with_services(options: argparse.Namespace, settings: Settings) -> int:
    with _opened(settings) as services:
        schema.check(services.database)
        status: int = options.run_with_services(options, services)
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
    key_commands.add_to(commands)
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
        return options.run(options, settings) if "run" in options else _with_services(options, settings)
    except SettingsError as error:
        print(f"catalog-server: {error}", file=sys.stderr)
        return WRONG_USE
    except (CatalogError, OSError) as error:
        print(f"catalog-server: {error}", file=sys.stderr)
        return FAILED
