# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a bundle refers to: refused if a copy would not have it, warned of if it would do without."""

from __future__ import annotations

import os
import shutil
import struct
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import bundle, disks, references
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import InvalidBundle
from ansible_collections.macfleet.parallels.tests.support import bundles, expandable
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import (
    CHUNK,
    hds_head,
    hds_header,
    noise,
    write_file,
)

MIB = 1 << 20
DESCRIPTOR = "harddisk.hdd/DiskDescriptor.xml"


class Vm:
    """A virtual machine as Parallels Desktop lays it out, whose descriptions can be edited."""

    def __init__(self, directory: Path, kind: str = bundles.PVM, disk: str = bundles.EXPANDABLE) -> None:
        content = b"".join(noise(number, MIB) if number % 2 else bytes(MIB) for number in range(8))
        self.root = Path(bundles.make_bundle(str(directory), content, "Runner", kind, disk))
        self.image = Path(bundles.image_path(str(self.root)))

    @property
    def image_name(self) -> str:
        """Name of the disk image."""
        return self.image.name

    def add_device(self, xml: str) -> None:
        """Add a device to the configuration; ``@`` in it is the path of the bundle."""
        self.edit("config.pvs", "</Hardware>", xml.replace("@", str(self.root)) + "</Hardware>")

    def name_image(self, name: str) -> None:
        """Let the descriptor of the disk name another image."""
        self.edit(DESCRIPTOR, f"<File>{self.image_name}<", f"<File>{name}<")

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text in a description."""
        text = (self.root / path).read_text("utf-8")
        assert old in text
        (self.root / path).write_text(text.replace(old, new), "utf-8")

    def warnings(self) -> tuple[str, ...]:
        """What a push of it would warn of."""
        return bundle.inspect(str(self.root), CHUNK).warnings

    def refusal(self, *words: str) -> InvalidBundle:
        """The error of a push of it."""
        with pytest.raises(InvalidBundle) as caught:
            self.warnings()
        assert caught.value.hint
        for word in (str(self.root), *words):
            assert word in caught.value.message
        return caught.value


@pytest.fixture(name="vm")
def vm_fixture(tmp_path: Path) -> Vm:
    return Vm(tmp_path)


@pytest.mark.parametrize(
    ("kind", "disk"),
    [(bundles.PVM, bundles.EXPANDABLE), (bundles.PVM, bundles.PLAIN), (bundles.MACVM, bundles.PLAIN)],
)
def test_a_machine_that_has_everything(tmp_path: Path, kind: str, disk: str) -> None:
    assert Vm(tmp_path, kind, disk).warnings() == ()


# Disks that are not there


def test_an_image_whose_name_was_cut(vm: Vm) -> None:
    vm.image.rename(vm.image.with_name(vm.image_name[:-10]))
    error = vm.refusal(vm.image_name, DESCRIPTOR, "is missing")
    assert error.details == {"path": vm.image_name, "named_in": DESCRIPTOR}


def test_a_disk_that_is_missing(vm: Vm) -> None:
    shutil.rmtree(vm.root / "harddisk.hdd")
    write_file(vm.root / "other.hdd/x", b"")
    vm.refusal("harddisk.hdd", "config.pvs", "is missing")


def test_a_disk_that_was_renamed(vm: Vm) -> None:
    (vm.root / "harddisk.hdd").rename(vm.root / "harddisk renamed.hdd")
    vm.refusal("harddisk.hdd", "config.pvs", "is missing")


def test_a_disk_without_anything_in_it(vm: Vm) -> None:
    vm.add_device('<Hdd id="1"><SystemName>R&amp;D.hdd</SystemName></Hdd>')
    vm.refusal("R&D.hdd", "is missing")
    (vm.root / "R&D.hdd").mkdir()
    vm.refusal("R&D.hdd", "is empty")
    write_file(vm.root / "R&D.hdd/image", b"x")
    vm.refusal("R&D.hdd", "named in config.pvs", "has no DiskDescriptor.xml")
    shutil.copytree(vm.root / "harddisk.hdd", vm.root / "R&D.hdd", dirs_exist_ok=True)
    assert vm.warnings() == ()


def test_a_disk_whose_descriptor_is_lost(vm: Vm) -> None:
    (vm.root / DESCRIPTOR).unlink()
    vm.refusal("harddisk.hdd", "has no DiskDescriptor.xml")


@pytest.mark.parametrize(
    "storage",
    ["", "<Storage/>", "<Storage><Image><Type>Compressed</Type></Image></Storage>"],
    ids=["no storage", "no image", "no file"],
)
def test_a_disk_whose_descriptor_names_no_image(vm: Vm, storage: str) -> None:
    xml = f"<Parallels_disk_image><StorageData>{storage}</StorageData></Parallels_disk_image>"
    write_file(vm.root / DESCRIPTOR, xml.encode())
    error = vm.refusal("harddisk.hdd", "is damaged: its DiskDescriptor.xml names no image")
    assert error.details == {"path": DESCRIPTOR}


def test_a_disk_that_is_not_used_may_be_damaged(vm: Vm) -> None:
    write_file(vm.root / "old.hdd/DiskDescriptor.xml", b"<Parallels_disk_image/>")
    write_file(vm.root / "older.hdd/image", b"x")
    assert vm.warnings() == ()


def test_names_are_found_as_macos_finds_them(vm: Vm) -> None:
    # The default volume of a Mac ignores case and normal form.
    vm.add_device('<Hdd id="1"><SystemName>DATEN \u00c4.hdd</SystemName></Hdd>')
    disk = vm.root / "Daten A\u0308.hdd"
    shutil.copytree(vm.root / "harddisk.hdd", disk)
    (disk / "DiskDescriptor.xml").rename(disk / "diskdescriptor.XML")
    assert vm.warnings() == ()
    (disk / vm.image_name).unlink()
    vm.refusal(vm.image_name, "diskdescriptor.XML", "is missing")


# Disks that are cut short


def test_an_image_that_was_cut_to_half(vm: Vm) -> None:
    os.truncate(vm.image, 3 * MIB)
    error = vm.refusal(vm.image_name, "is cut short", f"{3 * MIB} bytes", "cluster 5")
    assert "4 GiB" in (error.hint or "")


@pytest.mark.parametrize("magic", [expandable.MAGIC, expandable.OLD_MAGIC])
@pytest.mark.parametrize("cluster_bytes", [1 << 20, 252 * 1024])
def test_the_last_byte_of_an_image_counts(tmp_path: Path, magic: bytes, cluster_bytes: int) -> None:
    content = noise(1, 4 * cluster_bytes)
    root = bundles.make_bundle(str(tmp_path), content, magic=magic, cluster_bytes=cluster_bytes)
    assert bundle.inspect(root, CHUNK).warnings == ()
    image = bundles.image_path(root)
    os.truncate(image, os.path.getsize(image) - 1)
    with pytest.raises(InvalidBundle, match="cut short"):
        bundle.inspect(root, CHUNK)


def test_an_image_that_ends_in_its_table(vm: Vm) -> None:
    vm.image.write_bytes(hds_header(table_entries=1 << 20).ljust(MIB, b"\0"))
    vm.refusal(vm.image_name, "is cut short", "allocation table ends at")


def test_a_large_table_is_read_in_parts(vm: Vm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks, "_TABLE_BYTES", 64)
    vm.image.write_bytes(hds_head(MIB, [*range(1, 41), 999]) + noise(1, 40 * MIB))
    vm.refusal("cluster 40 ")
    with vm.image.open("r+b") as stream:
        stream.seek(64 + 40 * 4)
        stream.write(struct.pack("<I", 40))
    assert vm.warnings() == ()


@pytest.mark.parametrize(
    "head", [b"", bytes(63), bytes(64), bytes(4 * MIB), b"\xff" * 4096], ids=["empty", "63", "64", "zeros", "noise"]
)
def test_an_expandable_image_without_its_header(vm: Vm, head: bytes) -> None:
    vm.image.write_bytes(head)
    vm.refusal(vm.image_name, "is damaged", "header of an expandable image")


def test_an_expandable_image_without_a_table(vm: Vm) -> None:
    with vm.image.open("r+b") as stream:
        stream.seek(32)
        stream.write(struct.pack("<I", 0))
    vm.refusal(vm.image_name, "allocation table is empty")


def test_a_plain_image_that_is_shorter_than_its_disk(tmp_path: Path) -> None:
    vm = Vm(tmp_path, bundles.MACVM, bundles.PLAIN)
    os.truncate(vm.image, 8 * MIB - 512)
    vm.refusal(vm.image_name, "is cut short", f"{8 * MIB - 512} bytes of {8 * MIB}")


def test_each_part_of_a_split_disk_has_its_own_size(vm: Vm) -> None:
    storages = "".join(
        f"<Storage><Start>{start}</Start><End>{end}</End><Image><Type>Plain</Type><File>part{start}</File></Image>"
        "</Storage>"
        for start, end in ((0, 100), (100, 150))
    )
    xml = f"<Parallels_disk_image><StorageData>{storages}</StorageData></Parallels_disk_image>"
    write_file(vm.root / DESCRIPTOR, xml.encode())
    write_file(vm.root / "harddisk.hdd/part0", bytes(51200))
    write_file(vm.root / "harddisk.hdd/part100", bytes(25600))
    assert vm.warnings() == ()
    write_file(vm.root / "harddisk.hdd/part100", bytes(25599))
    vm.refusal("part100", "is cut short")


# Disks elsewhere


@pytest.mark.parametrize(
    "name", ["/Users/x/base.hdd/base.hds", "../../base.pvm/a.hds", "../../../a.hds", "a/../../../a.hds", "/"]
)
def test_an_image_outside_the_bundle(vm: Vm, name: str) -> None:
    vm.name_image(name)
    assert "full one" in (vm.refusal(name, "lies outside", DESCRIPTOR).hint or "")


@pytest.mark.parametrize("name", ["/Users/x/Parallels/data.hdd", "../data.hdd", "a/../../data.hdd"])
def test_a_disk_outside_the_bundle(vm: Vm, name: str) -> None:
    vm.add_device(f'<Hdd id="1"><SystemName>{name}</SystemName></Hdd>')
    vm.refusal(name, "lies outside", "config.pvs")


def test_an_absolute_path_into_the_bundle(vm: Vm) -> None:
    vm.add_device('<Hdd id="1"><SystemName>@/harddisk.hdd</SystemName></Hdd>')
    error = vm.refusal(f"{vm.root}/harddisk.hdd", "absolute path on this Mac")
    assert "outside" not in error.message
    assert "relative" in (error.hint or "")


def test_an_absolute_path_into_the_bundle_through_a_link(vm: Vm, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    vm.name_image(f"{vm.root}/harddisk.hdd/{vm.image_name}")
    with pytest.raises(InvalidBundle, match="absolute path on this Mac"):
        bundle.inspect(str(tmp_path / "link" / vm.root.name), CHUNK)


@pytest.mark.parametrize("name", ["@", "../harddisk.hdd/@", "./@", "sub/../@", " \n @ \n "])
def test_an_image_inside_the_bundle(vm: Vm, name: str) -> None:
    vm.name_image(name.replace("@", vm.image_name))
    assert vm.warnings() == ()


@pytest.mark.parametrize(
    "xml",
    [
        "<EmulatedType>0</EmulatedType><SystemName>disk0</SystemName>"
        '<Partition id="0"><SystemName>disk0s3</SystemName></Partition>',
        "<EmulatedType>0</EmulatedType><SystemName>/dev/disk0</SystemName>",
        "<EmulatedType>3</EmulatedType><SystemName>disk0</SystemName>",
        "<EmulatedType>1</EmulatedType><SystemName>/dev/disk2</SystemName>",
    ],
)
def test_a_physical_disk(vm: Vm, xml: str) -> None:
    vm.add_device(f'<Hdd id="1">{xml}</Hdd>')
    vm.refusal("config.pvs", "is a physical disk or a partition of one (Boot Camp)")


# What a machine does without


@pytest.mark.parametrize("state", ["<Enabled>0</Enabled>", "<Enabled>1</Enabled><Connected>0</Connected>"])
@pytest.mark.parametrize("name", ["/Volumes/Old/data.hdd", "missing.hdd", "/dev/disk4", "../data.hdd"])
def test_a_disk_that_is_not_used(vm: Vm, state: str, name: str) -> None:
    vm.add_device(f'<Hdd id="1">{state}<SystemName>{name}</SystemName></Hdd>')
    assert vm.warnings() == ()


def test_the_images_of_a_disk_that_is_not_used(vm: Vm) -> None:
    xml = (vm.root / DESCRIPTOR).read_text("utf-8").replace(f"<File>{vm.image_name}<", "<File>gone.hds<")
    write_file(vm.root / "old.hdd/DiskDescriptor.xml", xml.encode())
    (warning,) = vm.warnings()
    assert "old.hdd/DiskDescriptor.xml" in warning
    assert "gone.hds, which is missing" in warning


MEDIA = [
    ("CdRom", "/Users/x/Downloads/win.iso", "CD or DVD image"),
    ("CdRom", "missing.iso", "CD or DVD image"),
    ("CdRom", "../win.iso", "CD or DVD image"),
    ("Fdd", "/var/folders/zz/T/packer743941934", "floppy disk image"),
]


@pytest.mark.parametrize(("kind", "name", "what"), MEDIA)
def test_a_medium_elsewhere_is_warned_of(vm: Vm, kind: str, name: str, what: str) -> None:
    vm.add_device(f'<{kind} id="0"><EmulatedType>1</EmulatedType><SystemName>{name}</SystemName></{kind}>')
    (warning,) = vm.warnings()
    for word in (str(vm.root), name, what, "config.pvs"):
        assert word in warning


@pytest.mark.parametrize(
    "xml",
    [
        "<EmulatedType>0</EmulatedType><SystemName>Default CD/DVD-ROM</SystemName>",
        "<Connected>0</Connected><EmulatedType>1</EmulatedType><SystemName>/Users/x/a.iso</SystemName>",
        "<Enabled>0</Enabled><EmulatedType>1</EmulatedType><SystemName>/Users/x/a.iso</SystemName>",
        "<EmulatedType>1</EmulatedType><SystemName></SystemName>",
        "<EmulatedType>1</EmulatedType><SystemName>seed.iso</SystemName>",
        "<EmulatedType>1</EmulatedType><SystemName>/Applications/Parallels Desktop.app/Contents/Resources/Tools/"
        "prl-tools-lin-arm.iso</SystemName>",
    ],
)
def test_a_medium_that_nobody_misses(vm: Vm, xml: str) -> None:
    write_file(vm.root / "seed.iso", b"x")
    vm.add_device(f'<CdRom id="0">{xml}</CdRom>')
    assert vm.warnings() == ()


# Old layouts


def old_macvm(directory: Path) -> Path:
    """A macOS virtual machine as prl_macvm_create of Parallels Desktop 17 makes it."""
    root = directory / "Monterey.macvm"
    for name in ("disk0.img", "aux.bin", "machw.bin", "macid.bin"):
        write_file(root / name, noise(1, 1000))
    return root


@pytest.mark.parametrize("has_settings", [True, False])
def test_a_macvm_without_configuration_is_named_with_what_to_do(tmp_path: Path, has_settings: bool) -> None:
    root = old_macvm(tmp_path)
    if has_settings:
        write_file(root / "config.ini", b"[Hardware]\nvCPU.Count=2\n")
    with pytest.raises(InvalidBundle, match="Parallels Desktop 17") as caught:
        bundle.inspect(str(root), CHUNK)
    assert "Open it once" in (caught.value.hint or "")


@pytest.mark.parametrize("device", ["<Hdd><SystemName>disk0.img</SystemName></Hdd>", ""])
def test_a_macvm_whose_disk_is_a_file(tmp_path: Path, device: str) -> None:
    root = old_macvm(tmp_path)
    xml = f"<ParallelsVirtualMachine><Hardware>{device}</Hardware></ParallelsVirtualMachine>"
    write_file(root / "config.pvs", xml.encode())
    snapshot = bundle.inspect(str(root), CHUNK)
    assert (snapshot.type, snapshot.warnings) == ("macvm", ())
    assert "disk0.img" in {entry.path for entry in snapshot.entries}


def test_a_pvm_is_not_an_old_macvm(tmp_path: Path) -> None:
    root = old_macvm(tmp_path).rename(tmp_path / "Monterey.pvm")
    with pytest.raises(InvalidBundle, match="has no config.pvs, so it is not a bundle"):
        bundle.inspect(str(root), CHUNK)


# Parsers


@pytest.mark.parametrize("number", ["", "-5", "x", "9" * 30, "\u0663"])
def test_a_size_that_is_not_a_number_is_not_checked(number: str) -> None:
    xml = f"<a><Storage><End>{number}</End><Image><Type>Plain</Type><File>f</File></Image></Storage></a>"
    assert references.parse_images(xml.encode()) == (references.Image("f", 0),)


def test_devices_have_the_defaults_of_a_configuration_that_does_not_tell() -> None:
    xml = b"<a><Hdd><SystemName>a.hdd</SystemName></Hdd><Hdd/><Sound><SystemName>x</SystemName></Sound></a>"
    assert references.parse_devices(xml) == (references.Device("Hdd", "a.hdd", True, True),)


def test_a_description_with_a_document_type_is_refused() -> None:
    for parse in (references.parse_devices, references.parse_images):
        parser: t.Callable[[bytes], t.Any] = parse
        with pytest.raises(references.MalformedDescription, match="document type"):
            parser(b"<!DOCTYPE a><a/>")
