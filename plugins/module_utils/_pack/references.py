# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Which files a bundle needs, and whether it has them. Pure.

Two kinds of XML name files: ``config.pvs`` the devices of the virtual machine, ``DiskDescriptor.xml`` the images of
one disk (qemu's docs/interop/prl-xml.txt). Parallels Desktop writes the path of a device relative to the bundle if it
lies inside, otherwise absolute, and reads an absolute one as it is (``CVmDevice`` of the Parallels SDK).
"""

from __future__ import annotations

import posixpath
import typing as t
from dataclasses import dataclass
from xml.etree import ElementTree

from ansible_collections.macfleet.parallels.plugins.module_utils._pack.paths import folded

CONFIGURATION = "config.pvs"
DESCRIPTOR = "DiskDescriptor.xml"
_SECTOR_BYTES = 512
_MOST_DIGITS = 20
# HardDiskEmulatedType of the Parallels SDK: 0 is a physical disk, 1 an image file, any other a partition (Boot Camp).
_IMAGE_FILE = "1"
# Guest tools, which every Mac with Parallels Desktop has.
_OF_PARALLELS_DESKTOP = "/Applications/Parallels Desktop.app/"


class MalformedDescription(ValueError):
    """A description is not one that Parallels Desktop writes."""


@dataclass(frozen=True)
class Device:
    """A device of ``config.pvs``; ``kind`` is its tag, ``name`` the path of its image or of what it passes through.

    ``is_used`` says that it is enabled and connected.
    """

    kind: str
    name: str
    is_used: bool
    is_image: bool


@dataclass(frozen=True)
class Image:
    """An image of a ``DiskDescriptor.xml``.

    ``least_bytes`` is the size that a plain one must have, else 0. An expandable one has a header and a table.
    """

    name: str
    least_bytes: int
    is_expandable: bool = False


@dataclass(frozen=True)
class Problem:
    """Something that a bundle refers to and that a copy of it would not have.

    ``path`` is what is named, ``named_in`` where. ``is_fatal`` says that the virtual machine does not work without it.
    """

    path: str
    named_in: str
    reason: str
    hint: str
    is_fatal: bool = True


@dataclass(frozen=True)
class Contents:
    """What a bundle holds: sizes of its files and names of its directories, by folded path.

    ``roots`` are the absolute paths of the bundle, as given and without links.
    """

    roots: tuple[str, ...]
    files: t.Mapping[str, int]
    directories: t.AbstractSet[str]

    @classmethod
    def of(cls, roots: tuple[str, ...], files: t.Mapping[str, int], directories: t.Iterable[str]) -> Contents:
        """Returns the contents of a bundle from paths as they are."""
        return cls(
            roots,
            {folded(path): size for path, size in files.items()},
            frozenset(folded(path) for path in directories),
        )


def parse_devices(data: bytes) -> tuple[Device, ...]:
    """Returns the disks and drives of a ``config.pvs`` that name something.

    :raises MalformedDescription: it is not valid
    """
    document = _document(data)
    found = []
    for kind in ("Hdd", "CdRom", "Fdd"):
        for element in document.iterfind(f".//{kind}"):
            name = _text(element, "SystemName")
            if name:
                is_used = _text(element, "Enabled") != "0" and _text(element, "Connected") != "0"
                is_image = _text(element, "EmulatedType") in ("", _IMAGE_FILE) and not name.startswith("/dev/")
                found.append(Device(kind, name, is_used, is_image))
    return tuple(found)


def parse_images(data: bytes) -> tuple[Image, ...]:
    """Returns the images of a ``DiskDescriptor.xml``.

    :raises MalformedDescription: it is not valid
    """
    found = []
    for storage in _document(data).iterfind(".//Storage"):
        length_bytes = (_number(storage, "End") - _number(storage, "Start")) * _SECTOR_BYTES
        for element in storage.iterfind(".//Image"):
            name = _text(element, "File")
            if name:
                kind = _text(element, "Type")
                found.append(Image(name, max(0, length_bytes) if kind == "Plain" else 0, kind == "Compressed"))
    return tuple(found)


def parse_uuid(data: bytes) -> str:
    """Returns the UUID of the virtual machine as a ``config.pvs`` writes it, or "" if it has none.

    :raises MalformedDescription: it is not valid
    """
    return (_document(data).findtext("Identification/VmUuid") or "").strip()


def check_devices(devices: t.Iterable[Device], contents: Contents) -> t.Iterator[Problem]:
    """Tell what the devices of ``config.pvs`` name and the bundle does not hold."""
    for device in devices:
        if device.is_used and device.kind == "Hdd":
            yield from _check_disk(device, contents)
        elif device.is_used and device.is_image:
            yield from _check_medium(device, contents)


def check_images(
    images: t.Iterable[Image], descriptor: str, contents: Contents, *, is_used: bool
) -> t.Iterator[Problem]:
    """Tell what the ``descriptor`` of a disk names and the bundle does not hold in full.

    ``is_used`` says that a device uses the disk: without one, no virtual machine misses it.
    """
    for image in images:
        path = posixpath.join(posixpath.dirname(descriptor), image.name)
        problem = _check_place(path, image.name, descriptor, contents, is_used)
        if problem is None:
            size = contents.files.get(_key(path))
            if size is None:
                problem = Problem(image.name, descriptor, "is missing", _MISSING_HINT, is_used)
            elif size < image.least_bytes:
                reason = f"is cut short: it has {size} bytes of {image.least_bytes}"
                problem = Problem(image.name, descriptor, reason, _MISSING_HINT, is_used)
        if problem is not None:
            yield problem


def places(images: t.Iterable[Image], descriptor: str) -> frozenset[str]:
    """Returns the folded paths in the bundle of the images that the ``descriptor`` of a disk names."""
    return frozenset(_key(posixpath.join(posixpath.dirname(descriptor), image.name)) for image in images)


def used_disks(devices: t.Iterable[Device]) -> frozenset[str]:
    """Returns the folded paths of the disks that devices use."""
    return frozenset(_key(device.name) for device in devices if device.kind == "Hdd" and device.is_used)


_MISSING_HINT = (
    "See whether the virtual machine starts. Restore the disk from a backup, or remove it from the virtual machine, "
    "and push it again."
)
_PHYSICAL_HINT = "Move the guest to a virtual disk, or remove the physical one from the virtual machine."
_OUTSIDE_HINT = (
    "Make the virtual machine independent (a linked clone: convert it to a full one; another disk: move it into the "
    "bundle), and push it again."
)
_ABSOLUTE_HINT = (
    "Change any setting of the virtual machine in Parallels Desktop, which then writes the path relative to the "
    "bundle, and push it again."
)


def _check_disk(device: Device, contents: Contents) -> t.Iterator[Problem]:
    key = _key(device.name)
    is_here = key in contents.files or key in contents.directories
    if not device.is_image and not is_here:
        reason = "is a physical disk or a partition of one (Boot Camp), which is not part of the bundle"
        yield Problem(device.name, CONFIGURATION, reason, _PHYSICAL_HINT)
        return
    problem = _check_place(device.name, device.name, CONFIGURATION, contents, True)
    if problem is None and key not in contents.files:
        if not is_here:
            problem = Problem(device.name, CONFIGURATION, "is missing", _MISSING_HINT)
        elif not any(path.startswith(key + "/") for path in contents.files):
            problem = Problem(device.name, CONFIGURATION, "is empty", _MISSING_HINT)
        elif f"{key}/{folded(DESCRIPTOR)}" not in contents.files:
            problem = Problem(device.name, CONFIGURATION, f"has no {DESCRIPTOR}", _MISSING_HINT)
    if problem is not None:
        yield problem


def _check_medium(device: Device, contents: Contents) -> t.Iterator[Problem]:
    if device.name.startswith(_OF_PARALLELS_DESKTOP):
        return
    is_inside = _check_place(device.name, device.name, CONFIGURATION, contents, False) is None
    if not is_inside or _key(device.name) not in contents.files:
        kind = {"CdRom": "CD or DVD image", "Fdd": "floppy disk image"}[device.kind]
        reason = f"is a {kind} that is not part of the bundle"
        yield Problem(device.name, CONFIGURATION, reason, "Disconnect it if no virtual machine needs it.", False)


def _check_place(path: str, name: str, named_in: str, contents: Contents, is_fatal: bool) -> t.Optional[Problem]:
    """Returns the problem of a path that leads out of the bundle, or is absolute."""
    if name.startswith("/"):
        if any(_key(name).startswith(_key(root) + "/") for root in contents.roots):
            reason = "is named by its absolute path on this Mac, which leads to another file, or none, on any other"
            return Problem(name, named_in, reason, _ABSOLUTE_HINT, is_fatal)
        return Problem(name, named_in, "lies outside of it", _OUTSIDE_HINT, is_fatal)
    normal = posixpath.normpath(path)
    if normal == ".." or normal.startswith("../"):
        return Problem(name, named_in, "lies outside of it", _OUTSIDE_HINT, is_fatal)
    return None


def _key(path: str) -> str:
    return folded(posixpath.normpath(path))


def _document(data: bytes) -> ElementTree.Element:
    # A document type could make the parser expand entities without end.
    if b"<!DOCTYPE" in data:
        raise MalformedDescription("it has a document type, which Parallels Desktop does not write")
    try:
        # As text: whatever other encoding the file declares could hide a document type.
        return ElementTree.fromstring(data.decode("utf-8-sig"))
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise MalformedDescription(f"it is not valid XML: {error}") from error


def _text(element: ElementTree.Element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()


def _number(element: ElementTree.Element, tag: str) -> int:
    text = _text(element, tag)
    return int(text) if text.isascii() and text.isdigit() and len(text) < _MOST_DIGITS else 0
