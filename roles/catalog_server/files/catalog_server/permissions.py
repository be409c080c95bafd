# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may read what the server keeps: nobody but its user, or it does not start, as ssh does with its keys."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from catalog_server.settings import SettingsError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def require_private(path: Path) -> None:
    """Check that only its owner has rights for a file or directory; one that is not there is none of others either.

    :raises SettingsError: somebody else has
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    if found.st_mode & _OTHERS:
        mode = "700" if stat.S_ISDIR(found.st_mode) else "600"
        raise SettingsError(
            f"other users have rights for {path} (mode {stat.S_IMODE(found.st_mode):04o}): run chmod {mode} {path}"
        )
    if found.st_uid not in (os.geteuid(), 0):
        raise SettingsError(f"{path} belongs to another user (uid {found.st_uid}): run chown {os.geteuid()} {path}")
