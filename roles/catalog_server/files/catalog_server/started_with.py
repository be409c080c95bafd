# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a running server was started with, to be compared with what one would be started with now.

The server writes it into a file and holds a lock on that file as long as it lives, so what a dead one has left is never
taken for a running one. The file of the server's secrets is not compared: the server reads it again by itself.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from catalog_server.errors import Unavailable

_log = logging.getLogger("catalog_server.started_with")

_RELEASE = Path(__file__).resolve().parents[1]


class StartedWith(BaseModel):
    """The release, and the files that configure it, each with the SHA-256 of its content (None: not there)."""

    model_config = ConfigDict(frozen=True)

    pid: int
    release: str
    files: dict[str, str | None]


def now(files: Iterable[Path]) -> StartedWith:
    """Return what this very process is started with."""
    names = sorted({str(path.absolute()) for path in files})
    return StartedWith(pid=os.getpid(), release=str(_RELEASE), files={name: _sha256(Path(name)) for name in names})


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


@contextmanager
def published(path: Path, files: Iterable[Path]) -> Iterator[None]:
    """Say, as long as the block lasts, that this process runs and with what.

    :raises Unavailable: another one does
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"A server runs already, says {path}.") from None
        _write(descriptor, now(files))
        yield
    finally:
        os.close(descriptor)


def _write(descriptor: int, started: StartedWith) -> None:
    """Write what this process is started with. On a full volume it serves without: it is then taken for another one."""
    os.ftruncate(descriptor, 0)
    try:
        os.write(descriptor, started.model_dump_json().encode())
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _log.warning("no room to write what runs", extra={"reason": str(error)})


def differences(path: Path, files: Iterable[Path]) -> list[str]:
    """Return why a server must be started again, one sentence each: none if it runs as it should."""
    running = _running(path)
    if running is None:
        return ["The server does not run."]
    wanted = now([*files, *map(Path, running.files)])
    found = []
    if running.release != wanted.release:
        found.append(f"It runs the release {running.release}.")
    found += [f"{name} has changed." for name, digest in wanted.files.items() if running.files.get(name) != digest]
    return found


def _running(path: Path) -> StartedWith | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        try:
            return StartedWith.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except (ValidationError, ValueError):
            # Of another release, or being written.
            return StartedWith(pid=0, release="unknown", files={})
    finally:
        os.close(descriptor)
