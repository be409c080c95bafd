# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds the processes of a module by a mark in their environment: how much memory they took, and their end."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import typing as t
from pathlib import Path

MARK = "MACFLEET_BENCH_RUN"
_PERIOD_SECONDS = 0.05
_CONTROLLER = b"ansible-playbook"


def module_processes(mark: str) -> t.Iterator[tuple[int, Path]]:
    """Processes that carry the mark and are not the controller's."""
    wanted = f"{MARK}={mark}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            if wanted in (entry / "environ").read_bytes().split(b"\0") and command and _CONTROLLER not in command:
                yield int(entry.name), entry


def kill_module(mark: str) -> int:
    """End a module as a power cut would; how many processes that were."""
    killed = 0
    for number, _entry in list(module_processes(mark)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
            killed += 1
    return killed


class PeakMemory:
    """The most memory that any single process with the mark ever had, sampled while the block runs.

    The kernel keeps the peak of each process; only what happens in its last moments can be missed.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.peak_bytes = 0

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_PERIOD_SECONDS):
            for _number, entry in module_processes(self._mark):
                with contextlib.suppress(OSError, StopIteration):
                    lines = (entry / "status").read_text(encoding="ascii", errors="replace").splitlines()
                    line = next(line for line in lines if line.startswith("VmHWM:"))
                    self.peak_bytes = max(self.peak_bytes, int(line.split()[1]) * 1024)
