# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The bundles of VMs on the disk: which one is ours, and whether it can be looked at."""

from __future__ import annotations

import os

from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import lies_at
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CloneFailed,
    VolumeMissing,
    translated,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import Receipt


def is_ours(receipt: Receipt) -> bool:
    """Return True if the bundle that we made lies at the home of a receipt.

    :raises VolumeMissing: its volume is not mounted, so nobody can tell
    """
    check_volume(receipt)
    return is_our_bundle(receipt, receipt.home)


def is_our_bundle(receipt: Receipt, path: str) -> bool:
    """Return True if the directory at a path is the one that we made for a receipt."""
    with translated(CloneFailed, f"Examining {path}"):
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return False
    # Some file systems give the inode of a removed directory to the next one.
    ages = (receipt.bundle_born_at, born_at(status))
    return status.st_ino == receipt.bundle_inode and (0.0 in ages or ages[0] == ages[1])


def born_at(status: os.stat_result) -> float:
    """Return when a file was made, in seconds since 1970, or 0 where the system does not tell."""
    return float(getattr(status, "st_birthtime", 0.0))


def check_volume(receipt: Receipt) -> None:
    """Fail if nothing is at the home of a receipt because its volume is not mounted.

    :raises VolumeMissing: so it is
    """
    with translated(CloneFailed, f"Examining {receipt.home}"):
        is_there = lies_at(receipt.home)
    if not is_there and not os.path.ismount(receipt.volume):
        raise VolumeMissing(
            f"The virtual machine {receipt.vm_name} lies in {receipt.home}, and no volume is mounted at "
            f"{receipt.volume}.",
            "Connect and mount that volume. If it is gone for good, unregister the virtual machine in Parallels "
            "Desktop, and move its receipt to another directory.",
            {"volume": receipt.volume, "home": receipt.home},
        )
