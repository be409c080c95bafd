# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The real metadata server as a process of its own, with its data in one directory."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import time
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

from .signals import tied_to_parent

_READY_SECONDS = 120
_STOP_SECONDS = 60
# Part of the path of a request that asks for nothing: the lines of those before it are in the log when its own is.
_MARK = "nothing-"
_POLL_SECONDS = 0.05
_ROLE_FILES = Path(__file__).resolve().parents[2] / "roles/catalog_server/files"
_COLLECTIONS = Path(__file__).resolve().parents[4].parent


class ServerFailed(Exception):
    """It did what it should not; the text ends with its log."""


class ServerProcess:
    """One server with an administrator."""

    def __init__(self, directory: Path, python: str, settings: t.Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self.storage = directory / "storage"
        self.log = directory / "server.log"
        self.url = ""
        self.python = python
        self.password = "correct horse battery staple"
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(_ROLE_FILES), str(_COLLECTIONS))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "CATALOG_DATA_DIR": str(directory),
            "CATALOG_STORAGE_ROOT": str(self.storage),
            **(settings or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ServerProcess:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The server refuses a directory that others may look into.
        self.directory.chmod(0o700)
        self.command("migrate")
        self.command("user", "add", "bench", "--if-missing", "--super-user", "--password-stdin", text=self.password)
        ready = self.directory / "ready"
        ready.unlink(missing_ok=True)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [*tied_to_parent(), *self._argv("serve", "--port", "0", "--ready-file", str(ready))],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + _READY_SECONDS
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._stop()
                raise ServerFailed(f"The server did not get ready.\n{self._tail()}")
            time.sleep(_POLL_SECONDS)
        self.url = ready.read_text(encoding="ascii").strip()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop()

    @property
    def pid(self) -> int:
        """The number of its process."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def token(self) -> str:
        """A login token."""
        body = json.dumps({"username": "bench", "password": self.password}).encode()
        request = urllib.request.Request(
            f"{self.url}/api/auth/token", body, {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return str(json.load(response)["token"])

    def stored_bytes(self) -> int:
        """Bytes of all files of the embedded storage."""
        return sum(path.stat().st_size for path in self.storage.rglob("*") if path.is_file())

    def requests(self) -> list[str]:
        """Method and path of every request so far, but for the probes."""
        self._settle()
        found = []
        for line in self.log.read_text(encoding="utf-8").splitlines(keepends=True):
            row = json.loads(line) if line.startswith("{") and line.endswith("\n") else {}
            if "method" in row and not any(part in row["path"] for part in ("/health/", _MARK)):
                found.append(f"{row['method']} {row['path']}")
        return found

    def _settle(self) -> None:
        """Wait until the lines of all requests that were answered are in the log: they come a little later."""
        if self._process is None or self._process.poll() is not None:
            return
        marker = f"{_MARK}{secrets.token_hex(8)}"
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(f"{self.url}/api/{marker}", timeout=_READY_SECONDS).close()
        deadline = time.monotonic() + _READY_SECONDS
        while marker not in self.log.read_text(encoding="utf-8"):
            if time.monotonic() > deadline:
                raise ServerFailed(f"The line of a request is not in {self.log}.\n{self._tail()}")
            time.sleep(_POLL_SECONDS)

    def command(self, *words: str, text: str | None = None) -> str:
        """Run an administrator's command; what it printed."""
        return self._run(f"catalog-server {' '.join(words)}", self._argv(*words), text)

    def script(self, path: Path, *words: str, text: str | None = None) -> str:
        """Run a script with the server's interpreter and settings; what it printed."""
        return self._run(path.name, [self.python, str(path), *words], text)

    def _run(self, name: str, argv: t.Sequence[str], text: str | None = None) -> str:
        done = subprocess.run(argv, env=self._environment, input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServerFailed(f"{name} exited {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _argv(self, *words: str) -> list[str]:
        return [self.python, "-m", "catalog_server", *words]

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
