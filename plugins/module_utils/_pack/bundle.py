# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""A bundle as it lies on a disk: what is in it, and why it cannot be packed.

What is refused and what is left out is written in ``docs/pack-format.md``, "What a writer refuses".
"""

from __future__ import annotations

import contextlib
import os
import stat
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._base import trees
from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import Stamp
from ansible_collections.macfleet.parallels.plugins.module_utils._base.holders import is_held
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks, disks, hds, paths, reading, walk
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import (
    BundleChanged,
    BundleInUse,
    InvalidBundle,
    UnsafePath,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    DIRECTORY,
    FILE,
    LINK,
    MAX_CHUNKS,
    MAX_ENTRIES,
    MAX_TEXT_BYTES,
    Entry,
)

BUNDLE_TYPES = {".pvm": "pvm", ".macvm": "macvm"}
_NAME_HINT = "Name the directory of one virtual machine, Name.pvm or Name.macvm."
# Reading a hole costs about this part of reading as many bytes from a disk.
_HOLE_COST = 32
# sys/stat.h of Darwin: the content was evicted, and is fetched when it is read.
_SF_DATALESS = 0x40000000


@dataclass(frozen=True)
class Snapshot:
    """A bundle as it was found.

    ``entries`` are in canonical order with their chunk numbers; ``disk_paths`` are their names as the file
    system spells them, ``stamps`` the stamps of the regular files by path. ``warnings`` tell what a copy will lack.
    """

    root: str
    name: str
    type: str
    chunk_size: int
    entries: tuple[Entry, ...]
    disk_paths: tuple[str, ...]
    stamps: t.Mapping[str, Stamp]
    warnings: tuple[str, ...] = ()

    @property
    def logical_bytes(self) -> int:
        """Sum of the sizes of the files."""
        return sum(entry.size for entry in self.entries)


def inspect(root: str, chunk_size: int, *, allow_suspended: bool = False) -> Snapshot:
    """Walk the bundle at ``root`` without changing anything.

    :raises InvalidBundle: it is not a bundle, or holds something that cannot be packed
    :raises UnsafePath: two names would be one, or a link leaves the bundle
    :raises BundleInUse: a VM runs from it, or is suspended in it and that is not allowed
    :raises UnreadableBundle: the operating system cannot read something in it
    """
    root = root.rstrip("/")
    bundle_type = _bundle_type(root)
    walked = walk.walk(root)
    _check_links(root, walked.found)
    _check_not_in_use(root, walked, allow_suspended)
    entries: list[Entry] = []
    stamps: dict[str, Stamp] = {}
    first_chunk = 0
    for item in walked.found:
        entry = _entry(root, item, chunk_size, first_chunk)
        entries.append(entry)
        first_chunk += entry.chunk_count
        if entry.kind == FILE:
            stamps[entry.path] = Stamp.of(item.status)
    _check_paths(root, entries)
    _check_limits(root, entries, chunk_size)
    warnings = disks.check(root, bundle_type, walked.found)
    return Snapshot(
        root,
        os.path.basename(root),
        bundle_type,
        chunk_size,
        tuple(entries),
        tuple(item.disk_path for item in walked.found),
        stamps,
        warnings,
    )


@dataclass(frozen=True)
class Extent:
    """How much a bundle holds."""

    files: int
    logical_bytes: int

    def most_chunks(self, chunk_size: int) -> int:
        """Returns the most chunks that it can have: two of each file may be short, that of its header and its last."""
        return self.logical_bytes // chunk_size + 2 * self.files


def measure(root: str) -> Extent:
    """Returns the extent of the bundle at ``root``, without a look into its files.

    :raises InvalidBundle: it is not a bundle
    :raises BundleChanged, UnreadableBundle: see ``reading``
    """
    root = root.rstrip("/")
    _bundle_type(root)
    sizes = [item.status.st_size for item in walk.walk(root).found if item.is_file]
    return Extent(len(sizes), sum(sizes))


def bytes_to_read(root: str) -> int:
    """Returns about how many bytes a push has to get from the disk or from iCloud: a quick look, with no check.

    A file without blocks was evicted, or is one large hole; either takes its time. 0 if there is nothing.
    """
    total = 0
    for directory, _names, files in os.walk(root):
        for name in files:
            # Whoever reads the bundle will say that something vanished.
            with contextlib.suppress(OSError):
                total += _bytes_to_read(os.lstat(os.path.join(directory, name)))
    return total


def _bytes_to_read(status: os.stat_result) -> int:
    if status.st_blocks == 0 or getattr(status, "st_flags", 0) & _SF_DATALESS:
        return status.st_size
    return max(status.st_blocks * 512, status.st_size // _HOLE_COST)


def check_unchanged(snapshot: Snapshot, *, allow_suspended: bool = False) -> None:
    """Repeat every check and compare with what was found before.

    :raises BundleChanged: something was written, added or removed since
    """
    again = inspect(snapshot.root, snapshot.chunk_size, allow_suspended=allow_suspended)
    before = {entry.path: (entry, snapshot.stamps.get(entry.path)) for entry in snapshot.entries}
    after = {entry.path: (entry, again.stamps.get(entry.path)) for entry in again.entries}
    for path in sorted(set(before) | set(after)):
        if before.get(path) != after.get(path):
            raise BundleChanged(
                f"The bundle {snapshot.root} changed while it was read ({path}).",
                hint="Stop the virtual machine, leave the bundle alone, and push it again.",
            )


def _bundle_type(root: str) -> str:
    extension = os.path.splitext(root)[1].lower()
    if not os.path.lexists(root):
        raise InvalidBundle(f"There is no bundle at {root}.", hint=_NAME_HINT)
    if os.path.islink(root) or not os.path.isdir(root):
        raise InvalidBundle(f"{root} is not a directory, so it is not a bundle.", hint=_NAME_HINT)
    if extension not in BUNDLE_TYPES:
        raise InvalidBundle(f"{root} does not end in .pvm or .macvm, so it is not a bundle.", hint=_NAME_HINT)
    return BUNDLE_TYPES[extension]


def _check_links(root: str, found: t.Sequence[trees.Found]) -> None:
    inside: dict[tuple[int, int], int] = {}
    linked = [item for item in found if item.is_file and item.status.st_nlink > 1]
    for item in linked:
        key = (item.status.st_dev, item.status.st_ino)
        inside[key] = inside.get(key, 0) + 1
    for item in linked:
        if inside[(item.status.st_dev, item.status.st_ino)] != item.status.st_nlink:
            raise InvalidBundle(
                f"The file {item.path} of the bundle {root} has a hard link outside the bundle.",
                hint="Replace it by a copy of its own.",
            )


def _entry(root: str, item: trees.Found, chunk_size: int, first_chunk: int) -> Entry:
    if item.is_directory:
        return Entry(DIRECTORY, item.path)
    if item.is_link:
        return Entry(LINK, item.path, target=walk.link_target(root, item))
    if not item.is_file:
        raise InvalidBundle(
            f"{item.path} in the bundle {root} is a device, socket or pipe, which a bundle cannot hold.",
            hint="Remove it from the bundle.",
        )
    header = _image_header(root, item)
    data_start = header.data_start if header else 0
    return Entry(
        FILE,
        item.path,
        executable=bool(item.status.st_mode & stat.S_IXUSR),
        size=item.status.st_size,
        data_start=data_start,
        first_chunk=first_chunk,
        chunk_count=chunks.chunk_count(item.status.st_size, data_start, chunk_size),
    )


def _image_header(root: str, item: trees.Found) -> t.Optional[hds.ImageHeader]:
    if item.status.st_size < hds.HEADER_BYTES:
        return None
    head = reading.read_range(root, item.disk_path, 0, hds.HEADER_BYTES)
    header = hds.read_header(head, item.status.st_size)
    if header and header.in_use:
        raise BundleInUse(
            f"The disk image {item.path} of the bundle {root} is marked as in use:"
            " its virtual machine runs or crashed.",
            hint="Shut the virtual machine down (start it once, if it crashed), and push it again.",
        )
    return header


def _check_paths(root: str, entries: t.Sequence[Entry]) -> None:
    try:
        for entry in entries:
            paths.check_path(entry.path)
            if entry.kind == LINK:
                paths.check_link(entry.path, entry.target)
        paths.check_unique(entry.path for entry in entries)
    except UnsafePath as error:
        raise UnsafePath(
            f"The bundle {root} cannot be packed: {error.message}",
            hint="Rename it in the bundle, and push it again.",
        ) from error


def _check_limits(root: str, entries: t.Sequence[Entry], chunk_size: int) -> None:
    references = sum(entry.chunk_count for entry in entries)
    if references > MAX_CHUNKS:
        raise InvalidBundle(
            f"The bundle {root} has {references} chunks of {chunk_size} bytes, more than the {MAX_CHUNKS} of a pack.",
            hint="Push it with a larger chunk_size.",
        )
    text_bytes = sum(len(entry.path.encode("utf-8")) for entry in entries)
    if len(entries) > MAX_ENTRIES or text_bytes > MAX_TEXT_BYTES:
        raise InvalidBundle(f"The bundle {root} has {len(entries)} files and directories, more than a pack can hold.")


def _check_not_in_use(root: str, walked: walk.Walked, allow_suspended: bool) -> None:
    for path in walked.locks:
        # The file alone means nothing: Parallels Desktop leaves it behind.
        if is_held(os.path.join(root, path)):
            raise BundleInUse(
                f"A program holds the lock {path} of the bundle {root}: its virtual machine runs.",
                hint="Shut the virtual machine down, and push it again.",
            )
    for path in walked.memory:
        if not allow_suspended:
            raise BundleInUse(
                f"The bundle {root} holds the memory of a suspended virtual machine ({path}).",
                hint="Resume it (start it, if it is stopped) and shut it down, or set allow_suspended to true.",
            )
