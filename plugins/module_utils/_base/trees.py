# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The one way to walk a directory tree: in a fixed order, without following links, one lstat for each entry.

And the one way to remove it. Neither is recursive: a tree may be deeper than Python's stack, or than files may be open.
"""

from __future__ import annotations

import os
import stat
import typing as t
import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True)
class Found:
    """An entry of a tree.

    ``path`` is relative to the root, separated by ``/`` and in Unicode form NFC, as in a listing; ``disk_path`` is the
    same as the file system spells it. ``status`` is what lstat(2) said when the directory was read.
    """

    path: str
    disk_path: str
    status: os.stat_result

    @property
    def is_directory(self) -> bool:
        """True for a directory, not for a link to one."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        """True for a regular file, not for a link to one."""
        return stat.S_ISREG(self.status.st_mode)

    @property
    def is_link(self) -> bool:
        """True for a symbolic link."""
        return stat.S_ISLNK(self.status.st_mode)


def walk(
    root: str,
    *,
    left_out: t.Callable[[str], bool] = lambda path: False,
    enter: t.Callable[[Found], bool] = lambda found: True,
) -> t.Iterator[Found]:
    """Yield everything below ``root``, sorted by name; the content of a directory comes directly after it.

    What ``left_out`` returns True for, given its NFC path, is skipped together with all that is below it. A directory
    for which ``enter`` returns False is yielded, but not read. ``enter`` is asked after the directory was yielded, so
    a caller may remove an entry as soon as it has it, and must then return False for it.

    :raises OSError: a directory cannot be read, or an entry vanished meanwhile
    """
    pending = _children(root, "", "", left_out)
    while pending:
        found = pending.pop()
        yield found
        if found.is_directory and enter(found):
            pending += _children(root, found.path, found.disk_path, left_out)


def _children(root: str, path: str, disk_path: str, left_out: t.Callable[[str], bool]) -> list[Found]:
    """The entries of one directory, the last name first."""
    found = []
    with os.scandir(os.path.join(root, disk_path)) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name, reverse=True):
            own_path = _below(path, entry.name if entry.name.isascii() else unicodedata.normalize("NFC", entry.name))
            if not left_out(own_path):
                found.append(Found(own_path, _below(disk_path, entry.name), entry.stat(follow_symlinks=False)))
    return found


def _below(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name


def remove_directory(root: str, refused: t.Callable[[str, OSError], None]) -> None:
    """Remove a directory with all that is in it, as far as that is possible.

    ``refused`` is told the path and the error of each thing that stays; an exception of it ends the removal.
    """
    pending, directories = [root], []
    while pending:
        directory = pending.pop()
        directories.append(directory)
        try:
            pending += _emptied(directory, refused)
        except OSError as error:
            refused(directory, error)
    for directory in reversed(directories):
        try:
            os.rmdir(directory)
        except OSError as error:
            refused(directory, error)


def _emptied(directory: str, refused: t.Callable[[str, OSError], None]) -> list[str]:
    """Remove what is no directory from a directory; return the paths of those that are."""
    inner = []
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        with os.scandir(descriptor) as entries:
            children = list(entries)
        for child in children:
            path = os.path.join(directory, child.name)
            if child.is_dir(follow_symlinks=False):
                inner.append(path)
                continue
            try:
                os.unlink(child.name, dir_fd=descriptor)
            except OSError as error:
                refused(path, error)
    finally:
        os.close(descriptor)
    return inner
