# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Looking for the VM of a name: what Parallels Desktop lists is compared with our receipts. Changes nothing."""

from __future__ import annotations

import dataclasses
import os
import typing as t
import unicodedata

from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import lies_at
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.bundles import (
    check_volume,
    is_our_bundle,
    is_ours,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host import config_pvs
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CloneFailed,
    VmBroken,
    VmNameTaken,
    VmUnregistered,
    translated,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.machines import STOPPED, VirtualMachine
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import Prlctl
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import (
    CREATING,
    READY,
    REMOVING,
    Receipt,
    Receipts,
    Unreadable,
)

# Says through which cache the VM with a UUID was made, or None.
Origins = t.Callable[[str], t.Optional[str]]


@dataclasses.dataclass(frozen=True)
class ManagedVm:
    """A registered VM that this collection made, and its receipt."""

    machine: VirtualMachine
    receipt: Receipt

    @property
    def runs(self) -> bool:
        """True if the VM runs, or is about to."""
        return self.machine.runs

    @property
    def is_stopped(self) -> bool:
        """True if the VM is stopped; a suspended or paused one is not."""
        return self.machine.state == STOPPED

    @property
    def home(self) -> str:
        """The path of its bundle: Parallels Desktop may have renamed what we made."""
        return self.machine.home or self.receipt.home

    @property
    def is_current(self) -> bool:
        """True if its receipt has its present home, and says that it is finished."""
        return not self.is_unfinished and self.receipt.home == self.home

    @property
    def is_unfinished(self) -> bool:
        """True if the task that made it was killed after the registration, before it completed the receipt."""
        return self.receipt.state == CREATING


@dataclasses.dataclass(frozen=True)
class Found:
    """What was found for a name.

    ``vm`` is our VM, if it can be used. ``broken`` is our VM if Parallels Desktop cannot read its configuration though
    its bundle is there, or if it runs though its bundle is gone. ``unregistered`` are VMs of ours that somebody
    unregistered, and whose bundle is still where we made it. ``interrupted`` are receipts that can be cleaned up: of
    VMs that were never registered, whose removal was not finished, or whose bundle is gone.
    """

    vm: t.Optional[ManagedVm]
    interrupted: t.Tuple[Receipt, ...] = ()
    broken: t.Optional[ManagedVm] = None
    unregistered: t.Tuple[Receipt, ...] = ()

    @property
    def removable(self) -> t.Optional[ManagedVm]:
        """Our VM, usable or not: what ``absent`` removes."""
        return self.vm or self.broken

    def frees(self, home: str) -> bool:
        """Return True if the clean-up of the interrupted receipts removes what lies at a path."""
        return any(receipt.state != READY and receipt.home == home and is_ours(receipt) for receipt in self.interrupted)

    def require_sound(self) -> None:
        """Fail if there is no VM of that name to use, and a new one cannot be made without losing something.

        :raises VmBroken: Parallels Desktop cannot read the configuration of our VM
        :raises VmUnregistered: our VM was unregistered, and its bundle is still there
        :raises VolumeMissing: what an interrupted task left lies on a volume that is not mounted
        """
        if self.vm is not None:
            return
        if self.broken is not None:
            raise _broken(self.broken)
        if self.unregistered:
            raise _unregistered(self.unregistered[0])
        self.require_volumes()

    def require_volumes(self) -> None:
        """Fail if what was interrupted cannot be cleaned up now.

        :raises VolumeMissing: some of it lies on a volume that is not mounted
        """
        for receipt in self.interrupted:
            check_volume(receipt, receipt.home)


@dataclasses.dataclass(frozen=True)
class _Names:
    """Machines and receipts, by UUID. Machines of that name have their ``home``, if it is known."""

    name: str
    machines: t.Mapping[str, VirtualMachine]
    receipts: t.Mapping[str, Receipt]


def look(
    name: str,
    prlctl: Prlctl,
    receipts: Receipts,
    machines: t.Optional[t.Sequence[VirtualMachine]] = None,
    origins: Origins = lambda _uuid: None,
) -> Found:
    """Look for the VM of exactly that name. ``machines`` are asked for if they are not given.

    :raises VmNameTaken: a VM of that name exists that was not made through this cache
    :raises ReceiptInvalid: the receipt of a VM of that name cannot be read
    :raises VolumeMissing: our VM lies on a volume that is not mounted
    """
    name = config_pvs.check_name(name)
    if machines is None:
        machines = prlctl.list_machines()
    read, unreadable = receipts.survey()
    by_uuid = {receipt.vm_uuid: receipt for receipt in read}
    machines = prlctl.with_homes(machines, lambda one: same_name(one.name, name) or _is_of(by_uuid.get(one.uuid), name))
    listed = {machine.uuid: machine for machine in machines}
    _check_unreadable(name, unreadable, listed, prlctl)
    # A listing of all may be empty while Parallels Desktop starts; it is no evidence that a VM is not there.
    for receipt in read:
        if receipt.vm_name == name and receipt.vm_uuid not in listed:
            machine = prlctl.find(receipt.vm_uuid)
            if machine is not None:
                listed[machine.uuid] = machine
    return _sort(_Names(name, listed, by_uuid), origins)


def _sort(names: _Names, origins: Origins) -> Found:
    vm, broken = None, None
    complete: t.Set[str] = set()
    interrupted: t.List[Receipt] = []
    unregistered: t.List[Receipt] = []
    for machine in names.machines.values():
        receipt = names.receipts.get(machine.uuid)
        if not _is_meant(machine, receipt, names.name):
            continue
        if receipt is None:
            raise _name_taken(machine, origins(machine.uuid))
        candidate = ManagedVm(machine, receipt)
        if receipt.state == REMOVING or (candidate.is_unfinished and not _is_complete(candidate)):
            continue
        complete.add(machine.uuid)
        if not has_bundle(candidate) and candidate.runs:
            # What its guest has in memory is all that is left: only who asks for its removal may end it.
            broken = candidate
        elif not has_bundle(candidate):
            # Registered by us, and nothing of it is left on the disk: only the registration remains to be removed.
            interrupted.append(dataclasses.replace(receipt, state=REMOVING))
        elif machine.is_invalid:
            broken = candidate
        elif vm is None or vm.is_unfinished:
            vm = candidate
    for receipt in names.receipts.values():
        if receipt.vm_name != names.name:
            continue
        if receipt.state != READY:
            if receipt.vm_uuid not in complete:
                interrupted.append(receipt)
        elif receipt.vm_uuid not in names.machines:
            (unregistered if is_ours(receipt) else interrupted).append(receipt)
    return Found(vm, tuple(interrupted), broken, tuple(unregistered))


def _is_meant(machine: VirtualMachine, receipt: t.Optional[Receipt], name: str) -> bool:
    """Return True if a registered VM is the one of that name."""
    if receipt is not None and receipt.state == CREATING:
        # It gets its name last.
        return receipt.vm_name == name
    # Of an invalid VM, Parallels Desktop need not know the name.
    return same_name(machine.name, name) or (machine.is_invalid and _is_of(receipt, name))


def _is_complete(vm: ManagedVm) -> bool:
    """Return True if a VM that a killed task registered must be kept, because it can be used.

    One that runs without its bundle is kept as well: only its user may end it.
    """
    if not has_bundle(vm):
        return vm.runs
    return not vm.machine.is_invalid and is_our_bundle(vm.receipt, vm.home)


def same_name(one: str, other: str) -> bool:
    """Return True if two names of VMs are the same; Parallels Desktop may decompose accents."""
    return unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)


def has_bundle(vm: ManagedVm) -> bool:
    """Return True if there is something where the bundle of a VM lies.

    :raises VolumeMissing: its volume is not mounted, so nobody can tell
    """
    with translated(CloneFailed, f"Examining {vm.home}"):
        if lies_at(vm.home):
            return True
    check_volume(vm.receipt, vm.home)
    return False


def _is_of(receipt: t.Optional[Receipt], name: str) -> bool:
    return receipt is not None and receipt.vm_name == name


def _check_unreadable(
    name: str, unreadable: t.Iterable[Unreadable], listed: t.Mapping[str, VirtualMachine], prlctl: Prlctl
) -> None:
    """Fail if a receipt that cannot be read is that of a VM of this name.

    Unreadable receipts of other VMs are ignored.
    """
    for item in unreadable:
        machine = listed.get(item.vm_uuid)
        if machine is None and item.vm_name is None:
            machine = prlctl.find(item.vm_uuid)
        known_as = machine.name if machine is not None else item.vm_name
        if known_as is not None and same_name(known_as, name):
            raise item.error


def _name_taken(machine: VirtualMachine, cache_path: t.Optional[str]) -> VmNameTaken:
    who = f"The virtual machine {machine.name!r} ({machine.uuid}) exists"
    details = {"vm_uuid": machine.uuid, "home": machine.home}
    if cache_path is not None:
        return VmNameTaken(
            f"{who} and was made through another cache, {cache_path}.",
            "Set cache_path to that cache, or choose another name.",
            {**details, "cache_path": cache_path},
        )
    return VmNameTaken(
        f"{who} and was not made by this collection, or through another cache.",
        "Choose another name or the cache that made it, or remove that virtual machine yourself.",
        details,
    )


def _broken(vm: ManagedVm) -> VmBroken:
    if vm.runs:
        return VmBroken(
            f"The virtual machine {vm.receipt.vm_name} runs, but its bundle {vm.home} is gone.",
            "Save what its guest still has. With state: absent the virtual machine is stopped and unregistered.",
            {"vm_uuid": vm.machine.uuid, "home": vm.home},
        )
    return VmBroken(
        f"The virtual machine {vm.receipt.vm_name} is invalid: Parallels Desktop cannot read the configuration in "
        f"{vm.home}. Its disks are still there.",
        f"Repair {os.path.join(vm.home, 'config.pvs')}: Parallels Desktop keeps a copy of it as config.pvs.backup. "
        "With state: absent the virtual machine is removed with its disks.",
        {"vm_uuid": vm.machine.uuid, "home": vm.home},
    )


def _unregistered(receipt: Receipt) -> VmUnregistered:
    return VmUnregistered(
        f"The virtual machine {receipt.vm_name} was made in {receipt.home}, where it still is, but somebody "
        "unregistered it in Parallels Desktop.",
        f"Register it again with prlctl register '{receipt.home}' --preserve-uuid, or move it to another directory.",
        {"vm_uuid": receipt.vm_uuid, "home": receipt.home},
    )
