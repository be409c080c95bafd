# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import threading
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines import naming
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.lookup import Found, ManagedVm
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.vms import Vms
from ansible_collections.macfleet.parallels.plugins.module_utils._host import clone
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CloneFailed, PathTaken, VmBroken
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import Receipts
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._cases.machines.helpers import NAME, Host
from ansible_collections.macfleet.parallels.tests.unit.support.macs import Mac


@pytest.fixture(name="host")
def host_fixture(mac: Mac, tmp_path: pathlib.Path) -> Host:
    return Host(mac, tmp_path)


def test_image_of_a_suspended_vm_becomes_a_vm(host: Host) -> None:
    """A suspended VM cannot be configured, so whatever is its own must be in config.pvs when it is registered."""
    pathlib.Path(host.bundle, "{0b9a6f3e-5a6c-4f0e-9b7e-3a1d2c4b5e6f}.mem").write_bytes(b"memory")
    first, second = host.create(), host.create("runner-02")
    assert (first.machine.state, second.machine.state) == ("suspended", "suspended")
    assert first.machine.name == NAME
    assert first.machine.adapters != second.machine.adapters
    assert host.mac.verbs() == ["register", "register"]
    host.vms.start(first)
    assert host.look().runs


def test_bundle_that_parallels_renames_is_followed(host: Host) -> None:
    host.mac.simulated.behave(renames_bundle="{stem} (1)")
    vm = host.create()
    assert vm.receipt.home == vm.machine.home == str(host.directory / "runner-01 (1).pvm")
    assert host.look() == vm
    host.vms.remove(vm)
    host.assert_nothing_is_left()


def test_bundle_that_was_renamed_by_a_registration_that_failed(host: Host) -> None:
    host.mac.simulated.behave(renames_bundle="{stem} (1)")
    host.mac.simulated.fail({"verb": "list", "times": 1, "returncode": 255, "stderr": "Failed: no\n"})
    with pytest.raises(Exception, match="Failed: no"):
        host.create()
    host.assert_nothing_is_left()


def test_second_macos_vm_of_an_image_is_warned_of(host: Host, tmp_path: pathlib.Path) -> None:
    bundle = host.make_bundle(tmp_path, "mac", "macvm")
    made = [host.vms.create(bundle, host.draft(f"mac{number}", "macvm")) for number in range(3)]
    assert [len(created.warnings) for created in made] == [0, 1, 0]
    assert "mac1 and mac0 are made of the same macOS image" in made[1].warnings[0]
    other = host.vms.create(bundle, host.draft("other", "macvm", digest="cd" * 32))
    assert other.warnings == ()


def test_vms_of_other_systems_share_no_identifier(host: Host) -> None:
    for name in ("one", "two"):
        assert host.vms.create(host.bundle, host.draft(name)).warnings == ()


def test_two_caches_make_one_vm_and_nothing_half(
    host: Host, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second task begins and ends while the first one is in the middle of its bundle."""
    (tmp_path / "others").mkdir()
    other = dataclasses.replace(host.vms, receipts=Receipts(str(tmp_path / "others")))
    original = clone.make_clone
    first_is_there, second_is_done = threading.Event(), threading.Event()
    failures = []

    def slow(source: str, destination: str, mode: int, *, durable: bool) -> t.Tuple[str, int]:
        if destination.endswith("NVRAM.dat") and not first_is_there.is_set():
            first_is_there.set()
            second_is_done.wait(60)
        return original(source, destination, mode, durable=durable)

    def make() -> None:
        try:
            host.create()
        except CloneFailed as error:
            failures.append(error)

    monkeypatch.setattr(clone, "make_clone", slow)
    first = threading.Thread(target=make)
    first.start()
    assert first_is_there.wait(60)
    vm = other.create(host.bundle, host.draft()).vm
    second_is_done.set()
    first.join()
    # Nobody touched what it had made; only the final name was taken.
    assert [type(error) for error in failures] == [PathTaken]
    assert sorted(os.listdir(vm.home)) == sorted(os.listdir(host.bundle))
    assert os.listdir(host.directory) == ["runner-01.pvm"]
    assert host.receipts.read_all() == ([], [])
    assert list(host.mac.simulated.machines()) == [vm.machine.uuid]


def test_what_grew_beside_the_home_is_found_through_the_receipt(host: Host) -> None:
    receipt = host.draft(vm_uuid="0b9a6f3e-5a6c-4f0e-9b7e-3a1d2c4b5e6f")
    host.receipts.write(receipt)
    half = pathlib.Path(naming.temporary_path(receipt.home, receipt.vm_uuid))
    half.mkdir(parents=True)
    (half / "config.pvs").touch()
    (host.directory / ".another.incomplete").mkdir()
    host.vms.recover(host.vms.look(NAME).interrupted)
    assert os.listdir(host.directory) == [".another.incomplete"]


# What a task left that was killed while it made a VM


def unfinished(host: Host) -> ManagedVm:
    """Make a VM as a task does that is killed after its registration."""
    vm = host.create()
    host.receipts.write(dataclasses.replace(vm.receipt, state="creating"))
    return vm


@pytest.mark.parametrize("state", ["stopped", "running", "suspended"])
def test_vm_that_a_killed_task_registered_is_adopted(host: Host, state: str) -> None:
    vm = host.put(unfinished(host), state)
    found = host.vms.look(NAME)
    assert found.vm is not None
    assert (found.vm.is_unfinished, found.interrupted) == (True, ())
    settled = host.vms.settle(found.vm)
    assert settled == host.look() == ManagedVm(vm.machine, dataclasses.replace(vm.receipt, state="ready"))
    assert host.vms.settle(settled) == settled
    host.vms.remove(settled)
    host.assert_nothing_is_left()


def test_adopted_vm_gets_its_name(host: Host) -> None:
    vm = unfinished(host)
    host.prlctl("set", vm.machine.uuid, "--name", "another")
    assert host.vms.look("another") == Found(None)
    assert host.vms.settle(host.look()).machine.name == host.look().machine.name == NAME


@pytest.mark.parametrize("how", ["invalid", "replaced", "gone"])
def test_vm_that_cannot_be_used_is_not_adopted(host: Host, how: str) -> None:
    vm = unfinished(host)
    if how == "invalid":
        pathlib.Path(vm.home, "config.pvs").write_text("<broken")
    elif how == "replaced":
        shutil.copytree(vm.home, f"{vm.home}.copy")
        clone.remove_tree(vm.home)
        os.rename(f"{vm.home}.copy", vm.home)
    else:
        clone.remove_tree(vm.home)
    found = host.vms.look(NAME)
    assert (found.removable, [receipt.state for receipt in found.interrupted]) == (None, ["creating"])
    host.vms.recover(found.interrupted)
    assert host.mac.simulated.machines() == {}
    assert os.path.exists(vm.home) == (how == "replaced")


def test_vm_of_a_killed_task_that_runs_without_its_bundle_is_for_its_user_to_end(host: Host) -> None:
    vm = host.put(unfinished(host), "running")
    clone.remove_tree(vm.home)
    found = host.vms.look(NAME, [vm.machine])
    assert found.interrupted == ()
    with pytest.raises(VmBroken, match="runs, but its bundle .* is gone"):
        found.require_sound()


def test_home_is_decided_about_when_the_vm_is_made(host: Host, tmp_path: pathlib.Path) -> None:
    """Another task may have made the VM after this one looked: under the lock it is found, and nothing is made."""
    assert host.vms.look(NAME).vm is None
    vm = host.create()
    with naming.lock_name(str(tmp_path / "receipts"), str(host.directory), NAME, 1.0):
        assert host.vms.look(NAME).vm == vm
        (tmp_path / "others").mkdir()
        with pytest.raises(PathTaken):
            Vms(host.mac.prlctl, Receipts(str(tmp_path / "others"))).create(host.bundle, host.draft())


def test_receipt_says_how_long_each_phase_took(host: Host) -> None:
    receipt = host.create(phases={"download": 5.0}).receipt
    assert receipt.phases["download"] == 5.0
    assert receipt.phases["clone"] > 0
    assert receipt.phases["register"] > 0
    assert receipt == host.look().receipt
