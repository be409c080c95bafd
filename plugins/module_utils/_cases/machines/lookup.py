# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What there is under the name of a VM: machines of Parallels Desktop beside receipts of ours. Changes nothing."""

from __future__ import annotations

import dataclasses
import os
import typing as t
import unicodedata

from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import lies_at
from ansible_collections.macfleet.parallels.plugins.module_utils._host import config_pvs
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CloneFailed,
    VmBroken,
    VmNameTaken,
    VmUnregistered,
    VolumeMissing,
    translated,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.machines import STOPPED, VirtualMachine
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import Prlctl
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import (
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
    """A VM of ours that is registered."""

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


@dataclasses.dataclass(frozen=True)
class Found:
    """What there is under a name.

    ``vm`` is our VM, if it can be used. ``broken`` is our VM if Parallels Desktop cannot read its configuration though
    its bundle is there, or if it runs though its bundle is gone. ``unregistered`` are VMs of ours that somebody
    unregistered, and whose bundle is still where we made it. ``interrupted`` are receipts of which nothing has to be
    kept: of VMs that were never finished, whose removal was not finished, or whose bundle has gone.
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
        """Return True if recovering from what was interrupted removes what lies at a path."""
        return any(receipt.state != READY and receipt.home == home and is_ours(receipt) for receipt in self.interrupted)

    def require_sound(self) -> None:
        """Fail if a VM of that name can be neither used nor made anew without losing something.

        :raises VmBroken: Parallels Desktop cannot read the configuration of our VM
        :raises VmUnregistered: our VM was unregistered, and its bundle is still there
        """
        if self.vm is not None:
            return
        if self.broken is not None:
            raise _broken(self.broken)
        if self.unregistered:
            raise _unregistered(self.unregistered[0])


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
    interrupted: t.List[Receipt] = []
    unregistered: t.List[Receipt] = []
    for machine in names.machines.values():
        receipt = names.receipts.get(machine.uuid)
        # Of an invalid VM, Parallels Desktop need not know the name.
        is_meant = same_name(machine.name, names.name) or (machine.is_invalid and _is_of(receipt, names.name))
        if not is_meant:
            continue
        if receipt is None:
            raise _name_taken(machine, origins(machine.uuid))
        if receipt.state != READY:
            continue
        candidate = ManagedVm(machine, receipt)
        if not has_bundle(candidate) and candidate.runs:
            # What its guest has in memory is all that is left: only who asks for its removal may end it.
            broken = candidate
        elif not has_bundle(candidate):
            # Registered by us, and nothing of it is left on the disk: only the registration remains to be removed.
            interrupted.append(dataclasses.replace(receipt, state=REMOVING))
        elif machine.is_invalid:
            broken = candidate
        else:
            vm = candidate
    for receipt in names.receipts.values():
        if receipt.vm_name != names.name:
            continue
        if receipt.state != READY:
            interrupted.append(receipt)
        elif receipt.vm_uuid not in names.machines:
            (unregistered if is_ours(receipt) else interrupted).append(receipt)
    return Found(vm, tuple(interrupted), broken, tuple(unregistered))


def same_name(one: str, other: str) -> bool:
    """Return True if two names of VMs are the same; Parallels Desktop may decompose accents."""
    return unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)


def is_ours(receipt: Receipt) -> bool:
    """Return True if the bundle that we made lies at the home of a receipt.

    :raises VolumeMissing: its volume is not mounted, so nobody can tell
    """
    check_volume(receipt)
    return is_our_bundle(receipt, receipt.home)


def is_our_bundle(receipt: Receipt, path: str) -> bool:
    """Return True if the directory at a path is the one that we made for a receipt."""
    with translated(CloneFailed, f"Examining {path}"):
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return False
    # Some file systems give the inode of a removed directory to the next one.
    ages = (receipt.bundle_born_at, born_at(status))
    return status.st_ino == receipt.bundle_inode and (0.0 in ages or ages[0] == ages[1])


def born_at(status: os.stat_result) -> float:
    """Return when a file was made, in seconds since 1970, or 0 where the system does not tell."""
    return float(getattr(status, "st_birthtime", 0.0))


def has_bundle(vm: ManagedVm) -> bool:
    """Return True if there is something where the bundle of a VM lies.

    :raises VolumeMissing: its volume is not mounted, so nobody can tell
    """
    with translated(CloneFailed, f"Examining {vm.home}"):
        if lies_at(vm.home):
            return True
    check_volume(vm.receipt)
    return False


def check_volume(receipt: Receipt) -> None:
    """Fail if nothing is at the home of a receipt because its volume is not mounted.

    :raises VolumeMissing: so it is
    """
    with translated(CloneFailed, f"Examining {receipt.home}"):
        is_there = lies_at(receipt.home)
    if not is_there and not os.path.ismount(receipt.volume):
        raise VolumeMissing(
            f"The virtual machine {receipt.vm_name} lies in {receipt.home}, and no volume is mounted at "
            f"{receipt.volume}.",
            "Connect and mount that volume. If it is gone for good, unregister the virtual machine in Parallels "
            "Desktop, and move its receipt to another directory.",
            {"volume": receipt.volume, "home": receipt.home},
        )


def _is_of(receipt: t.Optional[Receipt], name: str) -> bool:
    return receipt is not None and receipt.vm_name == name


def _check_unreadable(
    name: str, unreadable: t.Iterable[Unreadable], listed: t.Mapping[str, VirtualMachine], prlctl: Prlctl
) -> None:
    """Fail if a receipt that cannot be read is that of a VM of this name. Others stop nobody."""
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
