# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This plugin util is private to the collection.

"""One login for all hosts and tasks of a run of Ansible, and one attempt if it is refused.

Ansible forks a process for each host of a task, so what one of them has learned is kept in a file: in the directory
for temporary files of this run (``DEFAULT_LOCAL_TMP``), which only its user can read, where Ansible puts the arguments
of modules as well, and which it removes at its end. The token in it lives for minutes. Nothing of this is ever on a
managed host.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import (
    ApiError,
    Throttled,
    Unauthenticated,
    Unreachable,
)

# A token is not used in the last part of its life, which the task may need.
_USED_SHARE = 0.7
# A server that is out of reach for one host is not tried by each of the others again, for so long.
_UNREACHABLE_SECONDS = 30.0
# A server that asks for patience gets it, up to so much.
_THROTTLED_SECONDS = 60.0
# A wrong password stays wrong, and each further attempt may lock the user out.
_REFUSED_SECONDS = 24 * 3600.0
# About 50 ms of a processor, once for each task and host.
_ITERATIONS = 100_000
_REFUSALS: dict[str, type[ApiError]] = {kind.__name__: kind for kind in (Unauthenticated, Throttled, Unreachable)}


class Login(t.Protocol):
    """What a login gives."""

    @property
    def token(self) -> str: ...

    @property
    def expires_at(self) -> float: ...


def login_once(
    directory: str,
    credentials: t.Sequence[str],
    login: t.Callable[[], Login],
    clock: t.Callable[[], float] = time.time,
) -> str:
    """Return a token for these credentials: that of an earlier login in this run, or of a new one.

    ``directory`` belongs to this run. ``credentials`` are the address of the server, the user and the password.

    :raises ApiError: as the login does; also when an earlier one was refused
    """
    try:
        memory = _open(os.path.join(directory, _name(directory, credentials)))
    except OSError:
        # Without such a directory each process has to log in for itself.
        return login().token
    with memory:
        # The others wait for the one that logs in.
        fcntl.flock(memory, fcntl.LOCK_EX)
        known = _read(memory)
        if known.get("until", 0) > clock():
            return _recall(known)
        try:
            done = login()
        except (Unauthenticated, Throttled, Unreachable) as error:
            _write(memory, _refusal(error, clock() + _remembered_seconds(error)))
            raise
        now = clock()
        _write(memory, {"token": done.token, "until": now + (done.expires_at - now) * _USED_SHARE})
        return done.token


def _name(directory: str, credentials: t.Sequence[str]) -> str:
    """Return a name that cannot be turned back into a password within the life of the directory."""
    text = json.dumps(list(credentials)).encode("utf-8")
    # Not scrypt: it is missing where OpenSSL is restricted to what FIPS 140 approves.
    digest = hashlib.pbkdf2_hmac("sha256", text, os.path.abspath(directory).encode("utf-8"), _ITERATIONS, dklen=20)
    return f"macfleet-login-{digest.hex()}"


def _open(path: str) -> t.TextIO:
    return open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+", encoding="utf-8")


def _read(memory: t.TextIO) -> dict[str, t.Any]:
    with contextlib.suppress(ValueError):
        known = json.loads(memory.read())
        if isinstance(known, dict):
            return known
    return {}


def _write(memory: t.TextIO, known: dict[str, t.Any]) -> None:
    memory.seek(0)
    memory.truncate()
    memory.write(json.dumps(known))
    memory.flush()


def _remembered_seconds(error: ApiError) -> float:
    """Return how long an attempt is not repeated in this run."""
    if isinstance(error, Unauthenticated):
        return _REFUSED_SECONDS
    asked = str(error.details.get("retry_after", ""))
    if isinstance(error, Throttled) and asked.isascii() and asked.isdigit():
        return min(float(asked[:9]), _THROTTLED_SECONDS)
    return _UNREACHABLE_SECONDS


def _refusal(error: ApiError, until: float) -> dict[str, t.Any]:
    kind = next(name for name, kind in _REFUSALS.items() if isinstance(error, kind))
    return {
        "until": until,
        "kind": kind,
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "details": error.details,
    }


def _recall(known: dict[str, t.Any]) -> str:
    if "token" in known:
        return str(known["token"])
    kind = _REFUSALS[known["kind"]]
    raise kind(known["message"], known["hint"], known["details"], code=known["code"])
