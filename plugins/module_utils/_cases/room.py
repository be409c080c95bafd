# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Disk space: what a task is going to write, against what is free. Pure but for the questions to the volumes."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._host import volumes
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import DiskFull

# Kept free on top of what is written: metadata of the file system, and the logs of others.
MARGIN_BYTES = 64 << 20


@dataclass(frozen=True)
class Need:
    """Bytes that will be written below a directory, which need not exist; ``doing`` says what for."""

    directory: str
    size: int
    doing: str


def check(needs: t.Iterable[Need]) -> None:
    """Check that each volume has room for all that is written to it, together.

    :raises DiskFull: one does not
    """
    volumes_of: t.List[t.List[Need]] = []
    for need in needs:
        if need.size <= 0:
            continue
        for group in volumes_of:
            if volumes.share_volume(group[0].directory, need.directory):
                group.append(need)
                break
        else:
            volumes_of.append([need])
    for group in volumes_of:
        _check_volume(group)


def _check_volume(group: t.Sequence[Need]) -> None:
    needed = MARGIN_BYTES + sum(need.size for need in group)
    free = volumes.free_bytes(group[0].directory)
    if free >= needed:
        return
    doing = " and ".join(need.doing for need in group)
    raise DiskFull(
        f"{doing[0].upper()}{doing[1:]} needs {needed} bytes of disk space, and {free} are free.",
        "Free some space on that volume, for example by removing cached images with catalog_cache, and run the task "
        "again.",
        {"needed_bytes": needed, "free_bytes": free},
    )
