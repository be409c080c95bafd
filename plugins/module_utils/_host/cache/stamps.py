# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What tells that nobody has changed a bundle since its content was proved: a stamp for each thing in it.

A file is stamped by its inode, size and times, a link by its target, a directory by being there.
"""

from __future__ import annotations

import dataclasses
import os
import posixpath
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base import trees
from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import Stamp
from ansible_collections.macfleet.parallels.plugins.module_utils._base.left_out import is_left_out
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CacheError, translated


@dataclasses.dataclass(frozen=True)
class TreeStamps:
    """The stamps of a bundle by path (relative, NFC)."""

    files: t.Mapping[str, Stamp] = dataclasses.field(default_factory=dict)
    links: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    directories: t.FrozenSet[str] = frozenset()

    @property
    def paths(self) -> t.FrozenSet[str]:
        """Everything that is stamped."""
        return frozenset((*self.files, *self.links, *self.directories))

    def only(self, paths: t.Collection[str]) -> TreeStamps:
        """Return the stamps of these paths alone."""
        return TreeStamps(
            {path: stamp for path, stamp in self.files.items() if path in paths},
            {path: target for path, target in self.links.items() if path in paths},
            frozenset(path for path in self.directories if path in paths),
        )


@dataclasses.dataclass(frozen=True)
class Difference:
    """How a bundle differs from its stamps: paths that changed or are missing, and paths that were added (strays).

    Of an added directory only the directory is named. What belongs to the Mac, such as files of Finder, is no stray.
    """

    changed: t.FrozenSet[str]
    strays: t.Tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.changed or self.strays)


def read_stamps(bundle_path: str, directories: t.Collection[str]) -> TreeStamps:
    """Return the present stamps of a bundle that should have these ``directories``.

    Any other directory is stamped, but not read: it is a stray, however much is in it.

    :raises CacheError: it cannot be read
    """
    with translated(CacheError, f"Examining {bundle_path}"):
        return stamps_of(bundle_path, trees.walk(bundle_path, enter=lambda found: found.path in directories))


def stamps_of(bundle_path: str, tree: t.Iterable[trees.Found]) -> TreeStamps:
    """Return the stamps of what a walk through a bundle has found. Callers translate OSError."""
    files: t.Dict[str, Stamp] = {}
    links: t.Dict[str, str] = {}
    directories = set()
    for found in tree:
        if found.is_directory:
            directories.add(found.path)
        elif found.is_link:
            links[found.path] = os.readlink(os.path.join(bundle_path, found.disk_path))
        else:
            files[found.path] = Stamp.of(found.status)
    return TreeStamps(files, links, frozenset(directories))


def compare(recorded: TreeStamps, seen: TreeStamps) -> Difference:
    """Return how what is seen differs from what was recorded. Pure."""
    changed = {path for path, stamp in recorded.files.items() if seen.files.get(path) != stamp}
    changed |= {path for path, target in recorded.links.items() if seen.links.get(path) != target}
    changed |= recorded.directories - seen.directories
    added = seen.paths - recorded.paths
    strays = [path for path in added if posixpath.dirname(path) not in added and not is_left_out(path)]
    return Difference(frozenset(changed), tuple(sorted(strays)))


def written_since(before: TreeStamps, now: TreeStamps) -> Difference:
    """Return how a bundle differs from ``before``, if its permissions may have been changed meanwhile. Pure.

    A change of permissions moves the ctime of a file; its inode, size and mtime stay.
    """
    return compare(_without_ctime(before), _without_ctime(now))


def _without_ctime(stamps: TreeStamps) -> TreeStamps:
    files = {path: dataclasses.replace(stamp, ctime_ns=0) for path, stamp in stamps.files.items()}
    return dataclasses.replace(stamps, files=files)
