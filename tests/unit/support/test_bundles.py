# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sample virtual machines are what they claim to be."""

from __future__ import annotations

import os
import struct
import typing as t
import xml.etree.ElementTree

import pytest
from ansible_collections.macfleet.parallels.tests.support import bundles, expandable, guest_disk

MIB = 1 << 20


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> bundles.SampleVm:
    """A small machine with a real file system."""
    return bundles.SampleVm.create(str(tmp_path_factory.mktemp("machine")))


def read_disk(image: str) -> bytes:
    """What the guest would read from an expandable image."""
    with open(image, "rb") as stream:
        data = stream.read()
    magic, _version, _heads, _cylinders, sectors, entries, disk_sectors = struct.unpack_from("<16sIIIIIQ", data)
    unit = 512 if magic == expandable.OLD_MAGIC else sectors * 512
    disk = bytearray()
    for entry in struct.unpack_from(f"<{entries}I", data, 64):
        start = entry * unit
        disk += data[start : start + sectors * 512] if entry else bytes(sectors * 512)
    return bytes(disk[: disk_sectors * 512])


@pytest.mark.parametrize("magic", [expandable.MAGIC, expandable.OLD_MAGIC])
def test_expandable_image_holds_the_disk(tmp_path: t.Any, magic: bytes) -> None:
    content = bytes(MIB) + os.urandom(MIB // 2) + bytes(3 * MIB) + os.urandom(512)
    bundle = bundles.make_bundle(str(tmp_path), content, magic=magic, cluster_bytes=256 * 1024)
    image = bundles.image_path(bundle)
    assert read_disk(image) == content
    start = expandable.data_start(len(content), 256 * 1024, magic)
    assert os.path.getsize(image) == start + 3 * 256 * 1024
    assert start == (512 if magic == expandable.OLD_MAGIC else 256 * 1024)


def test_bundle_has_the_files_of_its_kind(tmp_path: t.Any) -> None:
    pvm = bundles.make_bundle(str(tmp_path), bytes(MIB), name="a")
    macvm = bundles.make_bundle(str(tmp_path), bytes(MIB), name="b", kind=bundles.MACVM, disk=bundles.PLAIN)
    assert {"config.pvs", "NVRAM.dat", "harddisk.hdd"} == set(os.listdir(pvm))
    assert {"config.pvs", "aux.bin", "machw.bin", "macid.bin", "disk0.hdd"} == set(os.listdir(macvm))
    for bundle in (pvm, macvm):
        image = bundles.image_path(bundle)
        descriptor = xml.etree.ElementTree.parse(os.path.join(os.path.dirname(image), "DiskDescriptor.xml"))
        assert descriptor.findtext("StorageData/Storage/Image/File") == os.path.basename(image)
        config = xml.etree.ElementTree.parse(os.path.join(bundle, "config.pvs"))
        assert config.findtext("Identification/VmName") == os.path.basename(bundle).split(".")[0]


def test_histories_change_what_they_say(machine: bundles.SampleVm, tmp_path: t.Any) -> None:
    machine.guest.check()
    before = read_disk(bundles.image_path(machine.bundle))
    assert 20 * MIB <= machine.guest.data_bytes <= 22 * MIB
    later = machine.copy_to(str(tmp_path))
    change = later.update(0.03)
    assert 0.03 <= change.bytes_removed / machine.guest.data_bytes <= 0.045
    assert 0.8 <= change.bytes_written / change.bytes_removed <= 1.25
    later.boot(50)
    later.guest.check()
    after = read_disk(bundles.image_path(later.bundle))
    assert len(after) == len(before)
    changed = sum(before[at : at + 4096] != after[at : at + 4096] for at in range(0, len(before), 4096))
    assert 50 < changed < 0.15 * len(before) / 4096
    assert read_disk(bundles.image_path(machine.bundle)) == before


def test_same_machine_gives_the_same_image(machine: bundles.SampleVm, tmp_path: t.Any) -> None:
    again = bundles.SampleVm.create(str(tmp_path))
    with open(bundles.image_path(machine.bundle), "rb") as one, open(bundles.image_path(again.bundle), "rb") as other:
        assert one.read() == other.read()


def test_too_few_real_files_are_told(tmp_path: t.Any) -> None:
    (tmp_path / "only").write_bytes(b"a" * 5000)
    (tmp_path / "twin").write_bytes(b"a" * 5000)
    with pytest.raises(guest_disk.NotEnoughFiles, match="has 5000 bytes"):
        guest_disk.GuestDisk.create(str(tmp_path / "img"), str(tmp_path / "state"), 8 * MIB, MIB, roots=[str(tmp_path)])


def test_fewer_real_files_will_do_where_that_is_said(tmp_path: t.Any) -> None:
    software = tmp_path / "software"
    software.mkdir()
    (software / "only").write_bytes(b"a" * 5000)
    image = tmp_path / "img"
    disk = guest_disk.GuestDisk.create(str(image), str(tmp_path / "state"), 8 * MIB, MIB, 5000, roots=[str(software)])
    assert disk.data_bytes == 5000
    assert image.stat().st_size == 8 * MIB
