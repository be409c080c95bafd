# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Keeps a Mac awake while bytes move: a background job has no terminal that would."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import typing as t

CAFFEINATE = "/usr/bin/caffeinate"
_GRACE_SECONDS = 5.0


def caffeinate() -> t.Optional[str]:
    """Returns the path of caffeinate(8) on macOS, and None on other systems."""
    return CAFFEINATE if sys.platform == "darwin" else None


@contextlib.contextmanager
def awake(program: t.Optional[str]) -> t.Iterator[None]:
    """Keep this Mac from sleeping when idle while the block runs.

    ``program`` is that of :func:`caffeinate`; None does nothing. It ends with this process, however that ends. A Mac
    that cannot be kept awake is no reason to fail: the block runs all the same.
    """
    process = _started(program) if program is not None else None
    try:
        yield
    finally:
        if process is not None:
            _end(process)


def _started(program: str) -> t.Optional[subprocess.Popen[bytes]]:
    # -i: no idle sleep. -w: until the process with that id has ended.
    try:
        # run_command waits for the end of a command. This one runs beside the task.
        return subprocess.Popen(  # pylint: disable=ansible-bad-function
            [program, "-i", "-w", str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
