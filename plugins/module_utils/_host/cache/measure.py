# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What a directory takes on disk, and when something in it was last written."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base import trees
from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import allocated_bytes
from ansible_collections.macfleet.parallels.plugins.module_utils._host import sharing


class Measure(t.NamedTuple):
    """Bytes of the blocks of all files, those shared with clones included; the latest change as Unix time."""

    allocated_bytes: int
    modified_at: float


def measure(path: str) -> Measure:
    """Return what a directory takes. What vanishes meanwhile counts as nothing. Callers translate OSError."""
    taken, modified_at = 0, 0.0
    try:
        modified_at = os.lstat(path).st_mtime
        for found in trees.walk(path):
            modified_at = max(modified_at, found.status.st_mtime)
            taken += 0 if found.is_directory else allocated_bytes(found.status)
    except FileNotFoundError:
        pass
    return Measure(taken, modified_at)


def exclusive_bytes(path: str) -> t.Optional[int]:
    """Return the bytes on disk that nothing else shares with the files of a directory, None if that is not known.

    So much does its removal free. Callers translate OSError.
    """
    total = 0
    for found in trees.walk(path):
        if found.is_file:
            own = sharing.exclusive_bytes(os.path.join(path, found.disk_path))
            if own is None:
                return None
            total += own
    return total
