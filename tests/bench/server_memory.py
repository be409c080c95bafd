# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the processes of a server hold, as the kernel counts it."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

_PERIOD_SECONDS = 0.05
_KIB = 1024


def processes(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text(encoding="ascii").split()]
    return found


def held_bytes(pid: int) -> int:
    """Memory of a process and its descendants: what they share counts once.

    It is the resident memory of a process that is alone, also where it shares libraries with others.
    """
    tree = processes(pid)
    if len(tree) == 1:
        return _field(f"/proc/{pid}/status", "VmRSS")
    total = 0
    for one in tree:
        with contextlib.suppress(OSError):
            total += _field(f"/proc/{one}/smaps_rollup", "Pss")
    return total


def _field(path: str, name: str) -> int:
    for line in Path(path).read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * _KIB
    raise OSError(f"{path} has no {name}")


class Peak:
    """The most that was held while the block ran: the kernel's own count, or with several processes, by samples."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.bytes = 0

    def __enter__(self) -> Peak:
        # Let VmHWM begin anew: proc(5)
        Path(f"/proc/{self._pid}/clear_refs").write_text("5", encoding="ascii")
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._done.set()
        self._thread.join()
        if len(processes(self._pid)) == 1:
            self.bytes = max(self.bytes, _field(f"/proc/{self._pid}/status", "VmHWM"))

    def _watch(self) -> None:
        while not self._done.wait(_PERIOD_SECONDS):
            with contextlib.suppress(OSError):
                self.bytes = max(self.bytes, held_bytes(self._pid))


def mib(count: float) -> float:
    """Bytes as MiB."""
    return count / (1 << 20)
