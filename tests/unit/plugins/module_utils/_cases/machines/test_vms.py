# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.lookup import Found, ManagedVm
from ansible_collections.macfleet.parallels.plugins.module_utils._host import clone
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    HostError,
    PathTaken,
    PrlctlError,
    PrlctlTimeout,
    VmNameInvalid,
    VmNameTaken,
    VmNotFound,
)
from ansible_collections.macfleet.parallels.tests.support import bundles
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._cases.machines.helpers import NAME, Host
from ansible_collections.macfleet.parallels.tests.unit.support.macs import UUID, Mac


@pytest.fixture(name="host")
def host_fixture(mac: Mac, tmp_path: pathlib.Path) -> Host:
    return Host(mac, tmp_path)


def macs(vm: ManagedVm) -> t.List[str]:
    assert vm.machine.adapters is not None
    return [adapter.mac for adapter in vm.machine.adapters]


def test_created_vm_has_its_own_identity(host: Host) -> None:
    created = host.vms.create(host.bundle, host.draft())
    vm = created.vm
    assert (vm.machine.name, vm.machine.state, vm.machine.home) == (
        NAME,
        "stopped",
        str(host.directory / "runner-01.pvm"),
    )
    assert created.cloned.files == 5
    assert vm.receipt.state == "ready"
    assert vm.receipt.vm_uuid == vm.machine.uuid != UUID
    assert host.receipts.read(vm.machine.uuid) == vm.receipt
    assert host.mac.verbs() == ["register"]
    second = host.create("runner-02")
    assert second.machine.uuid != vm.machine.uuid
    assert macs(second) != macs(vm)
    assert host.vms.look(NAME) == Found(vm)


def test_every_adapter_gets_a_new_address(host: Host) -> None:
    config = pathlib.Path(host.bundle, "config.pvs")
    config.chmod(0o644)
    adapter = "<NetworkAdapter><MAC>001C42000001</MAC></NetworkAdapter>"
    config.write_text(config.read_text().replace("</Hardware>", f"{adapter}</Hardware>"))
    addresses = macs(host.create())
    assert len(set(addresses)) == 2
    assert "001C42000001" not in addresses


def test_bundle_without_a_name_is_renamed(host: Host) -> None:
    config = pathlib.Path(host.bundle, "config.pvs")
    config.chmod(0o644)
    config.write_text(config.read_text().replace("<VmName>sample</VmName>", ""))
    created = host.vms.create(host.bundle, host.draft(home=str(host.directory / "elsewhere.pvm")))
    assert created.vm.machine.name == NAME
    assert host.mac.verbs() == ["register"]


def test_vm_that_got_another_name_is_renamed(host: Host) -> None:
    config = pathlib.Path(host.bundle, "config.pvs")
    config.chmod(0o644)
    config.write_text("<ParallelsVirtualMachine/>")
    created = host.vms.create(host.bundle, host.draft(home=str(host.directory / "elsewhere.pvm")))
    assert created.vm.machine.name == NAME
    assert host.mac.verbs() == ["register", "set"]


@pytest.mark.parametrize("name", ["R&D <1> \"x\" 'y'", "b\\1 $1", "日本語 caf\u00e9", "a=b,c*"])
def test_odd_names_are_kept_exactly(host: Host, name: str) -> None:
    vm = host.create(name)
    assert vm.machine.name == name
    assert host.vms.look(name).vm == vm


def test_names_are_compared_exactly(host: Host) -> None:
    host.create("macos-build")
    for name in ("macos", "macos-build-2", "Macos-build", "macos.build"):
        assert host.vms.look(name) == Found(None)
    with pytest.raises(VmNameInvalid):
        host.vms.look("a/b")


def test_name_of_a_foreign_vm(host: Host) -> None:
    foreign = bundles.make_bundle(str(host.mac.home), b"x" * (1 << 20), name=NAME)
    host.mac.prlctl.register(foreign, UUID)
    with pytest.raises(VmNameTaken, match="was not made by this collection, or through another cache") as caught:
        host.vms.look(NAME)
    assert caught.value.code == "vm_name_taken"
    assert caught.value.details == {"vm_uuid": UUID, "home": foreign}


@pytest.mark.parametrize("verbs", [(), ("start",), ("start", "suspend"), ("start", "pause")], ids="-".join)
def test_removed_vm_leaves_nothing(host: Host, verbs: t.Tuple[str, ...]) -> None:
    vm = host.create()
    for verb in verbs:
        host.mac.run([host.mac.program, verb, vm.machine.uuid], 10)
    host.vms.remove(host.look())
    host.assert_nothing_is_left()


def test_vm_whose_bundle_has_vanished_can_be_removed(host: Host) -> None:
    vm = host.create()
    clone.remove_tree(vm.machine.home)
    found = host.vms.look(NAME)
    assert found.removable is None
    host.vms.recover(found.interrupted)
    host.assert_nothing_is_left()


def test_home_that_is_taken(host: Host) -> None:
    home = host.directory / "runner-01.pvm"
    home.mkdir(parents=True)
    (home / "precious").touch()
    with pytest.raises(PathTaken, match=r"runner-01\.pvm exists and is not registered as ours"):
        host.create()
    assert (home / "precious").exists()
    assert host.receipts.read_all() == ([], [])


@pytest.mark.parametrize("verb", ["register", "list"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_failed_creation_leaves_nothing(host: Host, verb: str, when: str) -> None:
    host.mac.simulated.fail({"verb": verb, "times": 1, "when": when, "returncode": 255, "stderr": "Failed: no\n"})
    with pytest.raises(PrlctlError, match="Failed: no"):
        host.create()
    host.assert_nothing_is_left()
    assert host.create().machine.name == NAME


def test_registration_that_did_not_happen(host: Host) -> None:
    host.mac.simulated.fail({"verb": "register", "returncode": 0})
    with pytest.raises(VmNotFound, match="prlctl reported success, but does not list it"):
        host.create()
    host.assert_nothing_is_left()


def test_registration_that_hangs_can_be_undone_by_the_next_task(host: Host) -> None:
    host.mac.in_process = False
    host.mac.timeout_seconds = 1.0
    host.mac.simulated.fail({"verb": "register", "times": 1, "when": "after", "hang_seconds": 600})
    with pytest.raises(PrlctlTimeout):
        host.create()
    # What prlctl asked for may happen later; the receipt says that it would be ours.
    (left,) = host.receipts.read_all()[0]
    assert left.state == "creating"
    assert host.mac.simulated.machines() == {}
    host.vms.recover(host.vms.look(NAME).interrupted)
    host.assert_nothing_is_left()


def test_undoing_that_fails_is_left_to_the_next_task(host: Host) -> None:
    host.mac.simulated.fail(
        {"verb": "register", "when": "after", "returncode": 255, "stderr": "Failed: no\n"},
        {"verb": "unregister", "returncode": 255, "stderr": "Failed: busy\n"},
    )
    with pytest.raises(HostError, match="Failed: no") as caught:
        host.create()
    assert "Failed: busy" in caught.value.details["not_undone"]
    host.mac.simulated.fail()
    # It is registered and complete: somebody may have worked in it since.
    assert host.look().is_unfinished
    host.vms.remove(host.look())
    host.assert_nothing_is_left()


def test_removal_that_fails_is_finished_by_the_next_task(host: Host) -> None:
    vm = host.create()
    host.mac.simulated.fail({"verb": "delete", "times": 1, "returncode": 255, "stderr": "Failed: no\n"})
    with pytest.raises(PrlctlError, match="Failed: no"):
        host.vms.remove(vm)
    found = host.vms.look(NAME)
    assert found.vm is None
    host.vms.recover(found.interrupted)
    host.assert_nothing_is_left()


def test_what_somebody_put_in_the_place_of_a_half_made_bundle_stays(host: Host) -> None:
    home = host.directory / "runner-01.pvm"
    home.mkdir(parents=True)
    receipt = host.draft(vm_uuid=UUID, state="creating", bundle_inode=0)
    host.receipts.write(receipt)
    host.vms.recover([receipt])
    assert home.is_dir()
    assert host.receipts.read_all() == ([], [])


def test_link_at_the_home_is_not_followed_when_undoing(host: Host, tmp_path: pathlib.Path) -> None:
    vm = host.create()
    host.mac.prlctl.unregister(vm.machine.uuid)
    os.rename(vm.machine.home, tmp_path / "moved.pvm")
    os.symlink(tmp_path / "moved.pvm", vm.machine.home)
    receipt = dataclasses.replace(vm.receipt, state="creating")
    host.receipts.write(receipt)
    host.vms.recover([receipt])
    assert (tmp_path / "moved.pvm").is_dir()


_CREATE = """
import json, os, pathlib, subprocess, sys
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.vms import Vms
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import CommandResult, Prlctl
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import Receipt, Receipts
program, directory, bundle, draft, moment = sys.argv[1:]
calls = 0
def run(argv, seconds):
    global calls
    calls += 1
    if calls == int(moment):
        os.kill(os.getpid(), 9)
    done = subprocess.run(argv, capture_output=True, text=True)
    return CommandResult(done.returncode, done.stdout, done.stderr)
Vms(Prlctl(run, program), Receipts(directory)).create(bundle, Receipt(**json.loads(draft)))
"""


@pytest.mark.parametrize("moment", range(1, 3))
def test_creation_that_is_killed_can_be_repeated(host: Host, tmp_path: pathlib.Path, moment: int) -> None:
    """Before each call of prlctl: register, list."""
    killed = subprocess.run(
        [
            sys.executable,
            "-c",
            _CREATE,
            host.mac.program,
            str(tmp_path / "receipts"),
            host.bundle,
            json.dumps(dataclasses.asdict(host.draft())),
            str(moment),
        ],
        check=False,
        env={**os.environ, "HOME": str(host.mac.home), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert killed.returncode == -signal.SIGKILL
    found = host.vms.look(NAME)
    assert (found.vm is None, len(found.interrupted)) == ((True, 1) if moment == 1 else (False, 0))
    if found.vm is not None:
        assert not host.vms.settle(found.vm).is_unfinished
        host.vms.remove(host.look())
    host.vms.recover(found.interrupted)
    host.assert_nothing_is_left()
    assert host.create().machine.name == NAME
