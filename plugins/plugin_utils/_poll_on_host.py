# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This plugin util is private to the collection.

"""Waits on a managed host for the end of a job (``module_utils/_bridge/background.py``), but not for longer than asked.

Before it waits, it touches ``.watched``: a job that is not polled ends by itself. The controller sends the text of this
file to the Python of the host. Arguments: path of the progress file, process of the job, seconds. Prints
a JSON object: ``ended``, ``progress`` and ``result`` (the texts of the files, or null).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import time

# While the files of the job are gone, there is only its process to look at.
_PAUSE_SECONDS = 0.5


class _Over(Exception):
    """The time to wait is over."""


def _end_of_time(_signal: int, _frame: object) -> None:
    raise _Over


def _wait_for_end(path: str, process: int) -> None:
    """Return when the job has ended. It holds a lock as long as it lives."""
    while not os.path.exists(path + ".result"):
        try:
            descriptor = os.open(path + ".lock", os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            if not _lives(process):
                return
            time.sleep(_PAUSE_SECONDS)
            continue
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return


def _lives(process: int) -> bool:
    """Return True if there is such a process; after a restart of the host it may be another one."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _touch(path: str) -> None:
    """Give a file a new time. While the directory is gone, or the disk is full, there may be no file."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        os.utime(descriptor)
        os.close(descriptor)


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def main(path: str, process: int, seconds: float) -> None:
    """Wait, and print what there is."""
    _touch(path + ".watched")
    signal.signal(signal.SIGALRM, _end_of_time)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        _wait_for_end(path, process)
        signal.setitimer(signal.ITIMER_REAL, 0)
        ended = True
    except _Over:
        ended = False
    result = _read(path + ".result") if ended else None
    print(json.dumps({"ended": ended, "progress": _read(path), "result": result}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
