# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What was taken out of the cache and is being deleted.

Deleting 200 GB takes time, and may be interrupted or refused; what is left is counted, told, and deleted by the next
task that opens the cache.
"""

from __future__ import annotations

import os
import secrets
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import rename_durably
from ansible_collections.macfleet.parallels.plugins.module_utils._host import locks
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.layout import Layout
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.measure import measure
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import DirectoryLocked
from ansible_collections.macfleet.parallels.plugins.module_utils._host.trees import remove


def discard(path: str, layout: Layout) -> None:
    """Take a directory out of the cache by one rename. Callers translate OSError."""
    rename_durably(path, os.path.join(layout.trash, secrets.token_hex(16)))


def empty(layout: Layout) -> t.List[str]:
    """Delete what lies in the trash; return a sentence for each thing that cannot be deleted.

    Nothing is done while another process empties it.
    """
    if not _names(layout):
        return []
    refused: t.List[str] = []
    try:
        # A lock file could not be made on a volume without a free inode, and removing is the way out of that.
        with locks.hold_directory(layout.trash, "emptying the trash"):
            for name in _names(layout):
                path = os.path.join(layout.trash, name)
                refused += [
                    f"{left.path} was removed from the cache, but cannot be deleted: {left.reason}."
                    for left in remove(path)
                ]
    except DirectoryLocked:
        return []
    return refused


def waiting_bytes(layout: Layout) -> int:
    """Return the bytes on disk of what waits to be deleted."""
    return sum(measure(os.path.join(layout.trash, name)).allocated_bytes for name in _names(layout))


def _names(layout: Layout) -> t.List[str]:
    try:
        return sorted(os.listdir(layout.trash))
    except OSError:
        return []
