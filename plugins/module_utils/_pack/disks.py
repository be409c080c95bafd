# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Checks that a bundle has the disks of its virtual machine, whole."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._base.trees import Found
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import hds, reading, references
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import InvalidBundle, PackError
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.paths import folded

MAX_DESCRIPTOR_BYTES = 1 << 20
MAX_CONFIGURATION_BYTES = 16 << 20
# Of an allocation table, so many bytes are in memory at a time.
_TABLE_BYTES = 1 << 20
# Names of the files of a macOS VM that Parallels Desktop 17 and 18 made (prl_macvm_create).
_OLD_MACVM = frozenset({"disk0.img", "aux.bin"})
_OLD_SETTINGS = "config.ini"

_DAMAGED_HINT = "See whether the virtual machine starts, and restore the disk from a backup."
_KIND_HINT = "Name the directory of one virtual machine, Name.pvm or Name.macvm."

_Parsed = t.TypeVar("_Parsed")


def check(root: str, bundle_type: str, found: t.Sequence[Found]) -> tuple[str, ...]:
    """Look whether everything that the virtual machine refers to is there and whole; returns warnings about the rest.

    :raises InvalidBundle: it is not a bundle, or its virtual machine would not work elsewhere
    """
    files = {item.path: item for item in found if item.is_file}
    directories = [item.path for item in found if item.is_directory]
    configuration = files.get(references.CONFIGURATION)
    if configuration is None:
        raise _no_configuration(root, bundle_type, files)
    devices = _parsed(root, configuration, MAX_CONFIGURATION_BYTES, references.parse_devices)
    if not any(path.lower().endswith(".hdd") for path in (*directories, *files)) and not _has_image(devices, files):
        raise InvalidBundle(f"The directory {root} has no disk (*.hdd), so it is not a bundle.", hint=_KIND_HINT)
    sizes = {path: item.status.st_size for path, item in files.items()}
    contents = references.Contents.of((os.path.abspath(root), os.path.realpath(root)), sizes, directories)
    problems = list(references.check_devices(devices, contents))
    images: set[str] = set()
    expandable: set[str] = set()
    for disk in _disks(root, devices, files):
        problems += references.check_images(disk.images, disk.descriptor, contents, is_used=disk.is_used)
        if disk.is_named and not disk.images:
            raise _names_no_image(root, disk)
        if disk.is_used:
            images |= references.places(disk.images, disk.descriptor)
            expandable |= references.places((image for image in disk.images if image.is_expandable), disk.descriptor)
    for problem in problems:
        if problem.is_fatal:
            raise _refusal(root, problem)
    for path, item in files.items():
        if folded(path) in images:
            _check_table(root, item, folded(path) in expandable)
    return tuple(_warning(root, problem) for problem in problems)


@dataclass(frozen=True)
class _Disk:
    """A disk with a descriptor. ``is_named`` says that a device names it; ``is_used``, that one may use it."""

    descriptor: str
    images: tuple[references.Image, ...]
    is_named: bool
    is_used: bool


def _disks(root: str, devices: t.Iterable[references.Device], files: t.Mapping[str, Found]) -> t.Iterator[_Disk]:
    used = references.used_disks(devices)
    for path, item in files.items():
        directory, _slash, name = path.rpartition("/")
        if folded(name) == folded(references.DESCRIPTOR):
            images = _parsed(root, item, MAX_DESCRIPTOR_BYTES, references.parse_images)
            is_named = folded(directory) in used
            # A configuration that names no disk at all is one of a kind that is not known.
            yield _Disk(path, images, is_named, is_named or not used)


def vm_uuid(root: str) -> str:
    """Returns the UUID in ``config.pvs`` as it is written there, or "" if it cannot be told: a look without checks."""
    try:
        data = reading.read_range(root, references.CONFIGURATION, 0, MAX_CONFIGURATION_BYTES)
        return references.parse_uuid(data)
    except (PackError, references.MalformedDescription):
        return ""


def _no_configuration(root: str, bundle_type: str, files: t.Mapping[str, Found]) -> InvalidBundle:
    if bundle_type == "macvm" and (files.keys() >= _OLD_MACVM or _OLD_SETTINGS in files):
        return InvalidBundle(
            f"The bundle {root} has no config.pvs: it is a macOS virtual machine as Parallels Desktop 17 made them.",
            hint="Open it once in a current Parallels Desktop, which converts it; shut it down, and push it again.",
        )
    return InvalidBundle(f"The directory {root} has no config.pvs, so it is not a bundle.", hint=_KIND_HINT)


def _has_image(devices: t.Iterable[references.Device], files: t.Mapping[str, Found]) -> bool:
    """Returns True if a disk is a file of its own, as in macOS virtual machines of Parallels Desktop 17 and 18."""
    names = {folded(path) for path in files}
    return "disk0.img" in names or any(folded(device.name) in names for device in devices if device.kind == "Hdd")


def _parsed(root: str, item: Found, limit: int, parse: t.Callable[[bytes], _Parsed]) -> _Parsed:
    data = reading.read_range(root, item.disk_path, 0, min(limit + 1, item.status.st_size))
    if len(data) > limit:
        raise InvalidBundle(f"The file {item.path} of the bundle {root} has more than {limit} bytes.")
    try:
        return parse(data)
    except references.MalformedDescription as error:
        raise InvalidBundle(
            f"The file {item.path} of the bundle {root} cannot be understood: {error}.",
            hint="See whether the virtual machine starts, and restore the file from a backup.",
        ) from error


def _refusal(root: str, problem: references.Problem) -> InvalidBundle:
    return InvalidBundle(
        f"The bundle {root} does not work on another Mac: {problem.path}, named in {problem.named_in}, "
        f"{problem.reason}.",
        hint=problem.hint,
        details={"path": problem.path, "named_in": problem.named_in},
    )


def _warning(root: str, problem: references.Problem) -> str:
    return (
        f"{problem.named_in} of the bundle {root} names {problem.path}, which {problem.reason}. "
        f"Virtual machines made from this version will be without it. {problem.hint}"
    )


def _names_no_image(root: str, disk: _Disk) -> InvalidBundle:
    return InvalidBundle(
        f"The disk {os.path.dirname(disk.descriptor)} of the bundle {root} is damaged: its {references.DESCRIPTOR} "
        "names no image.",
        hint=_DAMAGED_HINT,
        details={"path": disk.descriptor},
    )


def _check_table(root: str, item: Found, is_expandable: bool) -> None:
    """Refuse an expandable image that ends before its allocation table or a cluster that the table names.

    ``is_expandable`` says that the descriptor of the disk calls it so. Without a header it is damaged then.
    """
    size = item.status.st_size
    head = reading.read_range(root, item.disk_path, 0, min(size, hds.HEADER_BYTES))
    header = hds.read_header(head, size)
    if header is None:
        if is_expandable:
            raise _damaged(root, item, "it does not begin with the header of an expandable image")
        return
    if header.disk_bytes and not header.table_entries:
        raise _damaged(root, item, "its allocation table is empty")
    if header.table_end > size:
        raise _cut_short(root, item, f"its allocation table ends at {header.table_end}")
    for first in range(0, header.table_entries, _TABLE_BYTES // hds.ENTRY_BYTES):
        count = min(_TABLE_BYTES // hds.ENTRY_BYTES, header.table_entries - first)
        offset = hds.TABLE_OFFSET + first * hds.ENTRY_BYTES
        packed = reading.read_range(root, item.disk_path, offset, count * hds.ENTRY_BYTES)
        number = hds.first_outside(header, size, first, packed)
        if number is not None:
            raise _cut_short(root, item, f"cluster {number} of the disk lies behind that")


def _damaged(root: str, item: Found, reason: str) -> InvalidBundle:
    return InvalidBundle(
        f"The disk image {item.path} of the bundle {root} is damaged: {reason}.",
        hint=_DAMAGED_HINT,
        details={"path": item.path},
    )


def _cut_short(root: str, item: Found, reason: str) -> InvalidBundle:
    return InvalidBundle(
        f"The disk image {item.path} of the bundle {root} is cut short: it has {item.status.st_size} bytes, and "
        f"{reason}.",
        hint="Restore the disk from a backup. A copy on a FAT volume ends at 4 GiB.",
        details={"path": item.path},
    )
