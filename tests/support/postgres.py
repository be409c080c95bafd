# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A PostgreSQL server of the tests' own: its directory, its socket, its user. Nothing of the machine's is used."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

_PROGRAMS = "/usr/lib/postgresql"
_READY_SECONDS = 60.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.05
# Enough for two replicas and what the tests open beside them.
_CONNECTIONS = 200


class NoPostgres(Exception):
    """There is none on this machine, and why."""


class PostgresFailed(Exception):
    """There is one, and one of its programs failed."""


class Postgres:
    """A server that listens on a socket in its directory."""

    def __init__(self, directory: Path, programs: Path, user: str | None) -> None:
        self.directory = directory
        self._programs = programs
        self._user = user

    def url(self, name: str) -> str:
        """The SQLAlchemy URL of one of its databases."""
        return f"postgresql+psycopg://tests@/{name}?host={quote(str(self.directory), safe='')}"

    def create(self, template: str = "template1") -> str:
        """Make a database; return its name."""
        name = f"catalog_{secrets.token_hex(6)}"
        self.run("createdb", *self._target, "--template", template, name)
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected."""
        self.run("dropdb", *self._target, "--force", name)

    @property
    def _target(self) -> tuple[str, ...]:
        return ("--host", str(self.directory), "--username", "tests")

    def run(self, program: str, *words: str) -> None:
        """Run one of its programs as its user."""
        done = subprocess.run(self.argv(program, *words), capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            raise PostgresFailed(f"{program} failed: {done.stderr.strip()}")

    def argv(self, program: str, *words: str) -> list[str]:
        """The command line of one of its programs: the server refuses to run as root."""
        argv = [str(self._programs / program), *words]
        if self._user is None:
            return argv
        return ["setpriv", f"--reuid={self._user}", f"--regid={_group(self._user)}", "--clear-groups", *argv]


@contextmanager
def running() -> Iterator[Postgres]:
    """Start a server in a directory of its own below that for temporary files; both end with the block.

    pytest's directories will not do: they are private, and the server is another user than root.

    :raises NoPostgres: there is no PostgreSQL on this machine
    :raises PostgresFailed: there is, and it does not start
    """
    with tempfile.TemporaryDirectory(prefix="catalog-postgres-") as place, _started(Path(place)) as server:
        yield server


@contextmanager
def _started(directory: Path) -> Iterator[Postgres]:
    user, programs = _user(), _find_programs()
    if user is not None:
        shutil.chown(directory, user)
    server = Postgres(directory, programs, user)
    data = str(directory / "data")
    server.run("initdb", "--pgdata", data, "--username", "tests", "--auth", "trust", "--encoding", "UTF8", "--no-sync")
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(directory),
        "max_connections": str(_CONNECTIONS),
        "log_min_messages": "warning",
    }
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen(server.argv("postgres", "-D", data, *words), stdout=log, stderr=log)
    try:
        _wait_until_ready(server, process)
        yield server
    finally:
        # "Fast": whoever is connected is cut off.
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _group(user: str) -> int:
    return pwd.getpwnam(user).pw_gid


def _wait_until_ready(server: Postgres, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            server.run(
                "psql", "--host", str(server.directory), "--username", "tests", "--command", "SELECT 1", "postgres"
            )
            return
        except PostgresFailed as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise PostgresFailed(f"PostgreSQL did not get ready: {error}") from error
        time.sleep(_POLL_SECONDS)


def _find_programs() -> Path:
    def number(path: Path) -> int:
        return int(path.parent.name) if path.parent.name.isdigit() else 0

    found = sorted(Path(_PROGRAMS).glob("*/bin"), key=number)
    installed = shutil.which("postgres")
    if found:
        return found[-1]
    if installed is not None:
        return Path(os.path.realpath(installed)).parent
    raise NoPostgres("PostgreSQL is not installed: the package is called postgresql.")


def _user() -> str | None:
    """Whom the server runs as: not root, who may not. None for whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise NoPostgres("There is no user that PostgreSQL could run as.")
