# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.left_out import is_left_out

LEFT_OUT = [
    # Finder and file systems without extended attributes
    ".DS_Store",
    "harddisk.hdd/.DS_Store",
    "Icon\r",
    ".localized",
    ".fseventsd",
    ".fseventsd/fseventsd-uuid",
    ".Spotlight-V100",
    ".Trashes",
    "._config.pvs",
    "harddisk.hdd/._DiskDescriptor.xml",
    "._harddisk.hdd/inside",
    # Parallels Desktop
    "parallels.log",
    "parallels.log.1",
    "parallels.log.2.gz",
    "Parallels.LOG",
    "statistic.log",
    "statistic.log.1",
    "config.pvs.backup",
    "Config.pvs.Backup",
    "harddisk.hdd/DiskDescriptor.xml.Backup",
    "Windows 11.app",
    "Windows 11.app/Contents/MacOS/WinAppHelper",
    "Windows Disks",
    "Windows Disks/C",
    "Windows Applications/Notepad.app",
    "vm.lock",
    "harddisk.hdd/harddisk.lock",
    "harddisk.hdd/A.LCK",
    "{5fbaabe3}.mem.sh",
    "prl_vm_app_2026-01-01.crash",
    "prl_vm_app.ips",
]
KEPT = [
    # all that a virtual machine is made of
    "config.pvs",
    "config.ini",
    "NVRAM.dat",
    "VmInfo.pvi",
    "aux.bin",
    "machw.bin",
    "macid.bin",
    "disk0.img",
    "unattended.fdd",
    "floppy.fdd",
    "serial.txt",
    "seed.iso",
    "harddisk.hdd",
    "harddisk.hdd/harddisk.hdd",
    "harddisk.hdd/harddisk.hdd.drh",
    "harddisk.hdd/DiskDescriptor.xml",
    "harddisk.hdd/harddisk.hdd.0.{5fbaabe3-6958-40ff-92a7-860e329aab41}.hds",
    "Snapshots.xml",
    "Snapshots/{5fbaabe3}.mem",
    "Snapshots/{5fbaabe3}.mem.sh",
    "Snapshots/{5fbaabe3}.pvs",
    "{5fbaabe3}.mem",
    "{5fbaabe3}.sav",
    # names that only resemble
    "my.DS_Store",
    "Icon",
    "parallels.logs",
    "Logs/parallels.log",
    "backup/config.pvs",
    "harddisk.hdd/Windows Disks",
    "harddisk.hdd/a.app",
    "harddisk.hdd/a.backup",
    "app",
    "log",
    "lock",
]


@pytest.mark.parametrize("path", LEFT_OUT)
def test_what_belongs_to_the_mac_is_left_out(path: str) -> None:
    assert is_left_out(path)


@pytest.mark.parametrize("path", KEPT)
def test_what_belongs_to_the_image_is_kept(path: str) -> None:
    assert not is_left_out(path)


def test_a_suspended_machine_keeps_its_shared_memory() -> None:
    assert not is_left_out("{5fbaabe3}.mem.sh", suspended=True)
    assert is_left_out("vm.lock", suspended=True)
