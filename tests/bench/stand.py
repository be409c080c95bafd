# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the measurements share: hosts, sample machines, a server, and playbooks that run one module."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.macfleet.parallels.tests.bench.report import Bar
from ansible_collections.macfleet.parallels.tests.bench.watch import MARK, PeakMemory
from ansible_collections.macfleet.parallels.tests.simulators.prlctl import control
from ansible_collections.macfleet.parallels.tests.support import bundles, ssh_hosts
from ansible_collections.macfleet.parallels.tests.support.ansible_runs import Ansible, Run, TaskResult
from ansible_collections.macfleet.parallels.tests.support.server_process import ServerProcess

MIB = 1 << 20
GIB = 1 << 30
ARCHITECTURE = "arm64"
TRANSFER_SECONDS = 1800
LIMIT = Path(__file__).with_name("limit.py")
PLAIN = Path(__file__).with_name("small_files.py")


@dataclass(frozen=True)
class Case:
    """One codec as one provider carries it out; ``asked`` is the share of the limit that shall be reached."""

    name: str
    codec: str
    provider: str
    host: str
    asked: float | None


CASES = (
    Case("deflate by zlib", "deflate", "zlib", "plain", 0.8),
    Case("deflate by isal", "deflate", "isal", "fast", 0.85),
    Case("zstd", "zstd", "zstandard", "fast", 0.85),
)
MAIN_CASE = CASES[1]


class Bench:
    """Directories, bundles, hosts."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.work = Path(arguments.work)
        self.bars: list[Bar] = []
        self.pythons = {"plain": arguments.plain_python, "fast": sys.executable}
        # The hosts of an earlier run know machines whose disks are gone.
        shutil.rmtree(self.work / "hosts", ignore_errors=True)
        programs = self.work / "bin"
        control.install(programs, arguments.plain_python)
        self.hosts = [
            ssh_hosts.local_hosts([name], self.work / "hosts", programs, python)[0]
            for name, python in self.pythons.items()
        ]
        self.begun = time.monotonic()

    def say(self, text: str) -> None:
        """Progress, to the error output."""
        print(f"[{time.monotonic() - self.begun:6.1f} s] {text}", file=sys.stderr, flush=True)

    def machine(self, version: str, make: t.Callable[[Path], bundles.SampleVm]) -> bundles.SampleVm:
        """A sample machine, kept from an earlier run with the same size."""
        size = bundles.Size(int(self.arguments.logical_gib * GIB), int(self.arguments.data_gib * GIB))
        directory = self.work / f"bundle-{version}-{size.data_bytes}-{size.logical_bytes}"
        complete = directory / "complete"
        if complete.exists():
            return bundles.SampleVm.load(str(directory), "bench", bundles.MACVM, bundles.PLAIN)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        self.say(f"Making the bundle {version} …")
        machine = make(directory)
        complete.touch()
        return machine


class Stand:
    """One server, and playbooks and limits that talk to it."""

    def __init__(self, bench: Bench, server: ServerProcess, name: str) -> None:
        self.bench = bench
        self.server = server
        self._marks = 0
        self._name = name
        self.environment = {
            **os.environ,
            "MACFLEET_CATALOG_URL": server.url,
            "MACFLEET_CATALOG_TOKEN": server.token(),
        }
        self._inventory = {"all": {"hosts": {host.name: host.variables for host in bench.hosts}}}

    def start(self, host: str, tasks: t.Sequence[dict[str, t.Any]], verbosity: int = 0) -> tuple[Run, str]:
        """Begin a play; the run and the mark of its processes."""
        self._marks += 1
        mark = f"{os.getpid()}-{self._name}-{self._marks}"
        runs = self.bench.work / "runs" / f"{self._name}-{self._marks:02d}"
        ansible = Ansible(runs, self._inventory, {**self.environment, MARK: mark, "ANSIBLE_VERBOSITY": str(verbosity)})
        return ansible.start("play", [{"hosts": host, "gather_facts": False, "tasks": list(tasks)}]), mark

    def module(self, host: str, name: str, options: t.Mapping[str, t.Any]) -> tuple[TaskResult, int]:
        """Run one module to its end; its result and its peak memory."""
        os.sync()
        run, mark = self.start(host, [{f"macfleet.parallels.{name}": dict(options)}])
        try:
            with PeakMemory(mark) as memory:
                results = run.wait(TRANSFER_SECONDS)
        finally:
            run.end()
        return results[-1], memory.peak_bytes

    def plain(self, host: str, *words: str) -> float:
        """Run small_files.py. Returns the seconds that it took."""
        os.sync()
        done = subprocess.run(
            [self.bench.pythons[host], str(PLAIN), *words], env=self.environment, stdout=subprocess.PIPE, check=True
        )
        return float(json.loads(done.stdout)["elapsed"])

    def limit(
        self, case: Case, verb: str, path: Path, address: t.Mapping[str, str], chunk_size: int
    ) -> dict[str, t.Any]:
        """Run limit.py."""
        os.sync()
        argv = [self.bench.pythons[case.host], str(LIMIT), verb, str(path), "--url", self.server.url]
        argv += ["--catalog-id", address["catalog_id"], "--version", address["version"]]
        argv += ["--provider", case.provider, "--chunk-size", str(chunk_size)]
        done = subprocess.run(argv, env=self.environment, stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout)


def push_options(case: Case, machine: bundles.SampleVm, catalog_id: str, version: str) -> dict[str, t.Any]:
    """Options of catalog_push."""
    address = {"catalog_id": catalog_id, "version": version, "architecture": ARCHITECTURE}
    return {**address, "path": machine.bundle, "codec": case.codec, "compression_level": 1}


def pull_options(catalog_id: str, version: str, cache: Path, **more: t.Any) -> dict[str, t.Any]:
    """Options of catalog_pull."""
    address = {"catalog_id": catalog_id, "version": version, "architecture": ARCHITECTURE}
    return {**address, "cache_path": str(cache), "state": "cached", **more}


@contextlib.contextmanager
def scratch(bench: Bench, name: str) -> t.Iterator[Path]:
    """A directory that is gone afterwards."""
    directory = bench.work / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def ask(stand: Stand, path: str) -> t.Any:
    """A question to the server as the benchmark's user."""
    from ansible_collections.macfleet.parallels.tests.bench.limit import Server

    return Server(stand.server.url, stand.environment["MACFLEET_CATALOG_TOKEN"]).ask("GET", path)


@contextlib.contextmanager
def new_stand(bench: Bench, name: str, **settings: str) -> t.Iterator[Stand]:
    """A server without images."""
    settings = {"CATALOG_TOKEN_SECONDS": "86400", **settings}
    with scratch(bench, "server") as place, ServerProcess(place, bench.arguments.server_python, settings) as server:
        yield Stand(bench, server, name)


def volume_bytes(machine: bundles.SampleVm) -> int:
    """The size of a volume for a machine, the images of it in a cache, and what comes with updates."""
    return 4 * machine.guest.data_bytes + 4 * GIB
