# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``catalog-server key …``: the secrets that tokens, grants and URLs are signed with.

Running servers read the file again when it has changed, so none of these needs a restart.
"""

from __future__ import annotations

import argparse
import json
import typing as t
from collections.abc import Callable
from pathlib import Path

from catalog_server import keys, shared_keys
from catalog_server.errors import BadRequest
from catalog_server.unit_of_work import Services, UnitOfWork, command_unit

Run = Callable[[argparse.Namespace, Services], int]


def add_to(commands: t.Any) -> None:
    """Add the command to those of catalog-server; ``run_with_services`` of the result is what to call."""
    key = commands.add_parser("key", help="the keys that tokens, grants and URLs are signed with")
    actions = key.add_subparsers(dest="action", required=True, metavar="ACTION")

    _action(actions, "rotate", _rotate, "make a new key, which signs from now on; the others stay good")
    listing = _action(actions, "list", _list, "list the keys, the newest first, without their secrets")
    listing.add_argument("--json", action="store_true", help="as JSON")
    drop = _action(actions, "drop", _drop, "remove a key; what it has signed is refused from now on")
    drop.add_argument("key")
    _action(
        actions,
        "adopt",
        _adopt,
        "let the key of this server sign for the catalog although the one before is lost; all that the lost one has "
        "signed is refused",
    )


def _action(actions: t.Any, name: str, run: Run, text: str) -> argparse.ArgumentParser:
    action: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text)
    action.set_defaults(run_with_services=run)
    return action


def _file(services: Services) -> Path:
    path = services.keys.path
    if path is None:
        raise BadRequest(
            "The secret is given by CATALOG_SERVER_SECRET, which cannot be changed from here. "
            "Put it into a file, and name that by CATALOG_SERVER_SECRET_FILE."
        )
    return path


def _rotate(_options: argparse.Namespace, services: Services) -> int:
    path = _file(services)
    before = services.keys.signing.kid
    new = keys.rotate(path, services.clock())
    command_unit(services, lambda work: _note(work, "key.rotate", new.kid))
    hours = services.settings.grant_limit_seconds / 3600
    print(f"key {new.kid} signs from now on")
    print(f"key {before} stays good; after {hours:.0f} hours nothing needs it: catalog-server key drop {before}")
    return 0


def _note(work: UnitOfWork, action: str, kid: str) -> None:
    shared_keys.note(work.session, kid)
    work.record(action, "key", kid)


def _adopt(_options: argparse.Namespace, services: Services) -> int:
    kid = services.keys.signing.kid
    command_unit(services, lambda work: _note(work, "key.adopt", kid))
    print(f"key {kid} signs for this catalog; start the servers that have it again")
    return 0


def _list(options: argparse.Namespace, services: Services) -> int:
    path = services.keys.path
    signing = services.keys.signing.kid
    known = keys.read_secrets(path) if path is not None else []
    rows: list[dict[str, t.Any]] = [
        {"key": secret.kid, "signs": secret.kid == signing, "made_at": secret.made_at or None} for secret in known
    ]
    if path is None:
        rows = [{"key": signing, "signs": True, "made_at": None}]
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    for row in rows:
        print(f"{row['key']}\t{'signs' if row['signs'] else 'is good'}\t{row['made_at'] or ''}")
    return 0


def _drop(options: argparse.Namespace, services: Services) -> int:
    keys.drop(_file(services), options.key)
    command_unit(services, lambda work: work.record("key.drop", "key", options.key))
    print(f"key {options.key} dropped")
    return 0
