# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The VMs that this collection makes: from a bundle in the cache to a registered VM, and away again.

Only VMs with a receipt of ours are touched. The order of the steps makes every interruption recoverable:

    receipt "creating" → bundle under its final name → registered → fresh MAC → receipt "ready"
    receipt "removing" → stopped → deleted → receipt gone

A failure undoes what was done; what a killed process left is undone by :meth:`Vms.recover` of the next task. Callers
hold the lock of the VM's name (``Cache.vm_lock_path``) around everything that changes something.
"""

from __future__ import annotations

import dataclasses
import os
import typing as t
import unicodedata
import uuid as uuids

from ansible_collections.macfleet.parallels.plugins.module_utils._host import clone, config_pvs
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CloneFailed,
    HostError,
    PathTaken,
    PrlctlError,
    PrlctlTimeout,
    VmNameTaken,
    VmNotFound,
    translated,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.machines import VirtualMachine
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import Prlctl
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import (
    CREATING,
    READY,
    REMOVING,
    Receipt,
    Receipts,
)

_STOPPED = "stopped"
_RUNNING = frozenset({"running", "starting", "resuming"})
_SUSPENDED = "suspended"
_ASLEEP = frozenset({_SUSPENDED, "paused"})


@dataclasses.dataclass(frozen=True)
class ManagedVm:
    """A VM of ours."""

    machine: VirtualMachine
    receipt: Receipt

    @property
    def runs(self) -> bool:
        return self.machine.state in _RUNNING

    @property
    def is_stopped(self) -> bool:
        return self.machine.state == _STOPPED


@dataclasses.dataclass(frozen=True)
class Found:
    """What there is under a name: our VM, if any, and receipts of VMs that were never finished, or have vanished."""

    vm: t.Optional[ManagedVm]
    interrupted: t.Tuple[Receipt, ...]

    def frees(self, home: str) -> bool:
        """Whether :meth:`Vms.recover` removes what lies at a path."""
        return any(
            receipt.state != READY and receipt.home == home and _is_ours(receipt) for receipt in self.interrupted
        )


@dataclasses.dataclass(frozen=True)
class CreatedVm:
    """A VM that was just made, and what its bundle took."""

    vm: ManagedVm
    cloned: clone.CloneResult


class Vms:
    """The VMs of one user, as far as one cache's receipts go."""

    def __init__(self, prlctl: Prlctl, receipts: Receipts) -> None:
        self._prlctl = prlctl
        self._receipts = receipts

    def look(self, name: str, machines: t.Optional[t.Sequence[VirtualMachine]] = None) -> Found:
        """Look for the VM of exactly that name; changes nothing. ``machines`` are asked for if they are not given.

        :raises VmNameTaken: a VM of that name exists that we did not make
        """
        name = config_pvs.check_name(name)
        if machines is None:
            machines = self._prlctl.list_machines()
        receipts = {receipt.vm_uuid: receipt for receipt in self._receipts.read_all()[0]}
        vm = None
        for machine in machines:
            if unicodedata.normalize("NFC", machine.name) == name:
                receipt = receipts.get(machine.uuid)
                if receipt is None:
                    raise _name_taken(machine)
                if receipt.state == READY:
                    vm = ManagedVm(machine, receipt)
        known = {machine.uuid for machine in machines}
        interrupted = tuple(
            receipt
            for receipt in receipts.values()
            if receipt.vm_name == name and (receipt.state != READY or receipt.vm_uuid not in known)
        )
        return Found(vm, interrupted)

    def recover(self, interrupted: t.Iterable[Receipt]) -> None:
        """Undo or finish what interrupted tasks left."""
        for receipt in interrupted:
            if receipt.state != READY:
                self._erase(receipt)
            # Else somebody unregistered a finished VM: its bundle, if it is still there, has become theirs.
            self._receipts.remove(receipt.vm_uuid)

    def create(self, source_bundle: str, draft: Receipt) -> CreatedVm:
        """Make, register and remember a VM; ``draft`` tells name, home and origin, its UUID is replaced by a new one.

        :raises PathTaken: something exists at the home
        """
        name = config_pvs.check_name(draft.vm_name)
        receipt = dataclasses.replace(draft, vm_name=name, vm_uuid=str(uuids.uuid4()), state=CREATING, bundle_inode=0)
        if os.path.lexists(receipt.home):
            raise PathTaken(
                f"Making the virtual machine {name!r} failed: {receipt.home} exists and is not registered as ours.",
                "Move it away, or choose another name or directory.",
            )
        self._receipts.write(receipt)
        try:
            receipt, cloned = self._make_bundle(source_bundle, receipt)
            machine = self._register(receipt)
            receipt = dataclasses.replace(receipt, state=READY)
            self._receipts.write(receipt)
        except BaseException as error:
            self._undo(receipt.vm_uuid, error)
            raise
        return CreatedVm(ManagedVm(machine, receipt), cloned)

    def start(self, vm: ManagedVm) -> bool:
        """Have it run; whether it did not. Does not wait for the guest."""
        if vm.runs:
            return False
        if vm.machine.state in _ASLEEP:
            self._prlctl.resume(vm.machine.uuid)
        else:
            self._prlctl.start(vm.machine.uuid)
        return True

    def stop(self, vm: ManagedVm) -> bool:
        """Shut a VM down unless it is stopped; return True if it had to be."""
        if vm.is_stopped:
            return False
        self._prlctl.stop(vm.machine.uuid)
        return True

    def remove(self, vm: ManagedVm) -> None:
        """Stop a VM and delete it with its bundle, snapshots and all."""
        receipt = dataclasses.replace(vm.receipt, home=vm.machine.home or vm.receipt.home, state=REMOVING)
        self._receipts.write(receipt)
        self._erase(receipt)
        self._receipts.remove(receipt.vm_uuid)

    def _make_bundle(self, source_bundle: str, receipt: Receipt) -> t.Tuple[Receipt, clone.CloneResult]:
        def prepare(bundle: str) -> None:
            nonlocal receipt
            config_pvs.set_name(bundle, receipt.vm_name)
            receipt = dataclasses.replace(receipt, bundle_inode=os.stat(bundle).st_ino)
            self._receipts.write(receipt)

        with translated(CloneFailed, f"Making {receipt.home}"):
            os.makedirs(os.path.dirname(receipt.home), exist_ok=True)
            cloned = clone.clone_tree(source_bundle, receipt.home, prepare=prepare)
        return receipt, cloned

    def _register(self, receipt: Receipt) -> VirtualMachine:
        uuid = receipt.vm_uuid
        self._prlctl.register(receipt.home, uuid)
        machine = self._require(uuid)
        if unicodedata.normalize("NFC", machine.name) != receipt.vm_name:
            self._prlctl.rename(uuid, receipt.vm_name)
        adapters = ["net0"] if machine.adapters is None else [adapter.name for adapter in machine.adapters]
        for adapter in adapters:
            self._prlctl.new_mac(uuid, adapter)
        return self._require(uuid)

    def _require(self, uuid: str) -> VirtualMachine:
        machine = self._prlctl.find(uuid)
        if machine is None:
            raise VmNotFound(
                f"Registering the virtual machine {uuid} failed: prlctl reported success, but does not list it."
            )
        return machine

    def _undo(self, uuid: str, cause: BaseException) -> None:
        """Undo a creation that failed. A receipt is left for the next task where that is not possible now."""
        try:
            receipt = self._receipts.read(uuid)
            if receipt is None:
                return
            self._erase(receipt)
            # At its deadline prlctl was ended, but what it asked for may still happen.
            if not isinstance(cause, PrlctlTimeout):
                self._receipts.remove(uuid)
        except HostError as error:
            if isinstance(cause, HostError):
                cause.details["not_undone"] = str(error)

    def _erase(self, receipt: Receipt) -> None:
        """Nothing of a VM is left, registered or on disk."""
        machine = self._prlctl.find(receipt.vm_uuid)
        if machine is not None and receipt.state == REMOVING:
            self._stop_for_good(machine)
            self._delete(receipt)
        elif machine is not None:
            self._prlctl.unregister(receipt.vm_uuid)
        clone.discard_interrupted(receipt.home)
        if _is_ours(receipt):
            clone.remove_tree(receipt.home)

    def _stop_for_good(self, machine: VirtualMachine) -> None:
        if machine.state == _STOPPED:
            return
        try:
            if machine.state == _SUSPENDED:
                self._prlctl.drop_state(machine.uuid)
            else:
                self._prlctl.stop(machine.uuid, kill=True)
        except PrlctlError:
            # It may have ended by itself meanwhile, or be in a state from which it can be deleted as it is.
            current = self._prlctl.find(machine.uuid)
            if current is not None and current.state in _RUNNING:
                raise

    def _delete(self, receipt: Receipt) -> None:
        try:
            self._prlctl.delete(receipt.vm_uuid)
        except PrlctlError:
            # A VM whose bundle has vanished cannot be deleted, only forgotten.
            if os.path.lexists(receipt.home):
                raise
            self._prlctl.unregister(receipt.vm_uuid)


def home_path(directory: str, name: str, kind: str) -> str:
    """Where the bundle of a VM lies: ``kind`` is pvm or macvm."""
    return os.path.join(directory, f"{config_pvs.check_name(name)}.{kind}")


def _is_ours(receipt: Receipt) -> bool:
    with translated(CloneFailed, f"Examining {receipt.home}"):
        try:
            return os.lstat(receipt.home).st_ino == receipt.bundle_inode
        except FileNotFoundError:
            return False


def _name_taken(machine: VirtualMachine) -> VmNameTaken:
    return VmNameTaken(
        f"The virtual machine {machine.name!r} ({machine.uuid}) exists and was not made by this collection.",
        "Choose another name, or remove that virtual machine yourself.",
        {"vm_uuid": machine.uuid, "home": machine.home},
    )
