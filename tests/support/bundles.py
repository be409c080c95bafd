# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sample virtual machines: bundles as Parallels Desktop lays them out.

``make_bundle`` builds one around any disk content, cheap enough for unit tests; ``SampleVm`` puts a guest's
real file system in it and lets time pass.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import typing as t
import uuid

from . import expandable
from .guest_disk import Change, GuestDisk

MIB = 1 << 20
GIB = 1 << 30

PVM = "pvm"
MACVM = "macvm"
PLAIN = "plain"
EXPANDABLE = "expandable"


class Size(t.NamedTuple):
    """Size of a guest's disk, and of the files in it; fewer, but the least, will do where the machine has no more."""

    logical_bytes: int
    data_bytes: int
    least_data_bytes: t.Optional[int] = None


SMALL = Size(64 * MIB, 20 * MIB)
DEMO = Size(6 * GIB, 400 * MIB, 100 * MIB)
BENCH = Size(16 * GIB, int(4.4 * GIB))

_CONFIG = """<?xml version="1.0" encoding="UTF-8"?>
<ParallelsVirtualMachine schemaVersion="1.0" dyn_lists="VirtualAppliance 0">
   <Identification dyn_lists="">
      <VmUuid>{{{vm_uuid}}}</VmUuid>
      <SourceVmUuid>{{{vm_uuid}}}</SourceVmUuid>
      <LinkedVmUuid></LinkedVmUuid>
      <LinkedSnapshotUuid></LinkedSnapshotUuid>
      <VmName>{name}</VmName>
   </Identification>
   <Settings dyn_lists="">
      <General dyn_lists="">
         <OsType>{os_type}</OsType>
         <VmDescription></VmDescription>
      </General>
   </Settings>
   <Hardware dyn_lists="Hdd 0 NetworkAdapter 0">
      <Cpu dyn_lists=""><Number>2</Number></Cpu>
      <Memory dyn_lists=""><RAM>4096</RAM></Memory>
      <Hdd id="0" dyn_lists="">
         <SystemName>{hdd}</SystemName>
         <Size>{size_mib}</Size>
      </Hdd>
      <NetworkAdapter id="0" dyn_lists="">
         <MAC>001C42{mac}</MAC>
         <EmulatedType>1</EmulatedType>
      </NetworkAdapter>
   </Hardware>
</ParallelsVirtualMachine>
"""

_DESCRIPTOR = """<?xml version="1.0" encoding="UTF-8"?>
<Parallels_disk_image Version="1.0">
    <Disk_Parameters>
        <Disk_size>{sectors}</Disk_size>
        <Cylinders>{cylinders}</Cylinders>
        <Heads>16</Heads>
        <Sectors>63</Sectors>
        <Padding>0</Padding>
    </Disk_Parameters>
    <StorageData>
        <Storage>
            <Start>0</Start>
            <End>{sectors}</End>
            <Blocksize>{block_sectors}</Blocksize>
            <Image>
                <GUID>{{{guid}}}</GUID>
                <Type>{type}</Type>
                <File>{file}</File>
            </Image>
        </Storage>
    </StorageData>
    <Snapshots>
        <TopGUID>{{{guid}}}</TopGUID>
        <Shot>
            <GUID>{{{guid}}}</GUID>
            <ParentGUID>{{00000000-0000-0000-0000-000000000000}}</ParentGUID>
        </Shot>
    </Snapshots>
</Parallels_disk_image>
"""

_TOP_SNAPSHOT = "5fbaabe3-6958-40ff-92a7-860e329aab41"


def bundle_path(directory: str, name: str, kind: str = PVM) -> str:
    """Where the bundle of a name lies in ``directory``."""
    return os.path.join(directory, f"{name}.{kind}")


def image_path(bundle: str) -> str:
    """The disk image inside a bundle made here."""
    hdd = "disk0.hdd" if bundle.endswith("." + MACVM) else "harddisk.hdd"
    return os.path.join(bundle, hdd, f"{hdd}.0.{{{_TOP_SNAPSHOT}}}.hds")


def make_shell(directory: str, name: str, kind: str, disk: str, disk_bytes: int) -> str:
    """Everything of a bundle but the disk image; returns the bundle's path."""
    bundle = bundle_path(directory, name, kind)
    image = image_path(bundle)
    os.makedirs(os.path.dirname(image))
    seed = hashlib.sha256(name.encode()).digest()
    config = _CONFIG.format(
        vm_uuid=uuid.UUID(bytes=seed[:16], version=4),
        name=name,
        os_type="macos" if kind == MACVM else "debian",
        hdd=os.path.basename(os.path.dirname(image)),
        size_mib=disk_bytes // MIB,
        mac=seed[:3].hex().upper(),
    )
    descriptor = _DESCRIPTOR.format(
        sectors=disk_bytes // expandable.SECTOR_BYTES,
        cylinders=disk_bytes // expandable.SECTOR_BYTES // (16 * 63),
        block_sectors=expandable.CLUSTER_BYTES // expandable.SECTOR_BYTES,
        guid=_TOP_SNAPSHOT,
        type="Compressed" if disk == EXPANDABLE else "Plain",
        file=os.path.basename(image),
    )
    _write(os.path.join(bundle, "config.pvs"), config.encode())
    _write(os.path.join(os.path.dirname(image), "DiskDescriptor.xml"), descriptor.encode())
    if kind == MACVM:
        # On a Mac these are a file of firmware variables and two small property lists.
        _write(os.path.join(bundle, "aux.bin"), seed * 1024)
        _write(os.path.join(bundle, "machw.bin"), b"bplist00" + seed * 4)
        _write(os.path.join(bundle, "macid.bin"), b"bplist00" + seed * 2)
    else:
        _write(os.path.join(bundle, "NVRAM.dat"), seed + bytes(128 * 1024 - len(seed)))
        # Parallels Desktop leaves an empty file of the disk's name beside the descriptor.
        _write(os.path.join(os.path.dirname(image), os.path.basename(os.path.dirname(image))), b"")
    return bundle


def make_bundle(
    directory: str,
    content: bytes,
    name: str = "sample",
    kind: str = PVM,
    disk: str = EXPANDABLE,
    magic: bytes = expandable.MAGIC,
    cluster_bytes: int = expandable.CLUSTER_BYTES,
) -> str:
    """A bundle whose guest disk holds ``content``; returns its path."""
    bundle = make_shell(directory, name, kind, disk, len(content))
    if disk == PLAIN:
        _write(image_path(bundle), content)
        return bundle
    raw = os.path.join(directory, f"{name}.raw")
    _write(raw, content)
    expandable.synchronise(raw, image_path(bundle), cluster_bytes, magic)
    os.unlink(raw)
    return bundle


class SampleVm:
    """A bundle with a guest's real file system in it.

    Beside the bundle lies ``<name>.guest``: the record of the guest's files and, when the image is
    expandable, the guest's disk as it sees it.
    """

    def __init__(self, bundle: str, disk: str, guest: GuestDisk) -> None:
        self.bundle = bundle
        self.guest = guest
        self._disk = disk

    @classmethod
    def create(
        cls, directory: str, name: str = "sample", kind: str = PVM, disk: str = EXPANDABLE, size: Size = SMALL
    ) -> SampleVm:
        """Make it in ``directory``. A macvm knows plain disks only."""
        if kind == MACVM and disk != PLAIN:
            raise ValueError("a macvm has a plain disk")
        bundle = make_shell(directory, name, kind, disk, size.logical_bytes)
        image, state = _guest_paths(bundle, disk)
        os.makedirs(os.path.dirname(state), exist_ok=True)
        made = cls(bundle, disk, GuestDisk.create(image, state, *size))
        made._carry_over()
        return made

    @classmethod
    def load(cls, directory: str, name: str = "sample", kind: str = PVM, disk: str = EXPANDABLE) -> SampleVm:
        """Take up one made earlier with the same arguments."""
        bundle = bundle_path(directory, name, kind)
        return cls(bundle, disk, GuestDisk.load(*_guest_paths(bundle, disk)))

    def copy_to(self, directory: str) -> SampleVm:
        """The same machine in another directory, as a clone where the file system has them."""
        os.makedirs(directory, exist_ok=True)
        for path in (self.bundle, _guest_directory(self.bundle)):
            subprocess.run(["cp", "-a", "--reflink=auto", "--sparse=always", path, directory], check=True)
        bundle = os.path.join(directory, os.path.basename(self.bundle))
        return type(self)(bundle, self._disk, GuestDisk.load(*_guest_paths(bundle, self._disk)))

    def update(self, share: float, seed: int = 1, by: str = "directory") -> Change:
        """Let the guest replace a share of its bytes, file by file."""
        change = self.guest.update(share, seed, by)
        self._carry_over()
        return change

    def boot(self, writes: int = 2000, seed: int = 1) -> Change:
        """Let the guest write scattered blocks."""
        change = self.guest.boot(writes, seed)
        self._carry_over()
        return change

    def _carry_over(self) -> None:
        if self._disk == EXPANDABLE:
            expandable.synchronise(self.guest.image, image_path(self.bundle))


def _guest_directory(bundle: str) -> str:
    return os.path.splitext(bundle)[0] + ".guest"


def _guest_paths(bundle: str, disk: str) -> t.Tuple[str, str]:
    directory = _guest_directory(bundle)
    image = image_path(bundle) if disk == PLAIN else os.path.join(directory, "disk.raw")
    return image, os.path.join(directory, "files.json")


def _write(path: str, content: bytes) -> None:
    with open(path, "wb") as stream:
        stream.write(content)
