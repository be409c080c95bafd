# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""On a host without a service manager: write what comes in into a log file of bounded size.

    … | log_lines.py [--bytes N] [--generations N] FILE

When a line no longer fits, FILE is renamed to FILE.1, FILE.1 to FILE.2 and so on, and the oldest one is removed. The
program runs until all writers of its input have ended, whatever signal it gets meanwhile.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import typing as t
from logging.handlers import RotatingFileHandler
from pathlib import Path

BYTES = 16 << 20
GENERATIONS = 4
# A longer line is broken in two, so that one without an end does not fill the memory.
LONGEST_LINE = 64 << 10


def write_lines(lines: t.Iterable[str], file: Path, size: int, generations: int) -> None:
    """Write lines into ``file``; with its older generations it never has more than ``size * generations`` bytes."""
    # On a full disk lines are lost, and the server goes on.
    logging.raiseExceptions = False
    handler = RotatingFileHandler(
        file, maxBytes=size, backupCount=generations - 1, encoding="utf-8", errors="surrogateescape", delay=True
    )
    for line in lines:
        handler.emit(logging.makeLogRecord({"msg": line.rstrip("\n")}))
    handler.close()


def main() -> int:
    """Read standard input to its end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=int, default=BYTES, help="size of one file")
    parser.add_argument("--generations", type=int, default=GENERATIONS, help="number of files")
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.umask(0o027)
    with open(0, encoding="utf-8", errors="surrogateescape", newline="\n") as stream:
        write_lines(iter(lambda: stream.readline(LONGEST_LINE), ""), options.file, options.bytes, options.generations)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
