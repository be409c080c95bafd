# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The server with a fault that a power cut must bring to light.

python faulty_server.py FAULT serve ...

FAULT is "database" (SQLite does not sync), "commits" (SQLite syncs at checkpoints only) or "directories" (the names of
objects are not synced).
"""

from __future__ import annotations

import sys
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base import files
from catalog_server import database
from catalog_server.cli import main

_prepare = database._prepare
_SYNCHRONOUS = {"database": "OFF", "commits": "NORMAL"}


def _prepare_with_fewer_syncs(connection: t.Any, record: object) -> None:
    _prepare(connection, record)
    connection.execute(f"PRAGMA synchronous={_SYNCHRONOUS[sys.argv[1]]}")


if __name__ == "__main__":
    if sys.argv[1] in _SYNCHRONOUS:
        database._prepare = _prepare_with_fewer_syncs
    else:
        files.fsync_directory = lambda path: None
    sys.exit(main(sys.argv[2:]))
