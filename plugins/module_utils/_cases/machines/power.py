# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Starting and stopping VMs, and how many macOS VMs a Mac runs."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._cases import sentences as tell
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.lookup import ManagedVm
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.waiting import Patience
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    MacosLimit,
    PrlctlError,
    PrlctlTimeout,
    VmBusy,
    VmStillRuns,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.machines import (
    INVALID,
    PAUSED,
    STOPPED,
    SUSPENDED,
    VirtualMachine,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import Prlctl
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import Receipts

# Apple's licence of macOS and its virtualization framework allow two at a time.
MOST_RUNNING_MACOS = 2
# How long a guest has to shut down, unless somebody says otherwise.
STOP_SECONDS = 180

_ASLEEP = frozenset({SUSPENDED, PAUSED})
_AT_REST = frozenset({STOPPED, SUSPENDED, INVALID})


def start(
    vm: ManagedVm,
    prlctl: Prlctl,
    receipts: Receipts,
    *,
    headless: bool = True,
    did: t.Callable[[str], None] = lambda _sentence: None,
) -> bool:
    """Start or resume a VM; return True if it did not run. Does not wait for its guest.

    With ``headless``, a stopped VM is told before its first start to run without a window, as there may be nobody at
    the screen of the Mac; ``did`` is told of it. Whatever somebody sets later stays. macOS VMs (.macvm) have no such
    setting.
    """
    if vm.runs:
        return False
    uuid = vm.machine.uuid
    if vm.machine.state in _ASLEEP:
        prlctl.resume(uuid)
        return True
    if headless and not vm.receipt.headless and not vm.machine.is_macos:
        prlctl.hide_window(uuid)
        did(tell.hide_window(vm.receipt.vm_name))
        receipts.write(dataclasses.replace(vm.receipt, headless=True))
    prlctl.start(uuid)
    return True


def stop(
    vm: ManagedVm,
    prlctl: Prlctl,
    patience: Patience,
    *,
    timeout_seconds: float = STOP_SECONDS,
    force: bool = False,
    did: t.Callable[[str], None] = lambda _sentence: None,
    warn: t.Callable[[str], None] = lambda _sentence: None,
) -> bool:
    """Ask the guest to shut down, and wait until the VM is stopped. Return True if it was not stopped before.

    A suspended or paused VM is resumed for that, so nothing is lost; ``did`` is told of it. With ``force`` a VM whose
    guest has not shut down by the deadline is ended as if its plug was pulled. What was in its memory is lost then, and
    ``warn`` is told.

    :raises VmStillRuns: the guest did not shut down within ``timeout_seconds``, and ``force`` is False
    :raises VmBusy: it could not be ended by force
    """
    uuid = vm.machine.uuid
    if vm.machine.state == STOPPED:
        return False
    deadline = patience.clock() + timeout_seconds
    if vm.machine.state in _ASLEEP:
        prlctl.resume(uuid)
        did(tell.resume_to_stop(vm.receipt.vm_name))
    reason = _ask_to_stop(uuid, prlctl, timeout_seconds)
    if patience.wait_for(lambda: _state(uuid, prlctl) in (STOPPED, ""), deadline - patience.clock()):
        return True
    if not force:
        raise VmStillRuns(
            f"Stopping the virtual machine {vm.receipt.vm_name} failed: its guest had not shut down after "
            f"{timeout_seconds:g} s{reason}.",
            "Shut the guest down from inside, or give it more time with stop_timeout. With force_stop: true it is "
            "ended then, as if its plug was pulled.",
            {"vm_uuid": uuid},
        )
    stop_for_good(uuid, prlctl, patience)
    warn(
        f"The virtual machine {vm.receipt.vm_name} was ended by force: its guest had not shut down after "
        f"{timeout_seconds:g} s{reason}. What it had not written to its disks is lost."
    )
    return True


def _ask_to_stop(uuid: str, prlctl: Prlctl, timeout_seconds: float) -> str:
    """Ask a guest to shut down; return what prlctl said if it failed, for the error that may follow."""
    try:
        prlctl.stop(uuid, timeout_seconds)
    except PrlctlTimeout:
        # prlctl was ended at its deadline. The guest goes on shutting down.
        return ""
    except PrlctlError as error:
        # The VM may have been on its way already.
        return f" ({error.message.rstrip('.')})"
    return ""


def stop_for_good(uuid: str, prlctl: Prlctl, patience: Patience) -> None:
    """End the process of a VM by force. It is not an error if the VM is not registered any more.

    :raises VmBusy: its process does not end
    """
    state = _state(uuid, prlctl)
    if state in (STOPPED, ""):
        return
    refused: t.Optional[PrlctlError] = None
    try:
        if state == SUSPENDED:
            prlctl.drop_state(uuid)
        else:
            prlctl.kill(uuid)
    except PrlctlError as error:
        refused = error
        if state == PAUSED:
            # Some versions refuse to end a paused VM, so it has to run again first.
            refused = _resume_and_kill(uuid, prlctl)
    if refused is not None and state == INVALID:
        # Its bundle is gone, so there may be no process at all.
        return
    if not patience.wait_for(lambda: _state(uuid, prlctl) in {*_AT_REST, ""}, patience.kill_seconds):
        raise VmBusy(
            f"Ending the virtual machine {uuid} failed: it is still {_state(uuid, prlctl)}"
            f"{'' if refused is None else f' ({refused.message})'}.",
            "Stop it in Parallels Desktop, and run the task again.",
            {"vm_uuid": uuid},
        )


def _resume_and_kill(uuid: str, prlctl: Prlctl) -> t.Optional[PrlctlError]:
    try:
        prlctl.resume(uuid)
        prlctl.kill(uuid)
    except PrlctlError as error:
        return error
    return None


def _state(uuid: str, prlctl: Prlctl) -> str:
    """Return the state of a VM now, empty if it is not registered."""
    machine = prlctl.find(uuid)
    return machine.state if machine is not None else ""


def check_macos_limit(machines: t.Iterable[VirtualMachine], starting_home: str, starting_uuid: str = "") -> None:
    """Fail if the VM that lies, or will lie, at ``starting_home`` could not be started beside those that run.

    ``starting_uuid`` is its UUID if it is registered: it does not count itself. Only macOS VMs (.macvm) are counted.

    :raises MacosLimit: two macOS VMs run on this Mac
    """
    if not starting_home.endswith(".macvm"):
        return
    running = [one for one in machines if one.is_macos and one.state not in _AT_REST and one.uuid != starting_uuid]
    if len(running) < MOST_RUNNING_MACOS:
        return
    names = ", ".join(sorted(machine.name for machine in running))
    raise MacosLimit(
        f"Starting another macOS virtual machine is not possible: {names} run on this Mac, and Apple's licence allows "
        f"{MOST_RUNNING_MACOS} at a time.",
        "Stop one of them, use another Mac, or use state: present to make the virtual machine without starting it.",
        {"running": [machine.uuid for machine in running]},
    )
