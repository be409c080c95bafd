# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Directories of ours, walked without following links: their modes, and their way to the disk.

Callers translate OSError.
"""

from __future__ import annotations

import os
import stat
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import fsync_directory


def walk(directory: str) -> t.Iterator[os.DirEntry[str]]:
    """Everything below a directory, by name; what is inside a directory comes after it."""
    with os.scandir(directory) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from walk(entry.path)


def fsync_file(path: str) -> None:
    """Flush one regular file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(root: str) -> None:
    """Flush every file and directory from ``root`` down."""
    directories = [root]
    for entry in walk(root):
        if entry.is_dir(follow_symlinks=False):
            directories.append(entry.path)
        elif entry.is_file(follow_symlinks=False):
            fsync_file(entry.path)
    for directory in reversed(directories):
        fsync_directory(directory)


def make_read_only(root: str) -> None:
    """Files 0444, or 0555 where they were executable; directories 0755."""
    os.chmod(root, 0o755)
    for entry in walk(root):
        if entry.is_dir(follow_symlinks=False):
            os.chmod(entry.path, 0o755)
        elif entry.is_file(follow_symlinks=False):
            executable = entry.stat(follow_symlinks=False).st_mode & 0o111
            os.chmod(entry.path, 0o555 if executable else 0o444)


def make_writable(root: str) -> None:
    """Give ourselves the permission to write whatever lies below ``root``."""
    for entry in walk(root):
        if entry.is_symlink():
            continue
        mode = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
        if not mode & stat.S_IWUSR:
            os.chmod(entry.path, mode | stat.S_IWUSR)


def read_regular_file(path: str, largest_bytes: int) -> bytes:
    """The content of a file that is no link, device or pipe.

    :raises ValueError: it is no regular file, or larger than that
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise ValueError("it is no regular file")
        data = stream.read(largest_bytes + 1)
    if len(data) > largest_bytes:
        raise ValueError(f"it is larger than {largest_bytes} bytes")
    return data
