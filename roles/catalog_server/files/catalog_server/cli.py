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

from ansible_collections.macfleet.parallels.plugins.module_utils._base import files
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import (
    CatalogError,
)
from sqlalchemy import exc

from catalog_server import (
    VERSION,
    audit_commands,
    catalog_id_commands,
    clock_commands,
    job_commands,
    key_commands,
    operation_commands,
    role_commands,
    schema,
    started_with,
    user_commands,
)
from catalog_server.app import open_services
from catalog_server.database import database_file
from catalog_server.operations import restore
from catalog_server.operations.check import sentence
from catalog_server.permissions import require_private
from catalog_server.seed import SEED_LOCK, seed
from catalog_server.serve import serve
from catalog_server.settings import Settings, SettingsError
from catalog_server.settings_sources import configuring_files, load_settings
from catalog_server.shared_keys import SharedKeys
from catalog_server.storages import marks
from catalog_server.transfers import leftovers
from catalog_server.unit_of_work import Services, command_unit

FAILED = 1
WRONG_USE = 2
# Of status: the server does not run, or with something else.
RESTART = 3


@contextmanager
def _opened(settings: Settings) -> Iterator[Services]:
    files.make_directories(str(settings.data_dir.absolute()), 0o700)
    require_private(settings.data_dir)
    file = database_file(settings.database)
    if file is not None:
        files.make_directories(str(file.parent.absolute()), 0o700)
        require_private(file)
    services = open_services(settings)
    try:
        yield services
    finally:
        services.database.close()


def prepare(services: Services) -> None:
    """What a server does before it serves, as others may at the same time.

    :raises Unavailable: it does not share with them what they must share
    """
    schema.check(services.database)
    command_unit(services, seed, SEED_LOCK)
    SharedKeys(services.database, services.keys).check()
    services.storages.prepare(services.clock())


def _require_not_lost(services: Services) -> None:
    """Check that no new database takes the place of one that is lost.

    The mark is looked at first: whoever wrote it had filled the database before.

    :raises OtherCatalog: the storage of the settings is of a catalog, and there is no database
    """
    provider = services.storages.get(services.settings.storage_name)
    if marks.owner(provider) is not None and not schema.has_tables(services.database, services.settings.database):
        marks.require_none(provider)


def _serve(options: argparse.Namespace, settings: Settings) -> int:
    with _opened(settings) as services:
        prepare(services)
        leftovers.discard_unfinished(services)
    if options.state_file is None:
        return serve(settings, options.ready_file)
    with started_with.published(options.state_file, _configured_by(options, settings)):
        return serve(settings, options.ready_file)


def _status(options: argparse.Namespace, settings: Settings) -> int:
    differences = started_with.differences(options.state_file, _configured_by(options, settings))
    print(" ".join(differences) or "The server runs with this release and these settings.")
    return RESTART if differences else 0


def _configured_by(options: argparse.Namespace, settings: Settings) -> list[Path]:
    """The files that a process reads once, when it starts."""
    files = [*configuring_files(file=options.settings), settings.tls_certificate, settings.tls_key]
    return [path for path in (*files, *(options.configured_by or [])) if path is not None]


def _migrate(_options: argparse.Namespace, settings: Settings) -> int:
    with _opened(settings) as services:
        _require_not_lost(services)
        before, after = schema.migrate(services.database, settings.database)
        command_unit(services, seed, SEED_LOCK)
    restore.tidy(settings)
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
    whole.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="a file of settings, CATALOG_NAME=value a line; - is standard input",
    )
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")

    server = _command(commands, "serve", _serve, "run the server until SIGTERM")
    server.add_argument("--host", help="address to listen on")
    server.add_argument("--port", type=int, help="port to listen on; 0 takes a free one")
    server.add_argument(
        "--ready-file", type=Path, metavar="FILE", help="where to write the server's URL once it answers"
    )

    status = _command(
        commands,
        "status",
        _status,
        "tell whether the server runs with this release and these settings; else exit with 3",
    )
    for command in (server, status):
        command.add_argument(
            "--state-file",
            type=Path,
            metavar="FILE",
            required=command is status,
            help="where the running server says what it was started with",
        )
        command.add_argument(
            "--configured-by",
            type=Path,
            action="append",
            metavar="FILE",
            help="a file that configures it, too, such as its unit; may be repeated",
        )

    _command(commands, "migrate", _migrate, "bring the database to the schema of this release")
    groups = (
        operation_commands,
        user_commands,
        role_commands,
        catalog_id_commands,
        audit_commands,
        key_commands,
        job_commands,
        clock_commands,
    )
    for group in groups:
        group.add_to(commands)
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
    except exc.SQLAlchemyError as error:
        print(f"catalog-server: {sentence(error)}", file=sys.stderr)
        return FAILED
