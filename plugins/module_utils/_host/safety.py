# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Refuses directories for a cache whose content another user could change.

What a user can rename or replace in a directory is decided by that directory, so every directory on the way from
the root counts, also those that a symbolic link on the way leads through. Permissions are judged by mode and owner,
so the volume has to keep owners; a macOS access control list that grants more is not seen.
"""

from __future__ import annotations

import os
import shlex
import stat
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import lies_at
from ansible_collections.macfleet.parallels.plugins.module_utils._host import volumes
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CacheError,
    CacheUnsafe,
    VolumeUnsuitable,
    translated,
)

_MOST_LINKS = 40
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def require_private(path: str, create: bool) -> bool:
    """Check the directory ``path``, its volume, and all directories above it; with ``create``, make what is missing.

    Returns True if ``path`` exists afterwards.

    :raises CacheUnsafe: a user who is neither root nor the one who runs this could change what it holds
    :raises VolumeUnsuitable: the file system of its volume cannot hold a cache
    """
    path = os.path.abspath(path)
    with translated(CacheError, f"Examining the cache directory {path}"):
        parent, missing = _resolve_existing(os.path.dirname(path))
        own = os.path.join(parent, *missing, os.path.basename(path))
        _require_volume(own)
        if missing and not create:
            return False
        for name in missing:
            parent = os.path.join(parent, name)
            os.mkdir(parent, 0o700)
        if create and not lies_at(own):
            os.mkdir(own, 0o700)
        return require_own_directory(own)


def require_own_directory(path: str) -> bool:
    """Check one directory, when the ones above it are known to be safe. Returns True if it exists.

    :raises CacheUnsafe: it is a link, not a directory, somebody else's, or writable by others
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    if stat.S_ISLNK(status.st_mode):
        raise _unsafe(path, "it is a symbolic link", "Name the directory that it points to.")
    if not stat.S_ISDIR(status.st_mode):
        raise _unsafe(path, "it is not a directory", "Choose another path.")
    if status.st_uid != os.geteuid():
        raise _unsafe(
            path,
            f"it belongs to user id {status.st_uid}, not to {os.geteuid()} who runs this task",
            "Run the task as its owner, or choose another path.",
        )
    if status.st_mode & _WRITABLE_BY_OTHERS:
        raise _unsafe(
            path,
            f"its permissions {stat.S_IMODE(status.st_mode):04o} let other users write",
            "Set its mode to 0700.",
        )
    return True


def _require_volume(path: str) -> None:
    volume = volumes.volume_of(path)
    where = f"the {volume.kind or 'unknown'} volume {volume.mount_point}"
    reason = volumes.unsuitable(volume)
    if reason is not None:
        raise VolumeUnsuitable(
            f"Using {path} for the cache was refused: it lies on {where}, and {reason}.",
            "Choose a directory on a local APFS volume (on Linux: ext4, XFS or Btrfs).",
            {"file_system": volume.kind, "mount_point": volume.mount_point},
        )
    if volume.ignores_owners:
        raise _unsafe(
            path,
            f"{where} ignores owners, so every user of this Mac could change what is in it",
            f"Enable owners with: sudo diskutil enableOwnership {shlex.quote(volume.mount_point)}. The role "
            "catalog_host does so for a cache with `volume`.",
        )


def _unsafe(path: str, reason: str, hint: str) -> CacheUnsafe:
    return CacheUnsafe(f"Using {path} for the cache was refused: {reason}.", hint)


def _resolve_existing(path: str) -> t.Tuple[str, t.List[str]]:
    """Check each directory on a path. Returns the real path of what exists, and the names that are missing."""
    current = "/"
    waiting = _names(path)
    links = 0
    _require_unchangeable(current)
    while waiting:
        name = waiting.pop(0)
        if name == "..":
            current = os.path.dirname(current)
            continue
        step = os.path.join(current, name)
        try:
            status = os.lstat(step)
        except FileNotFoundError:
            return current, [name, *waiting]
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > _MOST_LINKS:
                raise _unsafe(path, "its path has too many symbolic links", "Name the directory itself.")
            _require_own_link(step, status, current)
            target = os.readlink(step)
            if os.path.isabs(target):
                current = "/"
            waiting = _names(target) + waiting
            continue
        if not stat.S_ISDIR(status.st_mode):
            raise _unsafe(path, f"{step} is not a directory", "Choose another path.")
        _require_unchangeable(step)
        current = step
    return current, []


def _require_own_link(path: str, status: os.stat_result, directory: str) -> None:
    """Refuse a link of another user in a directory where others may add names: its owner can point it elsewhere."""
    if os.lstat(directory).st_mode & _WRITABLE_BY_OTHERS and status.st_uid not in {0, os.geteuid()}:
        raise _unsafe(
            path,
            f"this symbolic link on the way to it belongs to user id {status.st_uid}, who could point it elsewhere",
            "Choose a path that does not lead through it.",
        )


def _names(path: str) -> t.List[str]:
    return [name for name in path.split("/") if name not in {"", "."}]


def _require_unchangeable(directory: str) -> None:
    status = os.lstat(directory)
    if status.st_uid not in {0, os.geteuid()}:
        raise _unsafe(
            directory,
            f"this directory above it belongs to user id {status.st_uid}, who could replace what is in it",
            "Choose a path below directories of root and of the cache's owner.",
        )
    # In a sticky directory, such as /tmp, others can add names but not replace ours.
    if status.st_mode & _WRITABLE_BY_OTHERS and not status.st_mode & stat.S_ISVTX:
        raise _unsafe(
            directory,
            f"the permissions {stat.S_IMODE(status.st_mode):04o} of this directory above it let other users write",
            f"Take the write permission away with: sudo chmod go-w {shlex.quote(directory)}, or choose another path. "
            "For the root of a volume, the role catalog_host does so for a cache with `volume`.",
        )
