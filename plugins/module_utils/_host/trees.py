# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Directory trees of ours: their modes, and their way to the disk.

Callers translate OSError.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import os
import stat
import sys
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base import pipeline
from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import fsync_directory
from ansible_collections.macfleet.parallels.plugins.module_utils._base.trees import (
    Found,
    remove_directory,
    walk,
)

# A file system writes the changes of several waiting fsyncs in one go.
FSYNCS_AT_ONCE = 8
_LOCKS = stat.UF_IMMUTABLE | stat.UF_APPEND | stat.SF_IMMUTABLE | stat.SF_APPEND
# macOS sys/acl.h
_ACL_TYPE_EXTENDED = 0x00000100


@dataclasses.dataclass(frozen=True)
class Unremoved:
    """What :func:`remove` had to leave, and what the system said."""

    path: str
    reason: str


def seal(root: str) -> t.Tuple[Found, ...]:
    """Make everything from ``root`` down read-only and durable; each file is opened and fsynced once.

    Files become 0444, or 0555 where they were executable; directories 0755. Returns what is below ``root``, sorted by
    path, with the status that it has then: nothing in it changes any more unless somebody writes. The volume is not
    flushed.
    """
    found = tuple(walk(root))
    files = (item for item in found if item.is_file)
    with contextlib.closing(
        pipeline.unordered_map(
            lambda item: _sealed_file(root, item), files, workers=FSYNCS_AT_ONCE, window=4 * FSYNCS_AT_ONCE
        )
    ) as stage:
        sealed = list(stage)
    sealed += [_sealed_directory(root, item) for item in reversed(found) if item.is_directory]
    sealed += [item for item in found if not (item.is_file or item.is_directory)]
    os.chmod(root, 0o755)
    fsync_directory(root)
    return tuple(sorted(sealed, key=lambda item: item.path))


def _sealed_file(root: str, item: Found) -> Found:
    path = os.path.join(root, item.disk_path)
    unlock(path, item.status)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fchmod(descriptor, 0o555 if item.status.st_mode & stat.S_IXUSR else 0o444)
        os.fsync(descriptor)
        return dataclasses.replace(item, status=os.fstat(descriptor))
    finally:
        os.close(descriptor)


def _sealed_directory(root: str, item: Found) -> Found:
    path = os.path.join(root, item.disk_path)
    unlock(path, item.status)
    os.chmod(path, 0o755)
    fsync_directory(path)
    return dataclasses.replace(item, status=os.lstat(path))


def make_writable(root: str) -> None:
    """Give ourselves the permission to write whatever lies below ``root``."""
    for found in walk(root):
        path = os.path.join(root, found.disk_path)
        mode = stat.S_IMODE(found.status.st_mode)
        unlock(path, found.status)
        if not found.is_link and not mode & stat.S_IWUSR:
            os.chmod(path, mode | stat.S_IWUSR)


def unlock(path: str, status: os.stat_result) -> None:
    """Take off what Finder calls "Locked" (``uchg``) and its relatives; does nothing on other systems than macOS.

    While a file has such a flag, neither its owner nor root can change or remove it.
    """
    if sys.platform == "darwin" and status.st_flags & _LOCKS:
        os.lchflags(path, status.st_flags & ~_LOCKS)


def remove(path: str) -> t.Tuple[Unremoved, ...]:
    """Remove a file, or a directory with all that is in it. A path that does not exist is not an error.

    What is locked is unlocked, and directories are made writable, where that is needed. Returns what could not be
    removed all the same, without the directories that hold it.
    """
    if not _tried_to_remove(path):
        return ()
    with contextlib.suppress(OSError):
        _loosen(path, os.lstat(path))
        # A directory is read after it was yielded, so what is done to it here lets the walk enter it.
        for found in walk(path):
            _loosen(os.path.join(path, found.disk_path), found.status)
    return _tried_to_remove(path)


def _tried_to_remove(path: str) -> t.Tuple[Unremoved, ...]:
    left: t.List[Unremoved] = []

    def note(failed: str, error: OSError) -> None:
        number = error.errno
        # Another process may remove the same at this time; a directory that holds something noted is not noted itself.
        if number != errno.ENOENT and not (number == errno.ENOTEMPTY and left):
            left.append(Unremoved(failed, os.strerror(number) if number else str(error)))

    if os.path.isdir(path) and not os.path.islink(path):
        remove_directory(path, note)
        return tuple(left)
    try:
        os.unlink(path)
    except OSError as error:
        note(path, error)
    return tuple(left)


def _loosen(path: str, status: os.stat_result) -> None:
    unlock(path, status)
    if stat.S_ISLNK(status.st_mode):
        return
    _drop_access_list(path)
    if stat.S_ISDIR(status.st_mode):
        os.chmod(path, stat.S_IMODE(status.st_mode) | stat.S_IRWXU)


def _drop_access_list(path: str) -> None:
    """Give a file of macOS an empty access control list: one that says "deny delete" binds the owner, too."""
    if sys.platform == "darwin":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.acl_init.restype = ctypes.c_void_p
        empty = ctypes.c_void_p(libc.acl_init(0))
        libc.acl_set_file(os.fsencode(path), ctypes.c_int(_ACL_TYPE_EXTENDED), empty)
        libc.acl_free(empty)


def read_regular_file(path: str, largest_bytes: int) -> bytes:
    """The content of a file that is not a link, device or pipe.

    :raises ValueError: it is not a regular file, or larger than ``largest_bytes``
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise ValueError("it is not a regular file")
        data = stream.read(largest_bytes + 1)
    if len(data) > largest_bytes:
        raise ValueError(f"it is larger than {largest_bytes} bytes")
    return data
