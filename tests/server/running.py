# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The real server as a process, on a data directory of its own."""

from __future__ import annotations

import functools
import json
import os
import shutil
import ssl
import subprocess
import sys
import time
import typing as t
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
from ansible_collections.macfleet.parallels.tests.support.postgres import Postgres
from catalog_server import access, cli, schema
from catalog_server.app import open_services
from catalog_server.identity import service as users
from catalog_server.keys import KeyRing, load_keys
from catalog_server.seed import seed
from catalog_server.settings import Settings
from catalog_server.unit_of_work import Services, UnitOfWork
from described import check_described
from forked import Call, Forked
from forked import run as run_forked

# How often each race runs.
RACES = int(os.environ.get("MACFLEET_TEST_RACES", "2"))
START_SECONDS = 120
STOP_SECONDS = 60
COMMAND_SECONDS = 300
PASSWORD = "correct horse battery staple"
# For servers that many tests share, or one test many times: all their wrong passwords come from one address.
MANY_LOGINS = {"CATALOG_LOGIN_BURST": "100000"}

# Who the tests are, by roles and claims
PEOPLE: dict[str, tuple[list[str], list[str]]] = {
    "admin": (["SUPER_USER"], []),
    "reader": (["USER"], []),
    "pusher": (["USER"], ["PUSH_CATALOG_MANIFEST"]),
    "editor": (["USER", "STAFF"], ["UPDATE_CATALOG_MANIFEST", "DELETE_CATALOG_MANIFEST"]),
    "staff": (["USER", "STAFF"], ["SECRET_IMAGES", "PUSH_CATALOG_MANIFEST"]),
    "nobody": ([], ["READ_ONLY"]),
}


@contextmanager
def command_work(services: Services) -> Iterator[UnitOfWork]:
    """What the administrator does at the command line, as a block."""
    with services.database.writing() as session:
        yield UnitOfWork(services, session, services.clock(), access.COMMAND)


def environment(data_dir: Path, settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Without settings of the machine, proxies, or anything else that is not this test's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CATALOG_", "MACFLEET_"))}
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        kept.pop(name, None)
    return {
        **kept,
        "CATALOG_DATA_DIR": str(data_dir),
        "CATALOG_LOG_LEVEL": "debug",
        **(settings or {}),
    }


def command(
    data_dir: Path, *words: str, stdin: str = "", settings: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run catalog-server with these arguments, in a process of its own."""
    return run_forked(Call(cli.main, (words,), environment(data_dir, settings)), COMMAND_SECONDS, stdin)


def program(data_dir: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The same as its users run it."""
    return subprocess.run(
        [sys.executable, "-m", "catalog_server", *words],
        env=environment(data_dir),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )


def prepare(data_dir: Path, database_url: str | None = None) -> None:
    """A database with the people of the tests."""
    data_dir.mkdir(mode=0o700)
    settings = Settings(data_dir=data_dir, database_url=database_url)
    services = open_services(settings)
    schema.migrate(services.database, settings.database)
    hashed = services.passwords.hashed(PASSWORD)
    with command_work(services) as work:
        seed(work)
        for name, (roles, claims) in PEOPLE.items():
            users.add(work, name, None, name.capitalize(), hashed, roles, claims)
    services.database.close()
    if database_url is None:
        # The command makes it with such a mode, and tests have another umask.
        (data_dir / "catalog.db").chmod(0o600)


@dataclass(frozen=True)
class Template:
    """A data directory, and with PostgreSQL a database, that servers of tests get copies of."""

    data_dir: Path
    postgres: Postgres | None = None
    database: str = ""

    @classmethod
    def make(cls, data_dir: Path, postgres: Postgres | None) -> Template:
        """With the people of the tests in it."""
        if postgres is None:
            prepare(data_dir)
            return cls(data_dir)
        name = postgres.create()
        prepare(data_dir, postgres.url(name))
        return cls(data_dir, postgres, name)

    @contextmanager
    def copied(self, data_dir: Path, settings: Mapping[str, str] | None) -> Iterator[dict[str, str]]:
        """Copy it; yields the settings of a server on the copy."""
        shutil.copytree(self.data_dir, data_dir, dirs_exist_ok=True)
        if self.postgres is None:
            yield dict(settings or {})
            return
        name = self.postgres.create(self.database)
        try:
            yield {"CATALOG_DATABASE_URL": self.postgres.url(name), **(settings or {})}
        finally:
            self.postgres.drop(name)


@dataclass(frozen=True)
class Program:
    """What Python runs as the server, and variables beside its settings."""

    words: tuple[str, ...] = ("-m", "catalog_server")
    variables: Mapping[str, str] = field(default_factory=dict)


Process = subprocess.Popen[bytes] | Forked


@functools.cache
def no_authorities() -> ssl.SSLContext:
    """Trusts nobody, for servers without TLS: to read the usual authorities takes longer than many a request."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass
class Server:
    """A running server. ``services`` is the test's own way into the same database."""

    data_dir: Path
    url: str
    process: Process
    log_file: Path
    services: Services
    settings: Mapping[str, str]
    # The test ended it itself.
    ended: bool = False
    program: Program | None = None
    # Whom its certificate is checked by.
    verify: ssl.SSLContext = field(default_factory=no_authorities)

    def __post_init__(self) -> None:
        # Each with when it was made, in seconds of time.monotonic
        self._tokens: dict[str, tuple[str, float]] = {}
        self._client = self._new_client()

    def _new_client(self) -> httpx.Client:
        return httpx.Client(
            base_url=f"{self.url}/api/v1",
            trust_env=False,
            timeout=30,
            event_hooks={"response": [check_described]},
            verify=self.verify,
        )

    def restart(self, port: int = 0) -> None:
        """Start it again after its process ended, by default on another port."""
        assert self.process.poll() is not None
        self.process, self.url = _launch(self.data_dir, self.settings, self.program, port)
        self._client = self._new_client()

    def reached_by(self, url: str, verify: ssl.SSLContext) -> Server:
        """The same server, as clients see it who come another way."""
        return replace(self, url=url, verify=verify)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def kill_while_starting(self, seconds: float) -> None:
        """Start it again, and kill it that much later, whether it answers by then or not."""
        process = _spawn(self.data_dir, self.settings, self.program)
        time.sleep(seconds)
        process.kill()
        process.wait()

    @property
    def keys(self) -> KeyRing:
        return load_keys(self.services.settings)

    @property
    def log(self) -> str:
        """What it has written so far. Its lines come a little later than what they are about: see ``log_with``."""
        return self.log_file.read_text(encoding="utf-8")

    def log_with(self, text: str) -> str:
        """Wait until a text is in the log; return the log."""
        wait_until(lambda: text in self.log)
        return self.log

    def lines_with(self, text: str) -> list[dict[str, t.Any]]:
        """Wait for a line of the log that has this text; return all that have it."""
        wait_until(lambda: self.lines(text))
        return self.lines(text)

    def line_of(self, reply: httpx.Response) -> dict[str, t.Any]:
        """Wait for the line about a request that was answered, which is written after the answer; return it."""

        def found() -> list[dict[str, t.Any]]:
            lines = self.lines(reply.headers["x-request-id"])
            return [line for line in lines if line["message"] == "request"]

        wait_until(found)
        (line,) = found()
        return line

    def lines(self, text: str) -> list[dict[str, t.Any]]:
        """The lines of the log so far that have this text."""
        # The last one may be half written.
        lines = [line for line in self.log.splitlines(keepends=True) if line.startswith("{") and line.endswith("\n")]
        return [json.loads(line) for line in lines if text in line]

    def token(self, name: str) -> str:
        """A login token of one of the people, made again before it expires."""
        token, made_at = self._tokens.get(name, ("", 0.0))
        if not token or time.monotonic() - made_at > self.services.settings.token_seconds / 2:
            token = self.login(name).json()["token"]
            self._tokens[name] = token, time.monotonic()
        return token

    def login(self, name: str, password: str = PASSWORD) -> httpx.Response:
        return self.call("POST", "/auth/token", json={"email": name, "password": password})

    def call(
        self,
        method: str,
        path: str,
        by: str | None = None,
        *,
        bearer: str | None = None,
        **more: object,
    ) -> httpx.Response:
        """One request, with the token of somebody, another bearer token, or nothing."""
        headers = dict(more.pop("headers", None) or {})  # type: ignore[call-overload]
        token = self.token(by) if by else bearer
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return self._client.request(method, path, headers=headers, **more)  # type: ignore[arg-type]

    def stop(self) -> int:
        """SIGTERM; kill it if that does not help."""
        self._client.close()
        self.services.database.close()
        self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not stop within {STOP_SECONDS} s:\n{self.log}") from None


def start(data_dir: Path, settings: Mapping[str, str] | None = None, program: Program | None = None) -> Server:
    """Start a server and wait until it is ready; without a program it is forked, which takes less time."""
    settings = settings or {}
    process, url = _launch(data_dir, settings, program)
    fields = {name.removeprefix("CATALOG_").lower(): value for name, value in settings.items()}
    services = open_services(Settings(data_dir=data_dir, **fields))  # type: ignore[arg-type]
    return Server(data_dir, url, process, _log_file(data_dir), services, settings, program=program)


def _log_file(data_dir: Path) -> Path:
    return data_dir / "server.log"


def _ready_file(data_dir: Path) -> Path:
    return data_dir / "ready"


def _spawn(data_dir: Path, settings: Mapping[str, str], program: Program | None, port: int = 0) -> Process:
    ready, log_file = _ready_file(data_dir), _log_file(data_dir)
    ready.unlink(missing_ok=True)
    words, variables = ["serve", "--port", str(port), "--ready-file", str(ready)], environment(data_dir, settings)
    if program is None:
        return Forked(Call(cli.main, (words,), variables), Path(os.devnull), log_file, log_file)
    with log_file.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *program.words, *words],
            env={**variables, **program.variables},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _launch(data_dir: Path, settings: Mapping[str, str], program: Program | None, port: int = 0) -> tuple[Process, str]:
    process, ready = _spawn(data_dir, settings, program, port), _ready_file(data_dir)
    deadline = time.monotonic() + START_SECONDS
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise AssertionError(f"the server did not start:\n{_log_file(data_dir).read_text(encoding='utf-8')}")
        time.sleep(0.02)
    return process, ready.read_text(encoding="ascii").strip()


@contextmanager
def running(
    template: Template,
    data_dir: Path,
    settings: Mapping[str, str] | None = None,
    program: Program | None = None,
) -> Iterator[Server]:
    """A server on a copy of a template; at the end it must still live and stop when told to."""
    with template.copied(data_dir, settings) as chosen:
        server = start(data_dir, chosen, program)
        try:
            yield server
            assert server.ended or server.process.poll() is None, f"the server died:\n{server.log}"
        finally:
            if server.process.poll() is None:
                server.stop()
            else:
                server.services.database.close()


def wait_until(condition: object, seconds: float = 15.0) -> None:
    """Ask again and again until it is true."""
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.05)
