# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The bundles of VMs on the disk: which of them we made, and which volumes are mounted."""

from __future__ import annotations

import os
import typing as t

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
    check_volume(receipt, receipt.home)
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


def check_volume(receipt: Receipt, home: str) -> None:
    """Fail if nothing lies at a path because its volume is not mounted.

    ``home`` is where the receipt says that the bundle lies, or where Parallels Desktop says so after a move.

    :raises VolumeMissing: the volume is not mounted, or it is not known and may not be mounted
    """
    with translated(CloneFailed, f"Examining {home}"):
        if lies_at(home):
            return
    volume = _volume_of(receipt, home)
    if volume is None:
        directory = os.path.dirname(home)
        if os.path.isdir(directory):
            return
        reason = f"the directory {directory} is not there. Its volume may not be mounted"
    elif os.path.ismount(os.path.realpath(volume)):
        return
    else:
        reason = f"no volume is mounted at {volume}"
    raise VolumeMissing(
        f"The virtual machine {receipt.vm_name} lies in {home}, and {reason}.",
        "Connect and mount that volume. If it is gone for good, unregister the virtual machine in Parallels "
        "Desktop, and move its receipt to another directory.",
        {"volume": volume or "", "home": home},
    )


def _volume_of(receipt: Receipt, home: str) -> t.Optional[str]:
    """Return the mount point above a path that may not be there, None if it is not known."""
    if home == receipt.home or (receipt.volume != "/" and home.startswith(f"{receipt.volume}/")):
        return receipt.volume
    return _disk_of(home)


def check_directory(directory: str) -> None:
    """Fail if a directory for VMs is on a disk that is not mounted.

    :raises VolumeMissing: the directory is on a disk that is not mounted
    """
    disk = _disk_of(directory)
    if disk is not None and not os.path.ismount(os.path.realpath(disk)):
        raise VolumeMissing(
            f"Making virtual machines in {directory} failed: no volume is mounted at {disk}.",
            "Connect and mount that volume, or choose another path.",
            {"volume": disk, "home": directory},
        )


def _disk_of(path: str) -> t.Optional[str]:
    """Return where macOS mounts the disk of a path, None for other paths."""
    parts = path.split("/")
    return "/".join(parts[:3]) if parts[:2] == ["", "Volumes"] else None
