# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Copies of bundles, file by file, that share their blocks with the original where the file system can do that.

Apple discourages cloning whole directories by clonefile(2), so a bundle is walked. The copy grows under a hidden name
beside its final one, and gets that by one rename after everything in it was flushed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import stat
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base import pipeline
from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import (
    flush_volume,
    fsync_directory,
    lies_at,
    rename_durably,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._base.trees import Found, walk
from ansible_collections.macfleet.parallels.plugins.module_utils._host import trees
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CloneFailed, PathTaken, translated
from ansible_collections.macfleet.parallels.plugins.module_utils._host.file_clone import COPY, make_clone

# What rename(2) says of a directory that somebody else has made there meanwhile.
_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY})


@dataclasses.dataclass(frozen=True)
class CloneResult:
    """What making a bundle took; ``method`` is ``copy`` as soon as one file had to be copied."""

    method: str
    files: int
    bytes_copied: int


def clone_tree(
    source: str,
    destination: str,
    *,
    private: bool = True,
    prepare: t.Optional[t.Callable[[str], None]] = None,
    temporary: t.Optional[str] = None,
) -> CloneResult:
    """Make ``destination`` a writable copy of the bundle ``source``; nothing half-made ever has its name.

    Directories get 0700 and files 0600, or 0755 and 0644 when not ``private``; the owner's executable bit is kept.
    ``prepare`` may change the copy, whose present path it is given, before it gets its name; it fsyncs the files that
    it writes. The copy grows at ``temporary``, a path beside the destination, by default :func:`temporary_path`.
    Whatever an earlier, interrupted attempt left there is removed; the caller holds a lock on it.

    :raises PathTaken: the destination exists
    """
    attempted = f"Making {destination} from {source}"
    temporary = temporary or temporary_path(destination)
    with translated(CloneFailed, attempted):
        if lies_at(destination):
            raise _taken(attempted, destination)
        remove_tree(temporary)
        try:
            directories, clones = _clone_into(source, temporary, private)
            if prepare is not None:
                prepare(temporary)
            for directory in directories:
                fsync_directory(directory)
            flush_volume(temporary)
            rename_durably(temporary, destination)
        except BaseException as error:
            trees.remove(temporary)
            if isinstance(error, OSError) and error.errno in _TAKEN:
                raise _taken(attempted, destination) from error
            raise
    return _summary(clones)


def _taken(attempted: str, destination: str) -> PathTaken:
    return PathTaken(f"{attempted} failed: {destination} exists.", "Move it away or choose another name.")


def temporary_path(destination: str) -> str:
    """Where a bundle grows before it gets its name: hidden, and without the extension of a bundle."""
    directory, name = os.path.split(destination)
    return os.path.join(directory, f".{name}.incomplete")


def remove_tree(path: str) -> None:
    """Remove a directory with all that is in it. A path that does not exist is not an error.

    :raises CloneFailed: something could not be removed; ``details`` names each such path
    """
    left = trees.remove(path)
    if left:
        others = f" and {len(left) - 1} more" if len(left) > 1 else ""
        raise CloneFailed(
            f"Removing {path} failed: {left[0].reason} ({left[0].path}{others}).",
            "Remove it by hand as its owner or as root.",
            {"left": [dataclasses.asdict(item) for item in left]},
        )


def _clone_into(source: str, destination: str, private: bool) -> t.Tuple[t.List[str], t.List[t.Tuple[str, int]]]:
    """Fill a new directory. Returns its directories, the innermost first, and method and bytes written of each file.

    Each file is fsynced while it is open.
    """
    found = tuple(walk(source))
    directories = [destination, *(os.path.join(destination, item.disk_path) for item in found if item.is_directory)]
    for directory in directories:
        os.mkdir(directory, 0o700)
    for item in found:
        path = os.path.join(source, item.disk_path)
        if item.is_link:
            os.symlink(os.readlink(path), os.path.join(destination, item.disk_path))
        elif not (item.is_directory or item.is_file):
            raise CloneFailed(f"Cloning {path} failed: it is not a file, directory or link.")

    def clone(item: Found) -> t.Tuple[str, int]:
        target = os.path.join(destination, item.disk_path)
        mode = _file_mode(item.status.st_mode, private)
        return make_clone(os.path.join(source, item.disk_path), target, mode, durable=True)

    workers = trees.FSYNCS_AT_ONCE
    files = (item for item in found if item.is_file)
    with contextlib.closing(pipeline.unordered_map(clone, files, workers=workers, window=4 * workers)) as stage:
        clones = list(stage)
    if not private:
        for directory in directories:
            os.chmod(directory, 0o755)
    return directories[::-1], clones


def _summary(clones: t.Sequence[t.Tuple[str, int]]) -> CloneResult:
    methods = {method for method, _copied in clones}
    method = methods.pop() if len(methods) == 1 else COPY
    return CloneResult(method, len(clones), sum(copied for _method, copied in clones))


def _file_mode(source_mode: int, private: bool) -> int:
    mode = 0o600 if private else 0o644
    # Of the three bits, a pack knows the owner's.
    if source_mode & stat.S_IXUSR:
        mode |= 0o100 if private else 0o111
    return mode
