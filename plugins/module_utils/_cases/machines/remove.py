# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Removing VMs, and what interrupted tasks have left of them.

receipt "removing" → stopped → deleted, or unregistered and its bundle removed → receipt removed
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import lies_at
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import sentences as tell
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines import bundles, naming, power
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.lookup import ManagedVm
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.waiting import Patience
from ansible_collections.macfleet.parallels.plugins.module_utils._host import clone
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CloneFailed,
    PrlctlError,
    VmBusy,
    VmNotFound,
    translated,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import REGISTER_SECONDS, Prlctl
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import (
    CREATING,
    READY,
    REMOVING,
    Receipt,
    Receipts,
)

# prlctl may take so long to register a VM, and then the dispatcher.
_RECENT_SECONDS = REGISTER_SECONDS + 120.0


def remove(
    vm: ManagedVm,
    prlctl: Prlctl,
    receipts: Receipts,
    patience: Patience,
    did: t.Callable[[str], None] = lambda _sentence: None,
) -> None:
    """Stop a VM and delete it with its bundle, snapshots and all. ``did`` is told that the removal has begun.

    :raises VmBusy: its process cannot be ended
    :raises VolumeMissing: its volume is not mounted; nothing is changed then
    """
    bundles.check_volume(vm.receipt, vm.home)
    volume = vm.receipt.volume if vm.is_current else naming.mount_point(vm.home)
    receipt = dataclasses.replace(vm.receipt, home=vm.home, volume=volume, state=REMOVING)
    receipts.write(receipt)
    # From here on the next task that meets the VM finishes its removal.
    did(tell.begin_to_delete(receipt.vm_name))
    erase(receipt, prlctl, patience)
    receipts.remove(receipt.vm_uuid)


def bundle_that_stays(vm: ManagedVm) -> str:
    """Return the path of the bundle that the removal of a VM leaves, empty if it leaves none.

    Parallels Desktop only unregisters a VM that it calls invalid. Then we remove the bundle if it is ours.
    """
    with translated(CloneFailed, f"Examining {vm.home}"):
        stays = vm.machine.is_invalid and lies_at(vm.home) and not bundles.is_our_bundle(vm.receipt, vm.home)
    return vm.home if stays else ""


def recover(
    interrupted: t.Iterable[Receipt],
    prlctl: Prlctl,
    receipts: Receipts,
    patience: Patience,
    did: t.Callable[[str], None] = lambda _sentence: None,
) -> None:
    """Undo or finish what interrupted tasks left: everything in :attr:`lookup.Found.interrupted`.

    ``did`` is told of a VM that is not registered any more, before its bundle is removed.
    """
    for receipt in interrupted:
        if receipt.state != READY:
            sentence = tell.begin_to_clear(receipt.vm_name, receipt.home)
            was_registered = erase(receipt, prlctl, patience, functools.partial(did, sentence))
            if not was_registered and _may_still_land(receipt):
                _await_registration(receipt.vm_uuid, prlctl, patience)
        receipts.remove(receipt.vm_uuid)


def erase(receipt: Receipt, prlctl: Prlctl, patience: Patience, did: t.Callable[[], None] = lambda: None) -> bool:
    """Remove a VM's registration and bundle; return True if it was registered. Bundles that are not ours stay.

    ``did`` is called between the two.

    :raises VmBusy: its process cannot be ended
    :raises VolumeMissing: its volume is not mounted, so nobody can tell what is left
    """
    bundles.check_volume(receipt, receipt.home)
    homes = [receipt.home]
    machine = prlctl.find(receipt.vm_uuid)
    if machine is not None:
        bundles.check_volume(receipt, machine.home or receipt.home)
        homes.append(machine.home)
        if receipt.state == REMOVING:
            _delete(receipt, prlctl, patience)
        else:
            prlctl.unregister(receipt.vm_uuid)
        did()
    clone.remove_tree(naming.temporary_path(receipt.home, receipt.vm_uuid))
    for home in filter(None, homes):
        if bundles.is_our_bundle(receipt, home):
            clone.remove_tree(home)
    return machine is not None


def _delete(receipt: Receipt, prlctl: Prlctl, patience: Patience) -> None:
    """Delete a VM through Parallels Desktop, or unregister it if Parallels Desktop calls it invalid."""
    uuid = receipt.vm_uuid
    power.stop_for_good(uuid, prlctl, patience)
    machine = prlctl.find(uuid)
    if machine is None:
        return
    home = machine.home or receipt.home
    with translated(CloneFailed, f"Examining {home}"):
        has_bundle = lies_at(home)
    if has_bundle and not machine.is_invalid:
        try:
            prlctl.delete(uuid)
            return
        except PrlctlError:
            machine = prlctl.find(uuid)
            if machine is not None and not machine.is_invalid:
                raise
    try:
        prlctl.unregister(uuid)
    except PrlctlError as error:
        raise VmBusy(
            f"Removing the virtual machine {receipt.vm_name} ({uuid}) failed: its files are gone or invalid, and "
            f"Parallels Desktop refuses to unregister it: {error.message}",
            "Its process may still run: quit Parallels Desktop or restart the Mac, and run the task again.",
            {"vm_uuid": uuid},
        ) from error


def _may_still_land(receipt: Receipt) -> bool:
    """Return True if a task may have been killed while Parallels Desktop registered the VM for it."""
    is_asked = receipt.state == CREATING and receipt.registering_at > 0
    return is_asked and time.time() - receipt.registering_at < _RECENT_SECONDS


def _await_registration(uuid: str, prlctl: Prlctl, patience: Patience) -> None:
    """Wait for a registration that may still complete after its prlctl has ended, and undo it."""
    if patience.wait_for(lambda: prlctl.find(uuid) is not None, patience.quiet_seconds):
        # Somebody else may have been faster.
        with contextlib.suppress(VmNotFound):
            prlctl.unregister(uuid)
