# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records, bundles and a simulated Parallels Desktop of one Mac, for the tests of what lives on a host."""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import signal
import subprocess
import sys
import threading
import typing as t
from unittest import mock

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.records import CachedAddress, CacheRecord
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import CommandResult, Prlctl
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import Receipt
from ansible_collections.macfleet.parallels.tests.simulators.prlctl import main as simulator
from ansible_collections.macfleet.parallels.tests.simulators.prlctl.control import Simulated, install

DIGEST = "ab" * 32
UUID = "0b9a6f3e-5a6c-4f0e-9b7e-3a1d2c4b5e6f"
ADDRESS = CachedAddress("https://catalog.example.com", "macos-15", "1.4.0", "arm64")
_TOOLS = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make files of other users")


def make_record(digest: str = DIGEST, **changes: t.Any) -> CacheRecord:
    values: t.Dict[str, t.Any] = {
        "digest": digest,
        "bundle_name": "macOS 15.macvm",
        "type": "macvm",
        "addresses": (ADDRESS,),
        "logical_bytes": 3 << 20,
        "stored_bytes": 1 << 20,
        "first_used_at": "2026-11-23T08:00:00Z",
        "last_used_at": "2026-11-23T08:00:00Z",
    }
    values.update(changes)
    return CacheRecord(**values)


def make_receipt(**changes: t.Any) -> Receipt:
    values: t.Dict[str, t.Any] = {
        "vm_uuid": UUID,
        "vm_name": "runner-01",
        "catalog_url": "https://catalog.example.com",
        "catalog_id": "macos-15",
        "version": "1.4.0",
        "architecture": "arm64",
        "digest": DIGEST,
        "created_at": "2026-11-23T08:00:00Z",
        "created_by": "ci",
        "home": "/Users/ci/Parallels/runner-01.macvm",
        "cache_path": "/Users/ci/cache",
    }
    values.update(changes)
    return Receipt(**values)


def fill(bundle: pathlib.Path) -> None:
    """A small bundle: plain files, one that is mostly hole, an executable, a directory, a link."""
    (bundle / "disk.hdd").mkdir(parents=True)
    (bundle / "config.pvs").write_text("<ParallelsVirtualMachine/>")
    with open(bundle / "disk.hdd/disk.hds", "wb") as stream:
        stream.truncate(3 << 20)
        stream.seek(1 << 20)
        stream.write(os.urandom(4096))
    (bundle / "script").write_bytes(b"#!/bin/sh\n")
    (bundle / "script").chmod(0o755)
    (bundle / "empty").touch()
    (bundle / "link").symlink_to("config.pvs")


def contents(root: pathlib.Path) -> t.Dict[str, t.Union[bytes, str, None]]:
    """Everything below a directory: bytes of files, targets of links, None for directories."""
    found: t.Dict[str, t.Union[bytes, str, None]] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = None if path.is_dir() else path.read_bytes()
    return found


class Mac:
    """A user with a simulated Parallels Desktop; ``timeout_seconds`` shortens every deadline.

    With ``in_process`` the simulator is called as a function, which is much faster: for tests of what is asked of it.
    """

    _here = threading.Lock()

    def __init__(self, directory: pathlib.Path) -> None:
        self.home = directory / "home"
        self.home.mkdir()
        self.program = install(directory / "bin", sys.executable)
        self.simulated = Simulated(self.home)
        self.timeout_seconds = 60.0
        self.in_process = False
        self.naps: t.List[float] = []
        self.prlctl = Prlctl(self.run, self.program, sleep=self.naps.append)

    def run(self, argv: t.Sequence[str], timeout_seconds: float) -> CommandResult:
        """Run prlctl or prlsrvctl."""
        if self.in_process:
            return self._run_here(argv)
        process = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "HOME": str(self.home)},
        )
        try:
            output, errors = process.communicate(timeout=min(timeout_seconds, self.timeout_seconds))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return CommandResult(-1, "", "", timed_out=True)
        return CommandResult(process.returncode, output, errors)

    def _run_here(self, argv: t.Sequence[str]) -> CommandResult:
        output, errors = io.StringIO(), io.StringIO()
        environment = mock.patch.dict(os.environ, HOME=str(self.home))
        with self._here, environment, contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            returncode = simulator.main(argv)
        return CommandResult(returncode, output.getvalue(), errors.getvalue())

    def verbs(self) -> t.List[str]:
        """What was asked of it so far, without the listings."""
        return [call[1] for call in self.simulated.calls() if call[1] != "list"]


class InProcess:
    """Parallels Desktop, simulated without a process of its own."""

    _lock = threading.Lock()

    def __init__(self, home: pathlib.Path) -> None:
        self._home = str(home)

    def __call__(self, argv: t.Sequence[str], deadline_seconds: float) -> CommandResult:
        output, errors = io.StringIO(), io.StringIO()
        with self._lock, contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            before = os.environ.get("HOME")
            os.environ["HOME"] = self._home
            try:
                status = simulator.main(list(argv))
            finally:
                os.environ["HOME"] = before or ""
        return CommandResult(status, output.getvalue(), errors.getvalue())
