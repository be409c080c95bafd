# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``catalog-server user …``: arguments, one call, one line.

Passwords are read from standard input or from a variable of the environment, never from the arguments, which every
process of the machine can see.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import typing as t
from collections.abc import Callable

from catalog_server.access import SUPER_USER
from catalog_server.errors import BadRequest
from catalog_server.identity import queries, service
from catalog_server.identity.passwords import check_new
from catalog_server.identity.roles import Created
from catalog_server.models.identity import ApiKey, User
from catalog_server.unit_of_work import Services, UnitOfWork, command_unit

_MOST_DAYS = 36500

Run = Callable[[argparse.Namespace, Services], int]


def add_to(commands: t.Any) -> None:
    """Add the command to those of catalog-server; ``run_with_services`` of the result is what to call."""
    user = commands.add_parser("user", help="users, their rights and their API keys")
    actions = user.add_subparsers(dest="action", required=True, metavar="ACTION")

    add = _action(actions, "add", _add, "add a user")
    add.add_argument("username")
    add.add_argument("--email", help="mail address; by default NAME@localhost")
    add.add_argument("--name", default="", help="how the user is called")
    add.add_argument("--if-missing", action="store_true", help="do nothing if there is such a user")
    _rights(add)
    _password(add, required=False)

    listing = _action(actions, "list", _list, "list the users")
    listing.add_argument("--json", action="store_true", help="as JSON")

    password = _action(actions, "set-password", _set_password, "give a user another password")
    password.add_argument("username")
    _password(password, required=True)

    fields = _action(actions, "set", _set, "set mail address, name, roles and claims of a user")
    fields.add_argument("username")
    fields.add_argument("--email")
    fields.add_argument("--name")
    _rights(fields)
    fields.add_argument("--no-roles", action="store_true", help="take all roles away")
    fields.add_argument("--no-claims", action="store_true", help="take all own claims away")

    disable = _action(actions, "disable", _disable, "let nobody act as a user, by whatever credential")
    disable.add_argument("username")

    enable = _action(actions, "enable", _enable, "take back that a user is disabled")
    enable.add_argument("username")

    log_out = _action(actions, "log-out", _log_out, "end every login and every grant of a user; API keys stay")
    log_out.add_argument("username")

    delete = _action(actions, "delete", _delete, "delete a user and its API keys")
    delete.add_argument("username")

    key = _action(actions, "key", _key, "make an API key that acts as the user, and print it this once")
    key.add_argument("username")
    key.add_argument("--name", default="key", help="what the key is for")
    expiry = key.add_mutually_exclusive_group(required=True)
    expiry.add_argument("--expires-days", type=_days, metavar="DAYS", help="how long the key is good")
    expiry.add_argument("--never-expires", action="store_true", help="the key is good until it is revoked")

    keys = _action(actions, "keys", _keys, "list the API keys of a user, without their secrets")
    keys.add_argument("username")
    keys.add_argument("--json", action="store_true", help="as JSON")

    revoke = _action(actions, "revoke-key", _revoke_key, "let nobody use an API key any more")
    revoke.add_argument("key")


def _action(actions: t.Any, name: str, run: Run, text: str) -> argparse.ArgumentParser:
    action: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text)
    action.set_defaults(run_with_services=run)
    return action


def _rights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--role", action="append", dest="roles", metavar="ROLE", help="a role; may be repeated")
    parser.add_argument("--claim", action="append", dest="claims", metavar="CLAIM", help="a claim; may be repeated")
    parser.add_argument("--super-user", action="store_true", help=f"short for --role {SUPER_USER}")


def _password(parser: argparse.ArgumentParser, required: bool) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    source.add_argument("--password-env", metavar="VARIABLE", help="read the password from this variable")
    if not required:
        source.add_argument("--no-password", action="store_true", help="the user acts by API keys only")


def _days(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= _MOST_DAYS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days from 0 to {_MOST_DAYS}")
    return number


def _read_password(options: argparse.Namespace) -> str | None:
    if options.password_stdin:
        return check_new(sys.stdin.read().removesuffix("\n").removesuffix("\r"))
    if options.password_env:
        if options.password_env not in os.environ:
            raise BadRequest(f"There is no variable {options.password_env} in the environment.")
        return check_new(os.environ[options.password_env])
    return None


def _wanted_roles(options: argparse.Namespace) -> list[str] | None:
    roles = (options.roles or []) + ([SUPER_USER] if options.super_user else [])
    return roles or None


def _add(options: argparse.Namespace, services: Services) -> int:
    password = _read_password(options)
    with services.database.reading() as session:
        there = queries.user_called(session, options.username)
    if there is not None and options.if_missing:
        print(f"user {there.username} exists")
        return 0
    hashed = services.passwords.hashed(password) if password is not None else None
    saved = command_unit(
        services,
        lambda work: service.add(
            work,
            options.username,
            options.email,
            options.name,
            hashed,
            _wanted_roles(options) or [],
            options.claims or [],
        ),
        service.USERS_LOCK,
    )
    print(f"user {saved.user.username} added")
    tell_created(saved.created)
    return 0


def _list(options: argparse.Namespace, services: Services) -> int:
    with services.database.reading() as session:
        users = [_user(user) for user in queries.users(session)]
    if options.json:
        print(json.dumps(users, indent=2))
        return 0
    for user in users:
        print(f"{user['username']}\t{user['email']}\t{','.join(user['roles'])}\t{','.join(user['claims'])}")
    return 0


def _user(user: User) -> dict[str, t.Any]:
    return {
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "name": user.name,
        "roles": [role.name for role in user.roles],
        "claims": [claim.name for claim in user.claims],
        "password": user.password_hash is not None,
        "password_limited": user.password_ceiling is not None,
        "disabled": user.disabled_at is not None,
        "created_at": user.created_at.isoformat(),
    }


def _set_password(options: argparse.Namespace, services: Services) -> int:
    password = _read_password(options)
    hashed = services.passwords.hashed(password or "")
    user = command_unit(services, lambda work: service.set_password(work, options.username, hashed), service.USERS_LOCK)
    print(f"password of {user.username} set")
    return 0


def _set(options: argparse.Namespace, services: Services) -> int:
    return _saved(
        services,
        lambda work: service.set_fields(
            work,
            options.username,
            email=options.email,
            shown_name=options.name,
            roles=[] if options.no_roles else _wanted_roles(options),
            claims=[] if options.no_claims else options.claims,
        ),
    )


def _saved(services: Services, unit: Callable[[UnitOfWork], service.Saved]) -> int:
    saved = command_unit(services, unit, service.USERS_LOCK)
    print("changed" if saved.changed else "unchanged")
    tell_created(saved.created)
    return 0


def tell_created(created: Created) -> None:
    """Print the names that nobody had used before: one of them may be a mistake."""
    for kind, names in (("role", created.roles), ("claim", created.claims)):
        for name in names:
            print(f"new {kind} {name}")


def _disable(options: argparse.Namespace, services: Services) -> int:
    return _saved(services, lambda work: service.set_fields(work, options.username, disabled=True))


def _enable(options: argparse.Namespace, services: Services) -> int:
    return _saved(services, lambda work: service.set_fields(work, options.username, disabled=False))


def _log_out(options: argparse.Namespace, services: Services) -> int:
    user = command_unit(services, lambda work: service.log_out(work, options.username), service.USERS_LOCK)
    print(f"user {user.username} logged out everywhere")
    return 0


def _delete(options: argparse.Namespace, services: Services) -> int:
    command_unit(services, lambda work: service.delete(work, options.username), service.USERS_LOCK)
    print(f"user {options.username} deleted")
    return 0


def _key(options: argparse.Namespace, services: Services) -> int:
    days = options.expires_days
    new = command_unit(
        services,
        lambda work: service.add_key(
            work, options.username, options.name, work.in_seconds(days * 86400) if days else None
        ),
    )
    print(new.encoded)
    return 0


def _keys(options: argparse.Namespace, services: Services) -> int:
    keys = command_unit(services, lambda work: [_shown(key) for key in service.keys(work, options.username)])
    if options.json:
        print(json.dumps(keys, indent=2))
        return 0
    for key in keys:
        used = f"used {key['last_used_at']}" if key["last_used_at"] else "never used"
        revoked = f"revoked {key['revoked_at']}" if key["revoked_at"] else ""
        print(f"{key['key']}\t{key['name']}\t{key['expires_at'] or 'never expires'}\t{used}\t{revoked}")
    return 0


def _shown(key: ApiKey) -> dict[str, str | None]:
    return {
        "key": key.key,
        "name": key.name,
        "created_at": key.created_at.isoformat(),
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
        "last_used_at": key.last_used_at.isoformat() if key.last_used_at else None,
        "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
    }


def _revoke_key(options: argparse.Namespace, services: Services) -> int:
    revoked = command_unit(services, lambda work: service.revoke_key(work, options.key))
    print("revoked" if revoked else "revoked before")
    return 0
