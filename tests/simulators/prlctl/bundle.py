# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What lies in a bundle: its config.pvs, its disk images, and the marks that a running VM leaves."""

from __future__ import annotations

import contextlib
import os
import struct
import typing as t
from xml.etree import ElementTree

from .arguments import Refused

# In expandable disk images, while their VM runs and after it was shut down.
HDS_MAGICS = (b"WithoutFreeSpace", b"WithouFreSpacExt")
HDS_IN_USE_OFFSET = 44
HDS_IN_USE = 0x746F6E59
HDS_CLOSED = 0x312E3276

LOCK = "vm.lock"
# What a suspended VM had in its memory, and the state of its devices, at the top of the bundle.
MEMORY_SUFFIXES = (".mem", ".sav")


class Bundle:
    """A directory with a config.pvs."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.config_path = os.path.join(path, "config.pvs")
        self._tree = ElementTree.parse(self.config_path)
        if self._tree.getroot().tag != "ParallelsVirtualMachine":
            raise ElementTree.ParseError("not the configuration of a virtual machine")

    @property
    def is_mac(self) -> bool:
        return self.path.endswith(".macvm")

    def text(self, path: str, default: str = "") -> str:
        return self._tree.findtext(path) or default

    def set_text(self, path: str, text: str) -> None:
        element = self._tree.getroot()
        for tag in path.split("/"):
            found = element.find(tag)
            element = ElementTree.SubElement(element, tag) if found is None else found
        element.text = text

    def macs(self) -> t.List[str]:
        return [adapter.findtext("MAC") or "" for adapter in self._tree.findall("Hardware/NetworkAdapter")]

    def set_mac(self, number: int, mac: str) -> None:
        adapter = self._tree.findall("Hardware/NetworkAdapter")[number]
        element = adapter.find("MAC")
        if element is None:
            element = ElementTree.SubElement(adapter, "MAC")
        element.text = mac

    def disks(self) -> t.List[t.Tuple[str, str]]:
        return [
            (disk.findtext("SystemName") or "", disk.findtext("Size") or "65536")
            for disk in self._tree.findall("Hardware/Hdd")
        ]

    def save(self) -> None:
        with open(self.config_path, "wb") as stream:
            self._tree.write(stream, encoding="UTF-8", xml_declaration=True)

    def images(self) -> t.Iterator[str]:
        for directory, _names, files in os.walk(self.path):
            for name in files:
                if name.endswith(".hds"):
                    yield os.path.join(directory, name)

    @property
    def saved_state(self) -> t.List[str]:
        """The files of a suspended VM."""
        return [name for name in os.listdir(self.path) if name.lower().endswith(MEMORY_SUFFIXES)]

    def save_memory(self, uuid: str) -> None:
        """Write what a suspended VM leaves."""
        for suffix in MEMORY_SUFFIXES:
            with open(os.path.join(self.path, f"{{{uuid}}}{suffix}"), "wb") as stream:
                stream.write(os.urandom(4096))

    def drop_memory(self) -> None:
        """Remove what a suspended VM has left."""
        for name in self.saved_state:
            os.unlink(os.path.join(self.path, name))

    def lock(self) -> None:
        """Leave the mark of a running VM."""
        with open(os.path.join(self.path, LOCK), "wb"):
            pass

    def unlock(self) -> None:
        """Remove that mark."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.path, LOCK))

    def mark_in_use(self, in_use: bool) -> None:
        for image in self.images():
            with open(image, "r+b") as stream:
                if stream.read(16) in HDS_MAGICS:
                    stream.seek(HDS_IN_USE_OFFSET)
                    stream.write(struct.pack("<I", HDS_IN_USE if in_use else HDS_CLOSED))


def check_bundle(path: str) -> Bundle:
    """What Parallels Desktop wants to find in a bundle before it registers it."""
    if not os.path.isdir(path):
        raise Refused(f"Failed to register the VM: The virtual machine bundle {path} does not exist.")
    if path.endswith(".macvm"):
        wanted = ["config.pvs", "aux.bin", "machw.bin", "macid.bin"]
    elif path.endswith(".pvm"):
        wanted = ["config.pvs", "NVRAM.dat"]
    else:
        raise Refused(f"Failed to register the VM: {path} is not a virtual machine bundle.")
    for name in wanted:
        if not os.path.isfile(os.path.join(path, name)):
            raise Refused(f"Failed to register the VM: The file {name} is missing in {path}.")
    if not any(name.endswith(".hdd") for name in os.listdir(path)):
        raise Refused(f"Failed to register the VM: There is no virtual disk in {path}.")
    if not is_writable(path) or not is_writable(os.path.join(path, "config.pvs")):
        raise Refused(f"Failed to register the VM: You do not have enough rights to use {path}.")
    try:
        return Bundle(path)
    except (OSError, ElementTree.ParseError) as error:
        raise Refused(f"Failed to register the VM: The virtual machine configuration is invalid ({error}).") from error


def is_writable(path: str) -> bool:
    # The mode, since root could write anything.
    return bool(os.stat(path).st_mode & 0o200)
