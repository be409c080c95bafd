# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs ansible-playbook as a real process and brings back each task's result and time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

GRACE_SECONDS = 10
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class TaskResult:
    """One host's result of one task."""

    host: str
    task: str
    action: str
    status: str
    seconds: float
    result: dict[str, t.Any]


class RunFailed(Exception):
    """A playbook failed; the text ends with what it printed last."""


class Run:
    """A playbook that runs."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, results: Path) -> None:
        self.process = process
        self.log = log
        self._results = results

    def results(self) -> list[TaskResult]:
        """What has been recorded so far."""
        if not self._results.exists():
            return []
        return [TaskResult(**json.loads(line)) for line in self._results.read_text(encoding="utf-8").splitlines()]

    def wait(self, deadline_seconds: float) -> list[TaskResult]:
        """All results, once it has ended well."""
        try:
            status = self.process.wait(deadline_seconds)
        except subprocess.TimeoutExpired:
            raise RunFailed(f"No end within {deadline_seconds:.0f} s.\n{self._tail()}") from None
        finally:
            self.end()
        if status:
            raise RunFailed(f"ansible-playbook exited {status}, see {self.log}.\n{self._tail()}")
        return self.results()

    def end(self) -> None:
        """End it if it still runs, and what is left of its workers, which are sessions of their own."""
        for sent in (signal.SIGTERM, signal.SIGKILL):
            self._send(sent)
            deadline = time.monotonic() + GRACE_SECONDS
            while self.process.poll() is None or self._workers():
                if time.monotonic() > deadline:
                    break
                time.sleep(_POLL_SECONDS)
            else:
                return

    def kill(self) -> None:
        """End controller and workers as a power cut would."""
        self._send(signal.SIGKILL)
        self.process.wait()

    def _send(self, number: int) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
        for worker in self._workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, number)

    def _workers(self) -> list[int]:
        """Processes of ansible-playbook that write to the results of this run."""
        mark = f"RECORD_RESULTS_PATH={self._results}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                is_ours = mark in (entry / "environ").read_bytes().split(b"\0")
                if is_ours and b"ansible-playbook" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return [number for number in found if number != self.process.pid]

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-25:])


class Ansible:
    """ansible-playbook with one inventory, in a directory for its inventory, logs and results."""

    def __init__(self, directory: Path, inventory: t.Mapping[str, t.Any], environment: t.Mapping[str, str]) -> None:
        self._directory = directory
        self._number = 0
        directory.mkdir(parents=True, exist_ok=True)
        self._inventory = directory / "inventory.json"
        self._inventory.write_text(json.dumps(inventory, indent=2), encoding="utf-8")
        self._environment = {
            **environment,
            "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).parent / "callbacks"),
            "ANSIBLE_CALLBACKS_ENABLED": "record_results",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_RETRY_FILES_ENABLED": "false",
        }

    def start(
        self,
        name: str,
        playbook: str | list[dict[str, t.Any]],
        variables: t.Mapping[str, t.Any] | None = None,
        words: t.Sequence[str] = (),
    ) -> Run:
        """Begin a playbook, the name of one or its plays, with more words for ansible-playbook."""
        self._number += 1
        stem = self._directory / f"{self._number:03d}-{name}"
        results, log = stem.with_suffix(".jsonl"), stem.with_suffix(".log")
        results.unlink(missing_ok=True)
        if not isinstance(playbook, str):
            written = stem.with_suffix(".yml")
            written.write_text(json.dumps(playbook, indent=2), encoding="utf-8")
            playbook = str(written)
        values = stem.with_suffix(".vars.json")
        values.write_text(json.dumps(dict(variables or {})), encoding="utf-8")
        program = str(Path(sys.executable).parent / "ansible-playbook")
        argv = [program, "-i", str(self._inventory), "-e", f"@{values}", *words, playbook]
        with log.open("wb") as output:
            process = subprocess.Popen(
                argv,
                env={**self._environment, "RECORD_RESULTS_PATH": str(results)},
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Run(process, log, results)

    def run(
        self,
        name: str,
        playbook: str | list[dict[str, t.Any]],
        variables: t.Mapping[str, t.Any] | None = None,
        deadline_seconds: float = 1800,
    ) -> list[TaskResult]:
        """Run a playbook to its end."""
        run = self.start(name, playbook, variables)
        try:
            return run.wait(deadline_seconds)
        finally:
            run.end()
