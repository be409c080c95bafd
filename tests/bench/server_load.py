# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many requests a second a server answers, and how fast: measured by wrk, which takes little of the processor."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.macfleet.parallels.tests.support.debian import Program, find_program

_SCRIPT = Path(__file__).with_name("server_load.lua")
# Longer than any answer may take: none is left out of the latencies.
_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Load:
    """Figures of one measurement; latencies are in milliseconds."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


@dataclass(frozen=True)
class Credential:
    """The header that says who asks."""

    header: str
    value: str

    @classmethod
    def token(cls, token: str) -> Credential:
        """A login token or a grant."""
        return cls("Authorization", f"Bearer {token}")


class NoWrk(Exception):
    """It is neither installed nor to be had."""


class Wrk:
    """The program, and a directory for what it reads."""

    def __init__(self, directory: Path) -> None:
        program = find_program("wrk", "wrk", directory / "packages")
        if program is None:
            raise NoWrk("wrk is not installed: the package is called wrk.")
        self._program: Program = program
        self._paths = directory / "wrk-paths"

    def start(
        self, url: str, paths: t.Sequence[str], credential: Credential, connections: int, seconds: int
    ) -> subprocess.Popen[str]:
        """Begin to ask for these paths in turn, over connections that each wait for the answer before."""
        self._paths.write_text("".join(f"{path}\n" for path in paths), encoding="ascii")
        argv = [self._program.path, "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"]
        argv += ["--timeout", f"{_TIMEOUT_SECONDS}s", "--script", str(_SCRIPT), url]
        environment = {
            **os.environ,
            **self._program.environment,
            "LC_ALL": "C",
            "MACFLEET_BENCH_PATHS": str(self._paths),
            "MACFLEET_BENCH_HEADER": credential.header,
            "MACFLEET_BENCH_CREDENTIAL": credential.value,
        }
        return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True)

    def result(self, process: subprocess.Popen[str]) -> Load:
        """Wait for the end of a measurement.

        :raises RuntimeError: a request failed, so that the figures say nothing
        """
        output, _errors = process.communicate()
        if process.returncode:
            raise RuntimeError(f"wrk exited {process.returncode}")
        found = json.loads(output.splitlines()[-1])
        if found.pop("failed"):
            raise RuntimeError(f"not all requests were answered with success:\n{output}")
        return Load(**found)

    def run(self, url: str, paths: t.Sequence[str], credential: Credential, connections: int, seconds: int) -> Load:
        """``start`` and ``result``, after a second of the same that is not measured."""
        self.result(self.start(url, paths, credential, connections, 1))
        return self.result(self.start(url, paths, credential, connections, seconds))


def median(loads: t.Sequence[Load]) -> Load:
    """The median of each figure."""
    rates = statistics.median(load.per_second for load in loads)
    return Load(
        requests=round(rates * 1000),
        seconds=1000.0,
        p50_ms=statistics.median(load.p50_ms for load in loads),
        p99_ms=statistics.median(load.p99_ms for load in loads),
        max_ms=statistics.median(load.max_ms for load in loads),
    )
