# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Making a VM of a bundle in the cache.

    receipt "creating" → bundle under its final name, with a name and MAC addresses of its own → registered
    → receipt "ready"

The order makes every interruption recoverable. A failure undoes what was done. What a killed process left is undone by
the next task (:func:`remove.recover`), or adopted if it was registered already (:func:`settle`): it may be in use.
"""

from __future__ import annotations

import dataclasses
import os
import time
import typing as t
import uuid as uuids

from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import lies_at
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import sentences as tell
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines import bundles, lookup, naming, remove
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.lookup import ManagedVm
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.waiting import Patience
from ansible_collections.macfleet.parallels.plugins.module_utils._host import clone, config_pvs
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CloneFailed,
    HostError,
    PathTaken,
    PrlctlTimeout,
    VmNotFound,
    translated,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.machines import VirtualMachine
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import Prlctl
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import (
    CREATING,
    READY,
    Receipt,
    Receipts,
)


@dataclasses.dataclass(frozen=True)
class CreatedVm:
    """A VM that was just made, what its bundle took, and what the user should be warned of."""

    vm: ManagedVm
    cloned: clone.CloneResult
    warnings: t.Tuple[str, ...] = ()


def create(
    source_bundle: str,
    draft: Receipt,
    prlctl: Prlctl,
    receipts: Receipts,
    patience: Patience,
    check_source: t.Callable[[], None] = lambda: None,
    did: t.Callable[[str], None] = lambda _sentence: None,
) -> CreatedVm:
    """Make, register and remember a VM. ``draft`` has its name, home and origin; its UUID is replaced by a new one.

    The caller holds the lock of the name (:func:`naming.lock_name`), so what lies at the home is decided here.
    ``check_source`` is called once the bundle is copied; an exception of it undoes that. ``did`` is told
    of a creation that failed and could not be undone.

    :raises PathTaken: something exists at the home
    """
    name = config_pvs.check_name(draft.vm_name)
    with translated(CloneFailed, f"Examining {draft.home}"):
        is_taken = lies_at(draft.home)
    if is_taken:
        raise PathTaken(
            f"Making the virtual machine {name!r} failed: {draft.home} exists and is not registered as ours.",
            "Move it away, or choose another name or directory.",
        )
    receipt = dataclasses.replace(
        draft,
        vm_name=name,
        vm_uuid=str(uuids.uuid4()),
        state=CREATING,
        bundle_inode=0,
        volume=naming.mount_point(draft.home),
    )
    warnings = _warnings(receipt, receipts)
    receipts.write(receipt)
    try:
        began = time.monotonic()
        receipt, cloned = _make_bundle(source_bundle, receipt, receipts, check_source)
        is_cloned = time.monotonic()
        receipt = dataclasses.replace(receipt, registering_at=time.time())
        receipts.write(receipt)
        machine = _register(receipt, prlctl)
        phases = {"clone": is_cloned - began, "register": time.monotonic() - is_cloned}
        receipt = _settled(receipt, machine, phases)
        receipts.write(receipt)
    except BaseException as error:
        if not _undo(receipt.vm_uuid, error, prlctl, receipts, patience):
            did(tell.begin_to_make(receipt.vm_name, receipt.home))
        raise
    return CreatedVm(ManagedVm(machine, receipt), cloned, warnings)


def _make_bundle(
    source_bundle: str, receipt: Receipt, receipts: Receipts, check_source: t.Callable[[], None]
) -> t.Tuple[Receipt, clone.CloneResult]:
    made = receipt

    def prepare(bundle: str) -> None:
        nonlocal made
        check_source()
        config_pvs.set_identity(bundle, receipt.vm_name)
        status = os.stat(bundle)
        made = dataclasses.replace(receipt, bundle_inode=status.st_ino, bundle_born_at=bundles.born_at(status))
        receipts.write(made)

    temporary = naming.temporary_path(receipt.home, receipt.vm_uuid)
    with translated(CloneFailed, f"Making {receipt.home}"):
        os.makedirs(os.path.dirname(receipt.home), exist_ok=True)
        cloned = clone.clone_tree(source_bundle, receipt.home, prepare=prepare, temporary=temporary)
    return made, cloned


def _register(receipt: Receipt, prlctl: Prlctl) -> VirtualMachine:
    prlctl.register(receipt.home, receipt.vm_uuid)
    return _named(_require(receipt.vm_uuid, prlctl), receipt, prlctl)


def _named(machine: VirtualMachine, receipt: Receipt, prlctl: Prlctl) -> VirtualMachine:
    """Return a VM that has the name of its receipt: it is renamed if need be."""
    if lookup.same_name(machine.name, receipt.vm_name):
        return machine
    prlctl.rename(receipt.vm_uuid, receipt.vm_name)
    return _require(receipt.vm_uuid, prlctl)


def _settled(receipt: Receipt, machine: VirtualMachine, phases: t.Mapping[str, float]) -> Receipt:
    """Return the "ready" receipt of a VM. Parallels Desktop may have renamed its bundle."""
    is_renamed = machine.home not in ("", receipt.home) and bundles.is_our_bundle(receipt, machine.home)
    return dataclasses.replace(
        receipt,
        state=READY,
        home=machine.home if is_renamed else receipt.home,
        phases={**receipt.phases, **{name: round(seconds, 3) for name, seconds in phases.items()}},
    )


def settle(vm: ManagedVm, prlctl: Prlctl, receipts: Receipts) -> ManagedVm:
    """Bring the receipt of a VM up to date: its task was killed after the registration, or its owner moved it."""
    if vm.is_current:
        return vm
    machine = _named(vm.machine, vm.receipt, prlctl) if vm.is_unfinished else vm.machine
    home = machine.home or vm.home
    receipt = dataclasses.replace(vm.receipt, state=READY, home=home, volume=naming.mount_point(home))
    receipts.write(receipt)
    return ManagedVm(machine, receipt)


def _require(uuid: str, prlctl: Prlctl) -> VirtualMachine:
    machine = prlctl.find(uuid)
    if machine is None:
        raise VmNotFound(
            f"Registering the virtual machine {uuid} failed: prlctl reported success, but does not list it."
        )
    return machine


def _undo(uuid: str, cause: BaseException, prlctl: Prlctl, receipts: Receipts, patience: Patience) -> bool:
    """Undo a creation that failed; return True if that was possible. If not, the receipt stays for the next task."""
    try:
        receipt = receipts.read(uuid)
        if receipt is None:
            return True
        remove.erase(receipt, prlctl, patience)
        # At its deadline prlctl was ended, but what it asked for may still happen.
        if not isinstance(cause, PrlctlTimeout):
            receipts.remove(uuid)
    except HostError as error:
        if isinstance(cause, HostError):
            cause.details["not_undone"] = str(error)
        return False
    return True


def _warnings(receipt: Receipt, receipts: Receipts) -> t.Tuple[str, ...]:
    """Return a warning when the second macOS VM of one image is made, and none for those that follow."""
    if not receipt.home.endswith(".macvm"):
        return ()
    others = [
        other
        for other in receipts.read_all()[0]
        if other.state == READY and other.digest == receipt.digest and other.home.endswith(".macvm")
    ]
    if len(others) != 1:
        return ()
    return (
        f"{receipt.vm_name} and {others[0].vm_name} are made of the same macOS image, so they share its hardware "
        "identifier and serial number (ECID, in macid.bin). Do not enrol more than one of them in device management, "
        "and do not sign in to iCloud in both.",
    )
