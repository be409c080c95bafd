# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.bundles import check_volume
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.lookup import Found, ManagedVm
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.vms import Vms
from ansible_collections.macfleet.parallels.plugins.module_utils._host import clone
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CloneFailed,
    PrlctlError,
    ReceiptInvalid,
    UnknownReceipt,
    VmBroken,
    VmNameTaken,
    VmUnregistered,
    VolumeMissing,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import Receipts
from ansible_collections.macfleet.parallels.tests.support import bundles
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._cases.machines.helpers import NAME, Host
from ansible_collections.macfleet.parallels.tests.unit.support.macs import UUID, Mac, make_receipt


@pytest.fixture(name="host")
def host_fixture(mac: Mac, tmp_path: pathlib.Path) -> Host:
    return Host(mac, tmp_path)


def empty_lists(host: Host, *more: t.Mapping[str, t.Any]) -> None:
    """Have Parallels Desktop answer once as if it had just been started."""
    host.mac.simulated.fail({"verb": "list", "times": 1, "returncode": 0, "stdout": "[]"}, *more)


# A listing of all is no evidence that a VM is not there


def test_empty_list_hides_no_vm(host: Host) -> None:
    vm = host.create()
    empty_lists(host)
    assert host.vms.look(NAME) == Found(vm)


def test_bundle_of_a_vm_that_somebody_unregistered_stays_ours(host: Host) -> None:
    vm = host.create()
    host.mac.prlctl.unregister(vm.machine.uuid)
    found = host.vms.look(NAME)
    assert found == Found(None, unregistered=(vm.receipt,))
    assert not found.frees(vm.home)
    host.vms.recover(found.interrupted)
    assert os.path.isdir(vm.home)
    assert host.receipts.read_all() == ([vm.receipt], [])
    with pytest.raises(VmUnregistered, match="Register it again with prlctl register") as caught:
        found.require_sound()
    assert caught.value.code == "vm_unregistered"
    host.prlctl("register", vm.home, "--preserve-uuid")
    assert host.look().receipt == vm.receipt


def test_receipt_of_a_vm_that_is_neither_registered_nor_on_disk_goes(host: Host) -> None:
    vm = host.create()
    host.prlctl("delete", vm.machine.uuid)
    found = host.vms.look(NAME)
    assert found == Found(None, (vm.receipt,))
    found.require_sound()
    host.vms.recover(found.interrupted)
    host.assert_nothing_is_left()


def test_vm_on_a_volume_that_is_not_mounted(host: Host) -> None:
    vm = host.create()
    host.receipts.write(dataclasses.replace(vm.receipt, volume="/Volumes/nowhere"))
    assert host.vms.look(NAME).vm is not None
    os.rename(host.directory, host.mac.home / "unplugged")
    with pytest.raises(VolumeMissing, match="no volume is mounted at /Volumes/nowhere") as caught:
        host.vms.look(NAME)
    assert caught.value.code == "volume_missing"
    host.mac.prlctl.unregister(vm.machine.uuid)
    with pytest.raises(VolumeMissing):
        host.vms.look(NAME)


def test_vm_that_was_moved_to_a_volume_that_is_not_mounted_now(host: Host) -> None:
    """Parallels Desktop knows where it was moved, whatever the receipt says."""
    volume = host.mac.home / "external"
    moved = host.move(host.create(), volume)
    os.rename(volume, host.mac.home / "unplugged")
    with pytest.raises(VolumeMissing, match="the directory .*/external is not there"):
        host.vms.look(NAME)
    with pytest.raises(VolumeMissing):
        host.vms.remove(moved)
    with pytest.raises(VolumeMissing):
        host.vms.recover([dataclasses.replace(moved.receipt, state="removing")])
    os.rename(host.mac.home / "unplugged", volume)
    assert host.look() == moved
    host.vms.remove(moved)
    assert list(volume.iterdir()) == []
    assert host.receipts.read_all() == ([], [])


def test_receipt_follows_a_vm_that_was_moved(host: Host) -> None:
    moved = host.move(host.create(), host.mac.home / "external")
    assert not moved.is_current
    settled = host.vms.settle(moved)
    assert settled == host.look() == host.vms.settle(settled)
    assert (settled.receipt.home, settled.machine) == (moved.machine.home, moved.machine)
    host.receipts.write(dataclasses.replace(settled.receipt, volume=os.path.dirname(settled.home)))
    # What is left of a mount point is not a volume.
    clone.remove_tree(settled.home)
    with pytest.raises(VolumeMissing, match="no volume is mounted at .*/external"):
        host.vms.look(NAME)


@pytest.mark.parametrize(
    ("home", "missing"),
    [("/Volumes/nowhere/VMs/a.pvm", "no volume is mounted at /Volumes/nowhere"), ("/nowhere/a.pvm", "may not be")],
)
def test_where_macos_mounts_disks(home: str, missing: str) -> None:
    with pytest.raises(VolumeMissing, match=missing):
        check_volume(make_receipt(), home)


# A VM that Parallels Desktop calls invalid is not a VM that is there


def test_vm_whose_configuration_is_broken(host: Host) -> None:
    vm = host.create()
    pathlib.Path(vm.home, "config.pvs").write_text("<broken")
    found = host.vms.look(NAME)
    assert (found.vm, found.interrupted) == (None, ())
    assert found.broken == found.removable == ManagedVm(dataclasses.replace(vm.machine, **BROKEN), vm.receipt)
    with pytest.raises(VmBroken, match=r"Its disks are still there\. Repair .*config\.pvs") as caught:
        found.require_sound()
    assert caught.value.code == "vm_broken"


BROKEN: t.Dict[str, t.Any] = {
    "state": "invalid",
    "os": "",
    "cpus": None,
    "memory_mb": None,
    "disks": (),
    "adapters": None,
}


@pytest.mark.parametrize("state", ["stopped", "suspended"])
def test_vm_whose_files_are_gone_is_made_anew(host: Host, state: str) -> None:
    vm = host.put(host.create(), state)
    clone.remove_tree(vm.home)
    found = host.vms.look(NAME)
    assert (found.vm, found.broken, found.unregistered) == (None, None, ())
    found.require_sound()
    host.vms.recover(found.interrupted)
    host.assert_nothing_is_left()
    assert host.create().machine.state == "stopped"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EIO])
def test_vm_whose_bundle_cannot_be_looked_at_is_not_gone(
    host: Host, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    vm = host.create()
    host.vms.start(vm)
    asked = host.mac.verbs()
    real = os.lstat

    def fail(path: t.Any, **options: t.Any) -> os.stat_result:
        if str(path) == vm.home:
            raise OSError(number, os.strerror(number), str(path))
        return real(path, **options)

    monkeypatch.setattr(os, "lstat", fail)
    with pytest.raises(CloneFailed, match=f"Examining {vm.home} failed: {os.strerror(number)}"):
        host.vms.look(NAME)
    assert host.mac.verbs() == asked
    monkeypatch.undo()
    assert host.look().runs


def test_vm_that_runs_without_its_bundle_is_ended_on_request_only(host: Host) -> None:
    vm = host.create()
    host.vms.start(vm)
    clone.remove_tree(vm.home)
    found = host.vms.look(NAME, [dataclasses.replace(vm.machine, state="running")])
    assert (found.vm, found.interrupted) == (None, ())
    with pytest.raises(VmBroken, match="runs, but its bundle .* is gone"):
        found.require_sound()
    assert "stop" not in host.mac.verbs()
    # The removal itself is that of any VM.
    assert found.removable is not None


def test_invalid_vm_of_another_name_is_known_by_its_uuid(host: Host) -> None:
    vm = host.create()
    machines = [dataclasses.replace(vm.machine, name="", state="invalid")]
    assert host.vms.look(NAME, machines).broken == ManagedVm(machines[0], vm.receipt)


# Others


def test_foreign_vm_that_cannot_be_listed_stops_nobody(host: Host) -> None:
    foreign = bundles.make_bundle(str(host.mac.home), b"x" * (1 << 20), name="foreign")
    host.mac.prlctl.register(foreign, UUID)
    host.mac.simulated.behave(half_known=[UUID], empty_home=True)
    vm = host.create()
    assert host.look() == vm
    assert [call[2] for call in host.mac.simulated.calls() if call[1] == "list"].count(UUID) == 0
    host.vms.remove(vm)
    assert list(host.mac.simulated.machines()) == [UUID]


def test_vm_that_was_made_through_another_cache_is_named_so(host: Host, tmp_path: pathlib.Path) -> None:
    vm = host.create()
    (tmp_path / "others").mkdir()
    elsewhere = Receipts(str(tmp_path / "others"))
    other = Vms(host.mac.prlctl, elsewhere, origins={vm.machine.uuid: "/caches/first"}.get)
    with pytest.raises(VmNameTaken, match="was made through another cache, /caches/first") as caught:
        other.look(NAME)
    assert caught.value.details["cache_path"] == "/caches/first"
    with pytest.raises(VmNameTaken, match="not made by this collection, or through another cache"):
        Vms(host.mac.prlctl, elsewhere).look(NAME)


# Receipts that cannot be read


def spoil(host: Host, uuid: str, change: t.Union[str, t.Mapping[str, t.Any]]) -> pathlib.Path:
    path = host.mac.home.parent / "receipts" / f"{uuid}.json"
    path.write_text(change if isinstance(change, str) else json.dumps({**json.loads(path.read_text()), **change}))
    return path


@pytest.mark.parametrize(
    ("change", "error"), [("{", ReceiptInvalid), ({"state": "odd"}, ReceiptInvalid), ({"format": 2}, UnknownReceipt)]
)
def test_receipt_of_this_name_that_cannot_be_read(
    host: Host, change: t.Union[str, t.Mapping[str, t.Any]], error: t.Type[ReceiptInvalid]
) -> None:
    vm = host.create()
    path = spoil(host, vm.machine.uuid, change)
    with pytest.raises(error, match=str(path)) as caught:
        host.vms.look(NAME)
    assert "remove" not in str(caught.value)
    assert "delete" not in str(caught.value)
    empty_lists(host)
    with pytest.raises(error):
        host.vms.look(NAME)
    assert host.vms.look("runner-02") == Found(None)


def test_receipt_that_cannot_be_read_of_a_vm_that_was_never_finished(host: Host) -> None:
    host.receipts.write(make_receipt(vm_name="runner-02"))
    host.receipts.write(make_receipt(vm_uuid="1" + UUID[1:]))
    spoil(host, UUID, "{")
    assert len(host.vms.look(NAME).interrupted) == 1
    spoil(host, "1" + UUID[1:], {"state": "odd"})
    assert host.vms.look("runner-02") == Found(None)
    with pytest.raises(ReceiptInvalid, match="1" + UUID[1:]):
        host.vms.look(NAME)


def test_listing_of_our_vm_that_fails_is_no_evidence(host: Host) -> None:
    host.create()
    empty_lists(host, {"verb": "list", "times": 1, "returncode": 255, "stderr": "Failed: busy\n"})
    with pytest.raises(PrlctlError, match="busy"):
        host.vms.look(NAME)
    host.look()
