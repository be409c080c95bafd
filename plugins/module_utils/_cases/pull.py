# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.
"""Pull: this host has an image in its cache, a virtual machine made of it, or neither. Plan, then apply.

A plan is cheap and made without a lock; it says which kind of work there is. The image is planned once: without a
lock in check mode, under its lock in the real run. What is done is told by an ``Outcome``, never by the plan.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Blocked
from ansible_collections.macfleet.parallels.plugins.module_utils._api.records import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._base.moments import utc_text
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import cached, host_facts, room
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.cached import Removed
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images import ensure, observe
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.ensure import ImagePlan
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.observe import ImageKey
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.segmented import Fill
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines import naming, vms
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.lookup import Found, ManagedVm
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.power import check_macos_limit
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull_result import Outcome, result_of
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.wanted import (
    ABSENT,
    CACHED,
    STARTED,
    STOPPED,
    PullRequest,
    address_of,
    architecture,
    choose,
    meant,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host import clone, requirements, volumes
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache import records
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.layout import CacheEntry
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CacheError,
    PathTaken,
    RequirementsUnmet,
    VmNotFound,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.machines import VirtualMachine
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import Receipt

# Below this many bytes to move a pull is short: the controller need not watch it.
SHORT_BYTES = 64 << 20


@dataclass(frozen=True)
class CacheImage:
    """The image is to be in the cache."""

    manifest: Manifest


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


@dataclass(frozen=True)
class RemoveVm:
    """A virtual machine, and what interrupted tasks left of it, are to go; ``purges`` is what goes from the cache."""

    found: t.Optional[Found]
    purges: Removed


Plan = t.Union[CacheImage, KeepVm, MakeVm, RemoveVm]


def plan(request: PullRequest, context: Context) -> Plan:
    """Return what kind of work there is; changes nothing, holds no lock.

    :raises Blocked: the version must not be pulled, and there is no VM of it yet
    :raises RequirementsUnmet: this host has not the processor or the memory that the image needs
    :raises VmNameTaken: somebody else's VM has the name
    :raises VmBroken, VmUnregistered: there is a VM of ours that cannot be used, and must not be lost
    :raises MacosLimit: as many macOS VMs run as can
    """
    cache = cached.look_at_cache(context)
    if request.state == ABSENT:
        return _plan_absent(request, cache, context)
    if request.state == CACHED:
        return CacheImage(choose(request))
    control = vms.Vms.of(context, cache)
    machines = context.prlctl.list_machines()
    found = control.look(request.name, machines)
    if found.vm is None:
        found.require_sound()
        planned = _plan_make(request, found, machines, context)
        if planned is not None:
            return planned
        # Something lies where the VM would be made: another task may have made it since the machines were listed.
        machines = context.prlctl.list_machines()
        found = control.look(request.name, machines)
    if found.vm is not None:
        return _plan_existing(found.vm, machines, request)
    raise PathTaken(
        f"Making the virtual machine failed: {_home(request, choose(request), context)} exists and is not registered "
        "as ours.",
        "Move it away, or choose another name or path.",
    )


def _plan_make(
    request: PullRequest, found: Found, machines: t.Sequence[VirtualMachine], context: Context
) -> t.Optional[MakeVm]:
    """Return what makes the VM, None if something lies in the way."""
    manifest = choose(request)
    _check_compute(request, manifest)
    home = _home(request, manifest, context)
    if os.path.lexists(home) and not found.frees(home):
        return None
    if request.state == STARTED:
        check_macos_limit(machines, home)
    return MakeVm(manifest, home, request.state == STARTED)


def _plan_existing(vm: ManagedVm, machines: t.Sequence[VirtualMachine], request: PullRequest) -> KeepVm:
    power = _power(request, vm)
    try:
        manifest = choose(request)
    except Blocked as error:
        return KeepVm(vm, machines, blocked=error)
    if power == STARTED:
        _check_compute(request, manifest)
        check_macos_limit(machines, vm.home, vm.machine.uuid)
    return KeepVm(vm, machines, manifest, power=power)


def predict(planned: Plan, request: PullRequest, context: Context) -> Outcome:
    """Return the outcome of a plan that is not carried out.

    :raises DiskFull: there is not enough room
    """
    if isinstance(planned, KeepVm):
        return _kept(planned, planned.power)
    if isinstance(planned, RemoveVm):
        return _removed(planned, planned.found is not None and _is_there(planned.found), planned.purges)
    cache = cached.look_at_cache(context)
    home = planned.home if isinstance(planned, MakeVm) else ""
    image = ensure.plan_image(planned.manifest, cache, context, verify=request.verify)
    ensure.check_room(image, cache, _needs(image, home, request, planned.manifest, cache))
    return Outcome(
        planned.manifest,
        image=ensure.predict(image),
        cache_path=cache.path,
        made=home,
        power=STARTED if isinstance(planned, MakeVm) and planned.starts else None,
    )


def apply(planned: Plan, request: PullRequest, context: Context) -> Outcome:
    """Carry out a plan; return what was done.

    A failure carries what had been done by then as its ``outcome``.

    :raises CacheLocked: another process worked on the same image or VM for too long
    :raises VmNotFound: the VM that should be started is not there any more
    """
    if isinstance(planned, KeepVm):
        return _kept(planned, None) if planned.power is None else _apply_power(planned, request, context)
    if isinstance(planned, RemoveVm):
        return _apply_absent(planned, request, context)
    return _apply_image(planned, request, context)


def run(request: PullRequest, context: Context, *, check_mode: bool) -> dict[str, t.Any]:
    """Return the result of catalog_pull."""
    started = time.monotonic()
    try:
        planned = plan(request, context)
    except Blocked:
        if not check_mode:
            _note_state(request, context)
        raise
    host_facts.check_publishable(context)
    if isinstance(planned, KeepVm):
        _warn_of_state(planned, request, context)
        if not check_mode:
            _note_state(request, context)
    outcome = predict(planned, request, context) if check_mode else apply(planned, request, context)
    cache = cached.look_at_cache(context)
    return {
        **result_of(outcome, request),
        "elapsed": round(time.monotonic() - started, 3),
        "parallels_catalog": host_facts.current_document(
            cache, context, may_publish=not check_mode, machines=outcome.machines
        ),
    }


# Images and virtual machines


def _apply_image(planned: t.Union[CacheImage, MakeVm], request: PullRequest, context: Context) -> Outcome:
    manifest = planned.manifest
    home = planned.home if isinstance(planned, MakeVm) else ""
    cache = cached.open_cache(context)
    key = ImageKey(address_of(request, manifest), manifest.digest)
    _expect(manifest, home, cache, request, context)
    held = ensure.held_image(
        key,
        manifest,
        cache,
        context,
        verify=request.verify,
        room_for=lambda image: _needs(image, home, request, manifest, cache),
    )
    with held as (entry, image):
        outcome = Outcome(manifest, image=image, cache_path=cache.path)
        if isinstance(planned, MakeVm):
            with _telling(lambda: outcome, request):
                outcome = _make(planned, entry, outcome, request, cache, context)
    cached.empty_trash(cache, context)
    return outcome


def _make(
    planned: MakeVm, entry: CacheEntry, outcome: Outcome, request: PullRequest, cache: Cache, context: Context
) -> Outcome:
    """Make the VM unless another task was faster, and bring it to its state; the image is held."""
    with _vm_lock(planned.home, request, context):
        control = vms.Vms.of(context, cache)
        machines = context.prlctl.list_machines()
        found = control.look(request.name, machines)
        found.require_sound()
        vm = found.vm
        if vm is None:
            control.recover(found.interrupted)
            vm = _created(planned, entry, cache, control, request, context)
            outcome = dataclasses.replace(outcome, made=planned.home, vm=vm)
        else:
            outcome = dataclasses.replace(outcome, before=vm, vm=vm)
        with _telling(lambda: outcome, request):
            power = _power(request, vm)
            if power is not None:
                vm = _powered(vm, power, control, context)
                outcome = dataclasses.replace(outcome, power=power, vm=vm)
        return dataclasses.replace(outcome, machines=_with(machines, vm))


def _apply_power(planned: KeepVm, request: PullRequest, context: Context) -> Outcome:
    cache = cached.open_cache(context)
    with _vm_lock(planned.vm.home, request, context):
        control = vms.Vms.of(context, cache)
        machines = context.prlctl.list_machines()
        vm = control.look(request.name, machines).vm
        if vm is None:
            raise VmNotFound(
                f"Bringing the virtual machine {request.name} to the state {request.state} failed: it was there, and "
                "has been removed meanwhile.",
                "Run the task again to make a new one.",
            )
        power = _power(request, vm)
        after = vm if power is None else _powered(vm, power, control, context)
        outcome = _kept(dataclasses.replace(planned, vm=vm), power)
        return dataclasses.replace(outcome, vm=after, machines=_with(machines, after))


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
    created = control.create(entry.bundle_path, draft)
    if created.cloned.method == clone.COPY:
        context.warn(
            f"{planned.home} is a full copy of {created.cloned.bytes_copied} bytes, as its volume has no clones of "
            f"files of {cache.path}. Keep both on one APFS volume to make virtual machines at once and without disk "
            "space."
        )
    for sentence in created.warnings:
        context.warn(sentence)
    return created.vm


def _power(request: PullRequest, vm: ManagedVm) -> t.Optional[str]:
    """Return the state that a VM has to be brought to, None if it is in it."""
    if request.state == STARTED and not vm.runs:
        return STARTED
    if request.state == STOPPED and not vm.is_stopped:
        return STOPPED
    return None


def _powered(vm: ManagedVm, power: str, control: vms.Vms, context: Context) -> ManagedVm:
    if power == STARTED:
        control.start(vm)
    else:
        control.stop(vm)
    now = context.prlctl.find(vm.machine.uuid)
    return dataclasses.replace(vm, machine=now or vm.machine)


def _kept(planned: KeepVm, power: t.Optional[str]) -> Outcome:
    return Outcome(
        planned.manifest,
        planned.blocked,
        before=planned.vm,
        vm=planned.vm,
        power=power,
        machines=planned.machines,
    )


def _with(machines: t.Sequence[VirtualMachine], vm: ManagedVm) -> t.Sequence[VirtualMachine]:
    """Return all machines, one of them as it is now."""
    return (*(machine for machine in machines if machine.uuid != vm.machine.uuid), vm.machine)


@contextlib.contextmanager
def _telling(outcome: t.Callable[[], Outcome], request: PullRequest) -> t.Iterator[None]:
    """Have a failure of the block tell what was done before it."""
    try:
        yield
    except CatalogError as error:
        if not error.done:
            error.done = tuple(result_of(outcome(), request)["actions"]) if outcome().changed else ()
        raise


# Absence


def _plan_absent(request: PullRequest, cache: Cache, context: Context) -> RemoveVm:
    is_meant = cached.meaning(request.catalog_id, request.version, request.catalog_url, request.architecture)
    found = None
    if context.parallels is not None:
        found = _meant_of(vms.Vms.of(context, cache).look(request.name), is_meant, context)
    purges = cached.plan_purge(cache, is_meant) if request.purge_cache else Removed()
    return RemoveVm(found, purges)


def _meant_of(found: Found, is_meant: cached.IsMeant, context: Context) -> Found:
    """Return what was found as far as it was made of the image that is meant."""
    for receipt in found.unregistered:
        context.warn(
            f"The bundle {receipt.home} of the virtual machine {receipt.vm_name} stays: somebody unregistered it in "
            "Parallels Desktop."
        )
    vm, broken = found.vm, found.broken
    if found.removable is not None and not is_meant(_address(found.removable.receipt)):
        receipt = found.removable.receipt
        context.warn(
            f"The virtual machine {receipt.vm_name} stays: it was made of {receipt.catalog_id} "
            f"{receipt.version}, which is not what this task removes."
        )
        vm = broken = None
    return dataclasses.replace(
        found,
        vm=vm,
        broken=broken,
        interrupted=tuple(receipt for receipt in found.interrupted if is_meant(_address(receipt))),
    )


def _address(receipt: Receipt) -> records.CachedAddress:
    return records.CachedAddress(receipt.catalog_url, receipt.catalog_id, receipt.version, receipt.architecture)


def _is_there(found: Found) -> bool:
    return found.removable is not None or bool(found.interrupted)


def _home_of(found: Found) -> str:
    """Return where the VM lies, or what is left of it."""
    return found.interrupted[0].home if found.removable is None else found.removable.home


def _apply_absent(planned: RemoveVm, request: PullRequest, context: Context) -> Outcome:
    removes = planned.found is not None and _is_there(planned.found)
    if not removes and not planned.purges:
        return _removed(planned, False, Removed())
    cache = cached.open_cache(context)
    is_meant = cached.meaning(request.catalog_id, request.version, request.catalog_url, request.architecture)
    if planned.found is not None and removes:
        with _vm_lock(_home_of(planned.found), request, context):
            control = vms.Vms.of(context, cache)
            found = _meant_of(control.look(request.name), is_meant, context)
            removes = _is_there(found)
            control.recover(found.interrupted)
            if found.removable is not None:
                control.remove(found.removable)
    outcome = _removed(planned, removes, Removed())
    if not planned.purges:
        return outcome
    with _telling(lambda: outcome, request):
        purged = cached.purge(planned.purges, is_meant, cache, context)
    return dataclasses.replace(outcome, purged=purged, cache_path=cache.path)


def _removed(planned: RemoveVm, removes: bool, purged: Removed) -> Outcome:
    before = planned.found.removable if planned.found is not None else None
    return Outcome(before=before, removed_vm=removes, purged=purged)


# What is asked of the host


def _home(request: PullRequest, manifest: Manifest, context: Context) -> str:
    directory = request.directory or context.prlctl.vm_home() or os.path.join("~", "Parallels")
    return naming.home_path(os.path.abspath(os.path.expanduser(directory)), request.name, manifest.type)


def _check_compute(request: PullRequest, manifest: Manifest) -> None:
    """Check processor and memory, for a VM that is going to be made or started."""
    minimum = manifest.minimum_requirements.to_json()
    _check_requirements(request, manifest, requirements.unmet_compute(minimum, requirements.read_resources("/")))


def _check_requirements(request: PullRequest, manifest: Manifest, sentences: t.Sequence[str]) -> None:
    if sentences:
        raise RequirementsUnmet(
            f"{request.catalog_id} {manifest.version} cannot run on this host: {' '.join(sentences)}",
            hint="Choose another host, or lower minimum_requirements of the manifest.",
            details={"unmet": list(sentences)},
        )


def _needs(
    image: ImagePlan, home: str, request: PullRequest, manifest: Manifest, cache: Cache
) -> t.Sequence[room.Need]:
    """Return what is written besides the image, having checked the disk space that the image demands.

    Space is demanded of what is going to be done only: what the image takes already counts as free.

    :raises RequirementsUnmet: there is less
    """
    if not home and not isinstance(image, Fill):
        return ()
    directory = os.path.dirname(home) if home else cache.path
    taken = 0 if isinstance(image, Fill) else image.entry.record.allocated_bytes
    free_mb = requirements.read_resources(directory).disk_free_mb
    minimum = manifest.minimum_requirements.to_json()
    _check_requirements(request, manifest, requirements.unmet_disk(minimum, free_mb, taken >> 20))
    if not home or volumes.can_clone(cache.path, directory):
        return ()
    size = image.unpacked_bytes if isinstance(image, Fill) else taken
    return (room.Need(directory, size, f"copying {manifest.catalog_id} {manifest.version} to {home}"),)


def _expect(manifest: Manifest, home: str, cache: Cache, request: PullRequest, context: Context) -> None:
    """Announce a long transfer, as far as a quick look without a lock can tell."""
    try:
        seen = observe.observe(cache, manifest.digest)
    except CacheError:
        # Somebody is removing or repairing it; what matters is seen under the lock.
        seen = observe.Seen()
    if seen.is_trusted and not request.verify and seen.entry is not None:
        is_cloned = not home or volumes.can_clone(cache.path, os.path.dirname(home))
        size = 0 if is_cloned else seen.entry.record.allocated_bytes
    elif seen.entry is not None or seen.partial is not None:
        size = manifest.logical_bytes
    else:
        size = manifest.stored_bytes or manifest.logical_bytes
    if size > SHORT_BYTES:
        context.before_long()


def _vm_lock(home: str, request: PullRequest, context: Context) -> t.ContextManager[None]:
    """Hold the name of the VM that lies, or will lie, at ``home``."""

    def waiting(present: str) -> None:
        context.before_long()
        context.progress.start("wait", 0)
        context.warn(f"Waiting for the lock of the virtual machine {request.name}: it is held by {present}.")

    return naming.lock_name(
        os.path.dirname(home),
        request.name,
        context.cache.lock_timeout_seconds,
        on_wait=waiting,
        alive=context.progress.alive,
    )


# What the cache remembers of the version


def _warn_of_state(planned: KeepVm, request: PullRequest, context: Context) -> None:
    if planned.blocked is not None:
        receipt = planned.vm.receipt
        context.warn(
            f"The virtual machine {request.name} stays as it is, made of {receipt.catalog_id} {receipt.version}. "
            f"{planned.blocked.message}"
        )


def _note_state(request: PullRequest, context: Context) -> None:
    """Remember in the cache in which state the server shows the version now."""
    manifest = meant(request)
    if manifest is not None:
        version: t.Optional[str] = manifest.version
        state = records.REVOKED if manifest.revoked else records.TAINTED if manifest.tainted else records.ACTIVE
    elif request.blocked is not None:
        # If it is a tag, nothing has its name.
        version, state = request.version, request.blocked.code
    else:
        return
    cache = cached.look_at_cache(context)
    is_meant = cached.meaning(request.catalog_id, None, request.catalog_url, architecture(request))
    for entry in cache.entries():
        for address in entry.record.addresses:
            if address.version == version and address.state != state and is_meant(address):
                # An entry that has gone meanwhile has no state.
                with contextlib.suppress(CacheError):
                    cache.mark_manifest_state(entry.digest, dataclasses.replace(address, state=state))
