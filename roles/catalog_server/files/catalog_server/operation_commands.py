# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``catalog-server check``, ``backup`` and ``restore``: arguments, one call, what to do next."""

from __future__ import annotations

import argparse
import typing as t
from collections.abc import Callable
from pathlib import Path

from catalog_server.operations import archive, backup, check, restore, storages
from catalog_server.settings import Settings

FAILED = 1


def add_to(commands: t.Any) -> None:
    """Add the commands to those of catalog-server; ``run`` of the result is what to call."""
    _command(commands, "check", _check, "look at settings, keys, database, storage and clock, and change nothing")

    saving = _command(commands, "backup", _backup, "save the database, the keys and the list of objects; online")
    saving.add_argument("directory", type=Path, help="the directory to make")
    saving.add_argument(
        "--into", action="store_true", help="make a directory that is named by the time, below the named one"
    )
    saving.add_argument(
        "--keep", type=_number, metavar="N", help="with --into: remove all but the N newest backups of this catalog"
    )

    _command(commands, "restore", _restore, "restore a backup into an empty data directory").add_argument(
        "directory", type=Path, help="the backup"
    )


def _command(
    commands: t.Any, name: str, run: Callable[[argparse.Namespace, Settings], int], text: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    command.set_defaults(run=run)
    return command


def _number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _check(_options: argparse.Namespace, settings: Settings) -> int:
    found = list(check.findings(settings))
    width = max(len(finding.part) for finding in found)
    for finding in found:
        print(f"{finding.part:<{width}}  {finding.verdict:<6}  {finding.text}")
    failed = sum(finding.verdict == check.FAILED for finding in found)
    status = FAILED if failed else 0
    print(f"{failed} of {len(found)} parts failed; exit status {status}")
    return status


def _backup(options: argparse.Namespace, settings: Settings) -> int:
    made = backup.into(settings, options.directory) if options.into else backup.make(settings, options.directory)
    print(f"backup {made}")
    for one in archive.read(made).storages:
        print(f"storage {one.name}: {one.problem or f'{one.objects} objects are listed; their bytes are not in it'}")
    later = backup.remove_older(made, options.keep) if options.into and options.keep is not None else []
    if later:
        print(
            f"no older backup was removed: {', '.join(path.name for path in later)} in {made.parent} is of a later "
            "time than it is now. If the clock is right, move what was made by a wrong clock to another directory."
        )
        return FAILED
    return 0


def _restore(options: argparse.Namespace, settings: Settings) -> int:
    restored = restore.restore(settings, options.directory)
    manifest = restored.manifest
    print(f"catalog {manifest.catalog_uuid} restored as it was at {manifest.created_at}")
    print("all tokens and grants have ended; garbage collection is off")
    for one in restored.storages:
        print(f"storage {one.name}: {_state(one)}")
    print("next: catalog-server migrate, start the server, catalog-server gc --after-restore")
    return 0


def _state(found: storages.Found) -> str:
    if found.problem is not None:
        return f"{found.problem.rstrip('.')}: make it readable before the server starts"
    if found.missing:
        return f"{found.missing} objects of the backup are not in {found.where}: restore them, too"
    return "all objects of the backup are there"
