# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Functions, such as the catalog-server command, in processes of their own that need no second for imports.

They are forked from one process that has imported the server and has run nothing of it.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

PROCESSES = multiprocessing.get_context("forkserver")
# The command imports Alembic late. A process also imports what runs as __main__: without pytest-xdist, that is pytest.
PROCESSES.set_forkserver_preload(["catalog_server.cli", "alembic.command", "httpx", "pytest"])
# Whoever starts a process also asks for the status of others, and a status can be read only once.
_lock = threading.Lock()


@dataclass(frozen=True)
class Call:
    """A function that returns an exit status, and what it gets; all of it can be pickled."""

    function: Callable[..., int]
    arguments: tuple[t.Any, ...]
    variables: Mapping[str, str]

    def run(self, stdin: Path, stdout: Path, stderr: Path) -> t.NoReturn:
        """Be that process: with these variables alone, and with these files."""
        os.environ.clear()
        os.environ.update(self.variables)
        for descriptor, path in enumerate((stdin, stdout, stderr)):
            opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT if descriptor else os.O_RDONLY, 0o644)
            os.dup2(opened, descriptor)
            os.close(opened)
        sys.stdin = open(0, encoding="utf-8", closefd=False)
        sys.exit(self.function(*self.arguments))


class Forked:
    """A process, with those methods of subprocess.Popen that tests need."""

    def __init__(self, call: Call, stdin: Path, stdout: Path, stderr: Path) -> None:
        self._call = call
        self._process = PROCESSES.Process(target=call.run, args=(stdin, stdout, stderr))
        with _lock:
            self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        with _lock:
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end.

        :raises subprocess.TimeoutExpired: it runs that many seconds later
        """
        if self.poll() is None:
            wait([self._process.sentinel], timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(str(self._call.arguments), timeout or 0)
        return status

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()


def run(call: Call, seconds: float, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Wait for the end of a call.

    :raises subprocess.TimeoutExpired: it was killed after that time
    """
    with tempfile.TemporaryDirectory(prefix="catalog-command-") as directory:
        given, out, err = (Path(directory) / name for name in ("in", "out", "err"))
        given.write_text(stdin, encoding="utf-8")
        process = Forked(call, given, out, err)
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        return subprocess.CompletedProcess(
            call.arguments, status, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8")
        )
