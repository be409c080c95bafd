# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Walks a bundle and refuses what cannot be packed.

What is refused and what is left out is written in ``docs/pack-format.md``, "What a writer refuses".
"""

from __future__ import annotations

import contextlib
import os
import stat
import typing as t
import unicodedata
from dataclasses import dataclass
from xml.etree import ElementTree

from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import Stamp
from ansible_collections.macfleet.parallels.plugins.module_utils._base.left_out import is_left_out
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks, hds, paths
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
_MAX_DESCRIPTOR_BYTES = 1 << 20
_MAX_CONFIG_BYTES = 16 << 20
_LOCK_SUFFIXES = (".lock", ".lck")
_MEMORY_SUFFIXES = (".sav", ".mem")


@dataclass(frozen=True)
class Snapshot:
    """A bundle as it was found.

    ``entries`` are in canonical order with their chunk numbers; ``disk_paths`` are their names as the file
    system spells them, ``stamps`` the stamps of the regular files by path.
    """

    root: str
    name: str
    type: str
    chunk_size: int
    entries: tuple[Entry, ...]
    disk_paths: tuple[str, ...]
    stamps: t.Mapping[str, Stamp]

    @property
    def logical_bytes(self) -> int:
        """Sum of the sizes of the files."""
        return sum(entry.size for entry in self.entries)


@dataclass(frozen=True)
class _Found:
    path: str
    disk_path: str
    status: os.stat_result


def inspect(root: str, chunk_size: int, *, allow_suspended: bool = False) -> Snapshot:
    """Walk the bundle at ``root`` without changing anything.

    :raises InvalidBundle: it is no bundle, or holds something that cannot be packed
    :raises UnsafePath: two names would be one, or a link leaves the bundle
    :raises BundleInUse: a VM runs from it, or is suspended in it and that is not allowed
    """
    root = root.rstrip("/")
    bundle_type = _bundle_type(root)
    found = sorted(_walk(root), key=lambda item: item.path.encode("utf-8"))
    _check_links(root, found)
    entries: list[Entry] = []
    stamps: dict[str, Stamp] = {}
    first_chunk = 0
    for item in found:
        entry = _entry(root, item, chunk_size, first_chunk)
        entries.append(entry)
        first_chunk += entry.chunk_count
        if entry.kind == FILE:
            stamps[entry.path] = Stamp.of(item.status)
    _check_paths(root, entries)
    _check_is_bundle(root, entries)
    _check_limits(root, entries, chunk_size)
    _check_not_in_use(root, entries, allow_suspended)
    _check_images(root, found)
    return Snapshot(
        root,
        os.path.basename(root),
        bundle_type,
        chunk_size,
        tuple(entries),
        tuple(item.disk_path for item in found),
        stamps,
    )


def allocated_bytes(root: str) -> int:
    """Bytes that a bundle takes on disk, or 0 when there is none: a quick look, with no check."""
    total = 0
    for directory, _names, files in os.walk(root):
        for name in files:
            # Whoever reads the bundle will say that something vanished.
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(directory, name)).st_blocks * 512
    return total


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


def open_file(snapshot_root: str, disk_path: str) -> int:
    """A descriptor for reading one file of a bundle; a link in place of it is refused."""
    try:
        return os.open(os.path.join(snapshot_root, disk_path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except PermissionError as error:
        raise InvalidBundle(
            f"The file {disk_path} of the bundle {snapshot_root} cannot be read ({error.strerror}).",
            hint="Run the task as the user who owns the virtual machine.",
        ) from error
    except OSError as error:
        raise BundleChanged(
            f"The file {disk_path} of the bundle {snapshot_root} cannot be read any more ({error.strerror}).",
            hint="Leave the bundle alone while it is read, and push it again.",
        ) from error


def read_into(descriptor: int, view: memoryview, offset: int) -> int:
    """Fill ``view`` from ``offset`` of a file; the number of bytes that were there."""
    done = 0
    while done < len(view):
        count = _read_once(descriptor, view[done:], offset + done)
        if count == 0:
            break
        done += count
    return done


def _read_once(descriptor: int, view: memoryview, offset: int) -> int:
    # A Python that was built for macOS 10.15 or older has no preadv.
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [view], offset)
    data = os.pread(descriptor, len(view), offset)
    view[: len(data)] = data
    return len(data)


def _bundle_type(root: str) -> str:
    hint = "Name the directory of one virtual machine, Name.pvm or Name.macvm."
    extension = os.path.splitext(root)[1].lower()
    if not os.path.lexists(root):
        raise InvalidBundle(f"There is no bundle at {root}.", hint=hint)
    if os.path.islink(root) or not os.path.isdir(root):
        raise InvalidBundle(f"{root} is not a directory, so it is no bundle.", hint=hint)
    if extension not in BUNDLE_TYPES:
        raise InvalidBundle(f"The directory {root} does not end in .pvm or .macvm, so it is no bundle.", hint=hint)
    return BUNDLE_TYPES[extension]


def _walk(root: str) -> t.Iterator[_Found]:
    pending = [""]
    suspended = False
    while pending:
        directory = pending.pop()
        try:
            children = list(os.scandir(os.path.join(root, directory)))
        except OSError as error:
            raise InvalidBundle(
                f"The directory {os.path.join(root, directory)} cannot be read ({error.strerror})."
            ) from error
        if not directory:
            suspended = any(child.name.lower().endswith(_MEMORY_SUFFIXES) for child in children)
        for child in children:
            disk_path = f"{directory}/{child.name}" if directory else child.name
            try:
                path = unicodedata.normalize("NFC", os.fsencode(disk_path).decode("utf-8"))
                if is_left_out(path, suspended=suspended):
                    continue
                status = child.stat(follow_symlinks=False)
            except UnicodeDecodeError as error:
                raise InvalidBundle(f"The name {disk_path!r} in the bundle {root} is not UTF-8.") from error
            except FileNotFoundError as error:
                raise BundleChanged(f"{disk_path} vanished while the bundle {root} was read.") from error
            except OSError as error:
                raise InvalidBundle(f"{disk_path} in the bundle {root} cannot be read ({error.strerror}).") from error
            yield _Found(path, disk_path, status)
            if stat.S_ISDIR(status.st_mode):
                pending.append(disk_path)


def _check_links(root: str, found: t.Sequence[_Found]) -> None:
    inside: dict[tuple[int, int], int] = {}
    linked = [item for item in found if stat.S_ISREG(item.status.st_mode) and item.status.st_nlink > 1]
    for item in linked:
        key = (item.status.st_dev, item.status.st_ino)
        inside[key] = inside.get(key, 0) + 1
    for item in linked:
        if inside[(item.status.st_dev, item.status.st_ino)] != item.status.st_nlink:
            raise InvalidBundle(
                f"The file {item.path} of the bundle {root} has a hard link outside the bundle.",
                hint="Replace it by a copy of its own.",
            )


def _entry(root: str, item: _Found, chunk_size: int, first_chunk: int) -> Entry:
    mode = item.status.st_mode
    if stat.S_ISDIR(mode):
        return Entry(DIRECTORY, item.path)
    if stat.S_ISLNK(mode):
        return Entry(LINK, item.path, target=_link_target(root, item))
    if not stat.S_ISREG(mode):
        raise InvalidBundle(
            f"{item.path} in the bundle {root} is a device, socket or pipe, which a bundle cannot hold.",
            hint="Remove it from the bundle.",
        )
    header = _image_header(root, item)
    data_start = header.data_start if header else 0
    return Entry(
        FILE,
        item.path,
        executable=bool(mode & stat.S_IXUSR),
        size=item.status.st_size,
        data_start=data_start,
        first_chunk=first_chunk,
        chunk_count=chunks.chunk_count(item.status.st_size, data_start, chunk_size),
    )


def _link_target(root: str, item: _Found) -> str:
    try:
        target = os.fsencode(os.readlink(os.path.join(root, item.disk_path))).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidBundle(f"The target of the link {item.path} in the bundle {root} is not UTF-8.") from error
    return unicodedata.normalize("NFC", target)


def _image_header(root: str, item: _Found) -> t.Optional[hds.ImageHeader]:
    if item.status.st_size < hds.HEADER_BYTES:
        return None
    descriptor = open_file(root, item.disk_path)
    try:
        header = hds.read_header(os.pread(descriptor, hds.HEADER_BYTES, 0), item.status.st_size)
    finally:
        os.close(descriptor)
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
            hint="Rename or remove it in the bundle, and push it again.",
        ) from error


def _check_is_bundle(root: str, entries: t.Sequence[Entry]) -> None:
    files = {entry.path for entry in entries if entry.kind == FILE}
    images = [entry for entry in entries if entry.kind == DIRECTORY and entry.path.lower().endswith(".hdd")]
    if "config.pvs" not in files or not images:
        raise InvalidBundle(
            f"The directory {root} has no config.pvs or no disk (*.hdd), so it is no bundle.",
            hint="Name the directory of one virtual machine, Name.pvm or Name.macvm.",
        )


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


def _check_not_in_use(root: str, entries: t.Sequence[Entry], allow_suspended: bool) -> None:
    for entry in entries:
        if entry.kind == FILE and entry.path.lower().endswith(_LOCK_SUFFIXES):
            raise BundleInUse(
                f"The bundle {root} holds the lock file {entry.path}: its virtual machine runs or crashed.",
                hint="Shut the virtual machine down, and push it again.",
            )
        at_top = "/" not in entry.path
        if at_top and entry.kind == FILE and entry.path.lower().endswith(_MEMORY_SUFFIXES) and not allow_suspended:
            raise BundleInUse(
                f"The bundle {root} holds the memory of a suspended virtual machine ({entry.path}).",
                hint="Resume and shut it down, or set allow_suspended to true.",
            )


def _check_images(root: str, found: t.Sequence[_Found]) -> None:
    for item in found:
        name = item.path.rpartition("/")[2]
        if name == "DiskDescriptor.xml":
            directory = os.path.dirname(item.path)
            for image in _texts(root, item, "File", _MAX_DESCRIPTOR_BYTES):
                _check_image(root, item.path, directory, image)
        elif item.path == "config.pvs":
            for image in _texts(root, item, "Hdd/SystemName", _MAX_CONFIG_BYTES):
                _check_image(root, item.path, "", image)


def _check_image(root: str, described_in: str, directory: str, image: str) -> None:
    where = os.path.normpath(os.path.join("/", directory, image)) if not image.startswith("/") else image
    relative = os.path.normpath(os.path.join(directory, image))
    if image.startswith("/") or relative == ".." or relative.startswith("../"):
        raise InvalidBundle(
            f"The bundle {root} uses the disk image {image}, which lies outside it (named in {described_in}).",
            hint="Make the virtual machine independent (a linked clone: convert it to a full one), and push it again.",
            details={"image": where},
        )


def _texts(root: str, item: _Found, tag: str, limit: int) -> list[str]:
    descriptor = open_file(root, item.disk_path)
    with os.fdopen(descriptor, "rb") as stream:
        data = stream.read(limit + 1)
    # A document type could make the parser expand entities without end.
    if len(data) > limit or b"<!DOCTYPE" in data:
        raise InvalidBundle(f"The file {item.path} of the bundle {root} is not one that Parallels Desktop writes.")
    try:
        # As text: whatever other encoding the file declares could hide a document type.
        document = ElementTree.fromstring(data.decode("utf-8-sig"))
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise InvalidBundle(f"The file {item.path} of the bundle {root} is not valid XML ({error}).") from error
    return [element.text.strip() for element in document.iterfind(f".//{tag}") if element.text and element.text.strip()]
