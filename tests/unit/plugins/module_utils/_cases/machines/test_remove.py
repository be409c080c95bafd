# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import os
import pathlib
import time

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._host import clone
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import VmBusy
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._cases.machines.helpers import NAME, Host
from ansible_collections.macfleet.parallels.tests.unit.support.macs import Mac


@pytest.fixture(name="host")
def host_fixture(mac: Mac, tmp_path: pathlib.Path) -> Host:
    return Host(mac, tmp_path)


@pytest.mark.parametrize("refuses_kill", [False, True])
@pytest.mark.parametrize("state", ["stopped", "running", "suspended", "paused"])
def test_vm_is_removed_whatever_it_does(host: Host, state: str, refuses_kill: bool) -> None:
    vm = host.put(host.create(), state)
    host.mac.simulated.behave(paused_refuses_kill=refuses_kill)
    host.vms.remove(vm)
    host.assert_nothing_is_left()


def test_invalid_vm_is_removed_with_the_bundle_that_is_ours(host: Host) -> None:
    vm = host.create()
    pathlib.Path(vm.home, "config.pvs").write_text("<broken")
    broken = host.vms.look(NAME).broken
    assert broken is not None
    host.vms.remove(broken)
    host.assert_nothing_is_left()


def test_what_somebody_put_in_the_place_of_an_invalid_vm_stays(host: Host) -> None:
    vm = host.create()
    os.rename(vm.home, f"{vm.home}.away")
    os.mkdir(vm.home)
    broken = host.vms.look(NAME).broken
    assert broken is not None
    host.vms.remove(broken)
    assert host.mac.simulated.machines() == {}
    assert sorted(os.listdir(host.directory)) == ["runner-01.pvm", "runner-01.pvm.away"]


def test_directory_that_was_born_later_is_not_ours(host: Host) -> None:
    """Some file systems give the inode of a removed directory to the next one."""
    vm = host.create()
    host.prlctl("unregister", vm.machine.uuid)
    is_told = bool(vm.receipt.bundle_born_at)
    receipt = dataclasses.replace(vm.receipt, state="creating", bundle_born_at=vm.receipt.bundle_born_at + 1)
    host.vms.recover([receipt])
    # Linux does not tell, so the inode alone decides there.
    assert os.path.isdir(vm.home) == is_told


@pytest.mark.parametrize("can_be_killed", [False, True])
def test_running_vm_whose_files_were_deleted(host: Host, can_be_killed: bool) -> None:
    vm = host.put(host.create(), "running")
    clone.remove_tree(vm.home)
    host.mac.simulated.behave(lost_can_be_killed=can_be_killed)
    interrupted = host.vms.look(NAME).interrupted
    if not can_be_killed:
        with pytest.raises(VmBusy, match=r"refuses to unregister it.*restart the Mac") as caught:
            host.vms.recover(interrupted)
        assert caught.value.code == "vm_busy"
        assert len(host.receipts.read_all()[0]) == 1
        # The process has ended.
        host.mac.simulated.behave(lost_can_be_killed=True)
    host.vms.recover(host.vms.look(NAME).interrupted)
    host.assert_nothing_is_left()


def test_registration_that_lands_after_its_task_was_killed(host: Host) -> None:
    """prlctl may have ended while Parallels Desktop still registers."""
    vm = host.create()
    receipt = dataclasses.replace(vm.receipt, state="creating", registering_at=time.time())
    host.receipts.write(receipt)
    host.prlctl("unregister", vm.machine.uuid)
    aside = f"{vm.home}.aside.pvm"

    def land() -> None:
        if host.watch.now > 2:
            host.watch.on_sleep = lambda: None
            host.prlctl("register", aside, "--uuid", vm.machine.uuid)

    clone.clone_tree(vm.home, aside)
    host.watch.on_sleep = land
    host.vms.recover([receipt])
    assert host.mac.simulated.machines() == {}
    assert host.mac.verbs()[-1] == "unregister"


@pytest.mark.parametrize(("age_seconds", "waited_seconds"), [(0, 5.0), (100, 5.0), (-50, 5.0), (400, 0.0)])
def test_nobody_waits_for_a_registration_of_long_ago(host: Host, age_seconds: int, waited_seconds: float) -> None:
    vm = host.create()
    host.prlctl("unregister", vm.machine.uuid)
    receipt = dataclasses.replace(vm.receipt, state="creating", registering_at=time.time() - age_seconds)
    host.receipts.write(receipt)
    host.vms.recover([receipt])
    assert host.watch.now == waited_seconds
    host.assert_nothing_is_left()


def test_nobody_waits_for_a_registration_that_was_never_asked_for(host: Host) -> None:
    host.vms.recover([host.draft(vm_uuid="0b9a6f3e-5a6c-4f0e-9b7e-3a1d2c4b5e6f")])
    assert host.watch.now == 0
