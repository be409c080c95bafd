# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The virtual machine exists, in the state that is asked for: made, started or stopped under the lock of its name."""

from __future__ import annotations

import dataclasses
import os
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Blocked
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.moments import utc_text
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import cached
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import sentences as tell
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images import observe
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines import naming, vms
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.lookup import Found, ManagedVm
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.result import Outcome, power_sentence
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.wanted import (
    STARTED,
    STOPPED,
    PullRequest,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host import file_clone
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.layout import CacheEntry
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    VmNotFound,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.machines import VirtualMachine
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import Receipt


@dataclass(frozen=True)
class KeepVm:
    """The virtual machine is there. ``power`` is the state that it has to be brought to, None if it may stay.

    ``manifest`` is None where the version must not be pulled any more; ``blocked`` says so.
    """

    vm: ManagedVm
    machines: t.Sequence[VirtualMachine]
    manifest: t.Optional[Manifest] = None
    blocked: t.Optional[Blocked] = None
    power: t.Optional[str] = None


@dataclass(frozen=True)
class MakeVm:
    """A virtual machine is to be made at ``home``, and started if ``starts``."""

    manifest: Manifest
    home: str
    starts: bool


def make(
    planned: MakeVm, entry: CacheEntry, outcome: Outcome, request: PullRequest, cache: Cache, context: Context
) -> Outcome:
    """Make the VM unless another task was faster, and bring it to its state; the image is held."""
    with hold_name(planned.home, cache, request, context):
        control = vms.Vms.of(context, cache)
        machines = context.prlctl.list_machines()
        found = control.look(request.name, machines)
        found.require_sound()
        vm = found.vm
        if vm is None:
            recover(found, control, context)
            vm = _created(planned, entry, cache, control, request, context)
            outcome = dataclasses.replace(outcome, made=planned.home, vm=vm)
        else:
            outcome = dataclasses.replace(outcome, before=vm, vm=vm, adopted=vm.is_unfinished)
            vm = _settled(vm, control, context)
        power = power_of(request, vm)
        if power is not None:
            vm = _powered(vm, power, control, request, context)
            outcome = dataclasses.replace(outcome, power=power, vm=vm)
        return dataclasses.replace(outcome, machines=_with(machines, vm))


def apply_power(planned: KeepVm, request: PullRequest, context: Context) -> Outcome:
    cache = cached.open_cache(context)
    with hold_name(planned.vm.home, cache, request, context):
        control = vms.Vms.of(context, cache)
        machines = context.prlctl.list_machines()
        vm = control.look(request.name, machines).vm
        if vm is None:
            raise VmNotFound(
                f"Bringing the virtual machine {request.name} to the state {request.state} failed: it was there, and "
                "has been removed meanwhile.",
                "Run the task again to make a new one.",
            )
        power = None if planned.blocked is not None else power_of(request, vm)
        planned = dataclasses.replace(planned, vm=vm)
        vm = _settled(vm, control, context)
        after = vm if power is None else _powered(vm, power, control, request, context)
        return dataclasses.replace(kept(planned, power), vm=after, machines=_with(machines, after))


def _created(
    planned: MakeVm, entry: CacheEntry, cache: Cache, control: vms.Vms, request: PullRequest, context: Context
) -> ManagedVm:
    manifest = planned.manifest
    draft = Receipt(
        vm_uuid="",
        vm_name=request.name,
        catalog_url=request.catalog_url,
        catalog_id=manifest.catalog_id,
        version=manifest.version,
        architecture=manifest.architecture,
        digest=manifest.digest,
        created_at=utc_text(time.time()),
        created_by=context.cache.owner,
        home=planned.home,
        cache_path=cache.path,
    )
    created = control.create(entry.bundle_path, draft, lambda: observe.require_unchanged(entry))
    context.done.add(tell.make_vm(request.name, planned.home))
    if created.cloned.method == file_clone.COPY:
        context.warn(
            f"{planned.home} is a full copy of {created.cloned.bytes_copied} bytes, as its volume has no clones of "
            f"files of {cache.path}. Keep both on one APFS volume to make virtual machines at once and without disk "
            "space."
        )
    for sentence in created.warnings:
        context.warn(sentence)
    return created.vm


def _settled(vm: ManagedVm, control: vms.Vms, context: Context) -> ManagedVm:
    settled = control.settle(vm)
    if vm.is_unfinished:
        context.done.add(tell.adopt_vm(vm.receipt.vm_name))
    return settled


def power_of(request: PullRequest, vm: ManagedVm) -> t.Optional[str]:
    """Return the state that a VM has to be brought to, None if it is in it."""
    if request.state == STARTED and not vm.runs:
        return STARTED
    if request.state == STOPPED and not vm.is_stopped:
        return STOPPED
    return None


def recover(found: Found, control: vms.Vms, context: Context) -> None:
    """Undo or finish what interrupted tasks left of a VM."""
    for receipt in found.interrupted:
        control.recover([receipt])
        context.done.add(tell.clear_remains(receipt.vm_name, receipt.home))


def _powered(vm: ManagedVm, power: str, control: vms.Vms, request: PullRequest, context: Context) -> ManagedVm:
    if power == STARTED:
        control.start(vm, headless=request.headless)
    else:
        control.stop(vm, timeout_seconds=request.stop_timeout_seconds, force=request.force_stop)
    context.done.add(power_sentence(power, request))
    now = context.prlctl.find(vm.machine.uuid)
    return dataclasses.replace(vm, machine=now or vm.machine)


def kept(planned: KeepVm, power: t.Optional[str]) -> Outcome:
    return Outcome(
        planned.manifest,
        planned.blocked,
        before=planned.vm,
        vm=planned.vm,
        adopted=planned.vm.is_unfinished,
        power=power,
        machines=planned.machines,
    )


def _with(machines: t.Sequence[VirtualMachine], vm: ManagedVm) -> t.Sequence[VirtualMachine]:
    """Return all machines, one of them as it is now."""
    return (*(machine for machine in machines if machine.uuid != vm.machine.uuid), vm.machine)


def hold_name(home: str, cache: Cache, request: PullRequest, context: Context) -> t.ContextManager[None]:
    """Hold the name of the VM that lies, or will lie, at ``home``."""

    def waiting(present: str) -> None:
        context.before_long()
        context.progress.start("wait", 0)
        context.warn(f"Waiting for the lock of the virtual machine {request.name}: it is held by {present}.")

    return naming.lock_name(
        cache.receipts_path,
        os.path.dirname(home),
        request.name,
        context.cache.lock_timeout_seconds,
        on_wait=waiting,
        alive=context.progress.alive,
        on_left=context.warn,
    )
