# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands of catalog-server that are killed at a step of theirs that the test names.

It runs under the library of ``power_cut.c``, which counts the steps. It reads a request from each line of its input and
answers with a line. Each command runs in a copy of this process, so that only the first one waits for the imports.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import typing as t
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.macfleet.parallels.tests.support.power_cut import Durable
from catalog_server.cli import main


@dataclass(frozen=True)
class Done:
    """How a command ended: None if it was killed, and then nothing is known of its steps and words."""

    status: int | None
    steps: int = 0
    said: str = ""


class Commands:
    """The process that runs them."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, durable: Durable, step: int, variables: Mapping[str, str], *words: str) -> Done:
        """Run a command, whose writes to a directory are modelled; kill it before that step, or with 0 never."""
        assert self._process.stdin is not None and self._process.stdout is not None
        request = {
            "root": str(durable.root),
            "model": str(durable.model),
            "step": step,
            "variables": dict(variables),
            "words": words,
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process that runs the commands has ended"
        return Done(**json.loads(answer))


@contextlib.contextmanager
def commands(library: Path, variables: Mapping[str, str]) -> Iterator[Commands]:
    """Start the process; it ends with the block."""
    with subprocess.Popen(
        [sys.executable, __file__],
        env={**variables, "LD_PRELOAD": str(library)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Commands(process)


def _answer(request: Mapping[str, t.Any]) -> Mapping[str, t.Any]:
    """Run a command in a copy of this process; return what is known of it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            os.write(writing, json.dumps(_run(request)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        answer = pipe.read()
    _pid, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return {"status": None}
    return t.cast(Mapping[str, t.Any], json.loads(answer))


def _run(request: Mapping[str, t.Any]) -> Mapping[str, t.Any]:
    os.environ.update(request["variables"])
    library = ctypes.CDLL(None)
    library.power_cut_arm(os.fsencode(request["root"]), os.fsencode(request["model"]), ctypes.c_long(request["step"]))
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = main(request["words"])
    return {"status": status, "steps": library.power_cut_steps(), "said": said.getvalue()}


if __name__ == "__main__":
    # A command that migrates imports it late.
    importlib.import_module("alembic.command")
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)
