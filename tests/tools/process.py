# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands with a log file, a deadline and an end of the whole process group."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

GRACE_SECONDS = 20


@dataclass(frozen=True)
class Finished:
    """How a command ended; its output lies in the log."""

    status: int
    log: Path

    @property
    def succeeded(self) -> bool:
        return self.status == 0

    def lines(self) -> list[str]:
        return self.log.read_text(encoding="utf-8", errors="replace").splitlines()

    def last_lines(self, count: int) -> str:
        return "\n".join(self.lines()[-count:])

    def excerpt(self, count: int) -> str:
        """The lines that say what is wrong, if there are such, and the last ones."""
        lines = self.lines()
        return "\n".join([line for line in lines[:-count] if line.startswith("ERROR: ")] + lines[-count:])


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask the process group to end, then end it."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sent)
            process.wait(GRACE_SECONDS)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
        return


class Running:
    """The commands that run now, so that all of them can be ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self.stopped = False

    @contextmanager
    def during(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """Know a process inside; behind, it has ended."""
        with self._lock:
            self._processes.add(process)
        try:
            if self.stopped:
                end_group(process)
            yield
        finally:
            if process.poll() is None:
                end_group(process)
            with self._lock:
                self._processes.remove(process)

    def stop(self) -> None:
        """End all commands, and those that begin later, too."""
        self.stopped = True
        with self._lock:
            processes = list(self._processes)
        for process in processes:
            end_group(process)


def run_logged(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    directory: Path,
    log: Path,
    deadline_seconds: float,
    running: Running | None = None,
) -> Finished:
    """Run a command; append what it prints to the log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        output.write(("$ " + " ".join(map(str, command)) + "\n").encode())
        output.flush()
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with (running or Running()).during(process):
            try:
                return Finished(process.wait(deadline_seconds), log)
            except subprocess.TimeoutExpired:
                output.write(f"\nended after {deadline_seconds:.0f} s without a result\n".encode())
                return Finished(124, log)
