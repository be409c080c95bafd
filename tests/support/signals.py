# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A program that is told to end ends what it started."""

from __future__ import annotations

import shutil
import signal
import sys
import typing as t


def end_in_order() -> None:
    """Let the signals that end a program do so by an exception, as Ctrl-C does, so that its blocks are left."""

    def leave(number: int, _frame: t.Any) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


def tied_to_parent() -> t.List[str]:
    """What to put before a command that shall end even if this process is killed."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM"] if setpriv else []
