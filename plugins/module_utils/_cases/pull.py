# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Pull: this host has an image in its cache, a virtual machine made of it, or neither. Plan, then apply."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Blocked, Missing
from ansible_collections.macfleet.parallels.plugins.module_utils._api.records import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.moments import utc_text
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import cache as _cache
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import pull_image as _pull_image
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines import vms
from ansible_collections.macfleet.parallels.plugins.module_utils._host import cache as caches
from ansible_collections.macfleet.parallels.plugins.module_utils._host import (
    clone,
    config_pvs,
    locks,
    records,
    requirements,
    volumes,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CacheError,
    DiskFull,
    PathTaken,
    RequirementsUnmet,
    VmNotFound,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.machines import VirtualMachine
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import Receipt, Receipts

Params = t.Mapping[str, t.Any]
CACHED = "cached"
PRESENT = "present"
STARTED = "started"
ABSENT = "absent"

# Below this many bytes to move a pull is done at once, without a background job and its polling.
SHORT_BYTES = 64 << 20


@dataclass(frozen=True)
class PullRequest:
    """What the task asks for, and what the controller found out.

    ``manifests`` are what the version means, at most one for each architecture. ``blocked`` holds the error
    of a version that must not be pulled for any of them.
    """

    state: str
    catalog_url: str
    catalog_id: str
    version: t.Optional[str]
    architecture: t.Optional[str]
    name: str
    directory: t.Optional[str]
    verify: bool
    manifests: tuple[Manifest, ...] = ()
    blocked: t.Optional[Blocked] = None


@dataclass(frozen=True)
class Plan:
    """What a pull would do. ``image`` is None when the cache does not matter.

    ``blocked`` says why a VM stays though its version must not be pulled any more; ``manifest`` is None then.
    ``victims`` are the digests of entries that go, ``forgets`` of those that other images have a use for.
    """

    request: PullRequest
    cache: caches.Cache
    manifest: t.Optional[Manifest]
    blocked: t.Optional[Blocked] = None
    image: t.Optional[_pull_image.ImagePlan] = None
    found: t.Optional[vms.Found] = None
    home: str = ""
    creates: bool = False
    starts: bool = False
    removes_vm: bool = False
    victims: tuple[str, ...] = ()
    forgets: tuple[str, ...] = ()
    machines: t.Optional[t.Sequence[VirtualMachine]] = None

    @property
    def changed(self) -> bool:
        """Whether the host would be changed."""
        image_changes = self.image is not None and self.image.changed
        return image_changes or self.creates or self.starts or self.removes_vm or bool(self.victims or self.forgets)

    @property
    def update_available(self) -> bool:
        """Whether the VM was made of another content than is wanted now."""
        has_vm = self.found is not None and self.found.vm is not None
        if not has_vm or self.manifest is None:
            return False
        return t.cast(vms.ManagedVm, t.cast(vms.Found, self.found).vm).receipt.digest != self.manifest.digest


@dataclass(frozen=True)
class Applied:
    """What a pull did beyond its plan: the VM, and all others, as they are now, and the counts of the transfer.

    ``machines`` is None where nobody asked: each call of prlctl takes its time.
    """

    vm: t.Optional[vms.ManagedVm]
    changed: bool
    transfer: t.Optional[_pull_image.ImageOutcome] = None
    machines: t.Optional[t.Sequence[VirtualMachine]] = None


def plan(request: PullRequest, context: Context) -> Plan:
    """Find out what is there and what has to be done; changes nothing.

    :raises Blocked: the version must not be pulled, and there is no VM of it yet
    :raises RequirementsUnmet: this host does not offer what the image needs
    :raises DiskFull: there is not enough room
    :raises VmNameTaken: somebody else's VM has the name
    """
    cache = caches.Cache.open(context.cache.path, create=False)
    if request.state == ABSENT:
        return _plan_absent(request, cache, context)
    found = None
    if request.state in (PRESENT, STARTED):
        machines = context.prlctl.list_machines()
        found = vms.Vms(context.prlctl, Receipts(cache.receipts_path)).look(request.name, machines)
        if found.vm is not None:
            try:
                manifest = _choose(request)
            except Blocked as error:
                return Plan(request, cache, None, error, found=found, machines=machines)
            starts = request.state == STARTED and not found.vm.runs
            return Plan(request, cache, manifest, found=found, starts=starts, machines=machines)
    manifest = _choose(request)
    directory = _directory(request, context) if found is not None else cache.path
    _check_requirements(request, manifest, directory)
    home = vms.home_path(directory, request.name, manifest.type) if found is not None else ""
    if found is not None:
        _check_free(home, found)
    image = _pull_image.plan_image(manifest, cache, context, must_verify=request.verify)
    _check_room(home, image, cache)
    if found is None:
        return Plan(request, cache, manifest, image=image)
    return Plan(
        request,
        cache,
        manifest,
        image=image,
        found=found,
        home=home,
        creates=True,
        starts=request.state == STARTED,
    )


def apply(made: Plan, context: Context) -> Applied:
    """Carry out a plan.

    :raises CacheLocked: another process worked on the same image or VM for too long
    :raises VmNotFound: the VM that should be started is not there any more
    """
    request = made.request
    if request.state == ABSENT:
        return _apply_absent(made, context)
    if made.image is None and not made.starts:
        return Applied(made.found.vm if made.found else None, changed=False, machines=made.machines)
    cache = caches.Cache.open(context.cache.path, create=True)
    transfer = None
    if made.image is not None:
        transfer = _pull_image.apply_image(
            made.image,
            cache,
            context,
            must_verify=request.verify,
            address=_address(request, t.cast(Manifest, made.manifest)),
        )
    if made.found is None:
        return Applied(None, t.cast(_pull_image.ImageOutcome, transfer).changed, transfer)
    with _vm_lock(request, cache, context):
        control = vms.Vms(context.prlctl, Receipts(cache.receipts_path))
        machines = context.prlctl.list_machines()
        found = control.look(request.name, machines)
        changed = transfer is not None and transfer.changed
        machine = found.vm
        if machine is None and transfer is not None:
            control.recover(found.interrupted)
            machine = _create(made, transfer.entry, cache, control, context)
            changed = True
        if machine is None:
            raise VmNotFound(
                f"Starting the virtual machine {request.name} failed: it was there, and has been removed meanwhile.",
                "Run the task again to make a new one.",
            )
        if request.state == STARTED and control.start(machine):
            now = context.prlctl.find(machine.machine.uuid)
            machine, changed = dataclasses.replace(machine, machine=now or machine.machine), True
        return Applied(machine, changed, transfer, _with(machines, machine))


def _with(machines: t.Sequence[VirtualMachine], vm: t.Optional[vms.ManagedVm]) -> t.Sequence[VirtualMachine]:
    """All machines, one of them as it is now."""
    if vm is None:
        return machines
    return (*(machine for machine in machines if machine.uuid != vm.machine.uuid), vm.machine)


def run(request: PullRequest, context: Context, *, check_mode: bool, may_defer: bool) -> dict[str, t.Any]:
    """The result of catalog_pull; with ``may_defer``, a long transfer is announced instead of carried out."""
    started = time.monotonic()
    try:
        made = plan(request, context)
    except Blocked:
        if not check_mode:
            _note_state(request, context)
        raise
    _cache.check_facts(context)
    if may_defer and not check_mode and not is_short(made):
        return {"changed": False, "transfer_pending": True}
    _warn_of_state(made, context)
    if not check_mode and made.image is None:
        _note_state(request, context)
    applied = Applied(made.found.vm if made.found else None, made.changed) if check_mode else apply(made, context)
    cache = made.cache if check_mode else caches.Cache.open(context.cache.path, create=False)
    return {
        **_described(made, applied),
        "elapsed": round(time.monotonic() - started, 3),
        "ansible_facts": _cache.current_facts(cache, context, may_publish=not check_mode, machines=applied.machines),
    }


def is_short(made: Plan) -> bool:
    """Whether applying a plan takes no background job."""
    if made.image is None:
        return True
    pack = made.image.pack
    moved = pack.download_bytes + pack.copied_bytes if pack is not None else 0
    return moved + _copied_bytes(made.home, made.image, made.cache) <= SHORT_BYTES


def _architecture(request: PullRequest) -> str:
    return addresses.normalise_architecture(request.architecture or requirements.hardware_architecture())


def _meant(request: PullRequest) -> t.Optional[Manifest]:
    architecture = _architecture(request)
    return next((manifest for manifest in request.manifests if manifest.architecture == architecture), None)


def _choose(request: PullRequest) -> Manifest:
    if request.blocked is not None:
        raise request.blocked
    manifest = _meant(request)
    if manifest is not None:
        addresses.check_pullable(manifest, request.catalog_id, request.version)
        return manifest
    raise Missing(
        f"There is no {request.catalog_id} {request.version or addresses.LATEST} for {_architecture(request)}, or none "
        "that you may see.",
        hint="Look at catalog_manifest_info, and check catalog_id, version and architecture.",
        code="unknown_manifest",
    )


def _directory(request: PullRequest, context: Context) -> str:
    directory = request.directory or context.prlctl.vm_home() or os.path.join("~", "Parallels")
    return os.path.abspath(os.path.expanduser(directory))


def _check_requirements(request: PullRequest, manifest: Manifest, directory: str) -> None:
    resources = requirements.read_resources(directory)
    sentences = requirements.unmet(manifest.minimum_requirements.to_json(), resources)
    if sentences:
        raise RequirementsUnmet(
            f"{request.catalog_id} {manifest.version} cannot run on this host: {' '.join(sentences)}",
            hint="Choose another host, or lower minimum_requirements of the manifest.",
            details={"unmet": sentences},
        )


def _check_free(home: str, found: vms.Found) -> None:
    if os.path.lexists(home) and not found.frees(home):
        raise PathTaken(
            f"Making the virtual machine failed: {home} exists and is not registered as ours.",
            "Move it away, or choose another name or path.",
        )


def _copied_bytes(home: str, image: _pull_image.ImagePlan, cache: caches.Cache) -> int:
    """What a VM takes beside the cached image: nothing if it is a clone."""
    if not home or volumes.can_clone(cache.path, os.path.dirname(home)):
        return 0
    return image.unpacked_bytes


def _check_room(home: str, image: _pull_image.ImagePlan, cache: caches.Cache) -> None:
    copied = _copied_bytes(home, image, cache)
    if not copied or volumes.share_volume(cache.path, os.path.dirname(home)):
        _pull_image.check_room(image, cache, home, copied)
        return
    _pull_image.check_room(image, cache)
    needed = copied + _pull_image.DISK_MARGIN_BYTES
    free = volumes.free_bytes(os.path.dirname(home))
    if free < needed:
        raise DiskFull(
            f"Making the virtual machine {home} needs {needed} bytes of disk space, as its volume has no clones of the "
            f"cache's files, and {free} are free.",
            hint="Choose a path on the volume of the cache, or make room; nothing was changed on this host.",
            details={"needed_bytes": needed, "free_bytes": free},
        )


def _address(request: PullRequest, manifest: Manifest) -> records.CachedAddress:
    return records.CachedAddress(request.catalog_url, manifest.catalog_id, manifest.version, manifest.architecture)


def _vm_lock(request: PullRequest, cache: caches.Cache, context: Context) -> t.ContextManager[None]:
    def waiting(present: str) -> None:
        context.progress.start("wait", 0)
        context.warn(f"Waiting for the lock of the virtual machine {request.name}: it is held by {present}.")

    return locks.hold(
        cache.vm_lock_path(request.name),
        f"work on the virtual machine {request.name}",
        context.cache.lock_timeout_seconds,
        on_wait=waiting,
        alive=context.progress.alive,
    )


def _create(
    made: Plan, entry: caches.CacheEntry, cache: caches.Cache, control: vms.Vms, context: Context
) -> vms.ManagedVm:
    request, manifest = made.request, t.cast(Manifest, made.manifest)
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
        home=made.home,
        cache_path=cache.path,
    )
    timeout_seconds, alive = context.cache.lock_timeout_seconds, context.progress.alive
    with cache.lock(entry.digest, context.doing, timeout_seconds, shared=True, alive=alive):
        created = control.create(entry.bundle_path, draft)
    if created.cloned.method == clone.COPY:
        context.warn(
            f"{made.home} is a full copy of {created.cloned.bytes_copied} bytes, as its volume has no clones of files "
            f"of {cache.path}. Keep both on one APFS volume to make virtual machines at once and without disk space."
        )
    return created.vm


def _plan_absent(request: PullRequest, cache: caches.Cache, context: Context) -> Plan:
    found = None
    if context.parallels is not None:
        found = vms.Vms(context.prlctl, Receipts(cache.receipts_path)).look(config_pvs.check_name(request.name))
    is_meant = _meaning(request)
    entries = [entry for entry in cache.entries() if any(map(is_meant, entry.record.addresses))]
    is_only_ours = {entry.digest: all(map(is_meant, entry.record.addresses)) for entry in entries}
    has_vm = found is not None and (found.vm is not None or bool(found.interrupted))
    return Plan(
        request,
        cache,
        None,
        found=found,
        removes_vm=has_vm,
        victims=tuple(digest for digest, is_ours in is_only_ours.items() if is_ours),
        forgets=tuple(digest for digest, is_ours in is_only_ours.items() if not is_ours),
    )


def _meaning(request: PullRequest) -> _cache.IsMeant:
    return _cache.meaning(request.catalog_id, request.version, request.catalog_url, request.architecture)


def _apply_absent(made: Plan, context: Context) -> Applied:
    if not made.changed:
        return Applied(None, changed=False)
    cache = caches.Cache.open(context.cache.path, create=True)
    if made.removes_vm:
        with _vm_lock(made.request, cache, context):
            control = vms.Vms(context.prlctl, Receipts(cache.receipts_path))
            found = control.look(made.request.name)
            control.recover(found.interrupted)
            if found.vm is not None:
                control.remove(found.vm)
    _cache.forget((*made.victims, *made.forgets), _meaning(made.request), cache, context)
    return Applied(None, changed=True)


def _warn_of_state(made: Plan, context: Context) -> None:
    if made.blocked is not None and made.found is not None and made.found.vm is not None:
        receipt = made.found.vm.receipt
        context.warn(
            f"The virtual machine {made.request.name} stays as it is, made of {receipt.catalog_id} {receipt.version}. "
            f"{made.blocked.message}"
        )


def _note_state(request: PullRequest, context: Context) -> None:
    """Have the cache remember as what the server shows the version now."""
    manifest = _meant(request)
    if manifest is not None:
        version: t.Optional[str] = manifest.version
        state = records.REVOKED if manifest.revoked else records.TAINTED if manifest.tainted else records.ACTIVE
    elif request.blocked is not None:
        # If it is a tag, nothing has its name.
        version, state = request.version, request.blocked.code
    else:
        return
    cache = caches.Cache.open(context.cache.path, create=False)
    is_meant = _cache.meaning(request.catalog_id, None, request.catalog_url, _architecture(request))
    for entry in cache.entries():
        for address in entry.record.addresses:
            if address.version == version and address.state != state and is_meant(address):
                # An entry that has gone meanwhile has no state.
                with contextlib.suppress(CacheError):
                    cache.mark_manifest_state(entry.digest, dataclasses.replace(address, state=state))


def _described(made: Plan, applied: Applied) -> dict[str, t.Any]:
    pack = made.image.pack if made.image is not None else None
    vm = applied.vm
    manifest = made.manifest.to_json() if made.manifest is not None else {}
    before, after = _diff(made)
    # What was carried out may differ from the plan: another process may have been faster, or in the way.
    moved = pack if applied.transfer is None else applied.transfer.pack
    downloaded = moved.download_bytes if moved else 0
    if applied.transfer is not None:
        downloaded = applied.transfer.applied.downloaded_bytes
    return {
        "changed": applied.changed,
        "manifest": manifest,
        "vm": _vm_result(vm) if vm is not None else {},
        "update_available": made.update_available,
        "manifest_state": made.blocked.code if made.blocked is not None else records.ACTIVE,
        "actions": _actions(made),
        "chunks": {"downloaded": moved.download_chunks if moved else 0},
        "bytes": {
            "logical": made.manifest.logical_bytes if made.manifest is not None else 0,
            "downloaded": downloaded,
            "downloaded_raw": moved.download_raw_bytes if moved else 0,
            "reused": moved.kept_bytes + moved.copied_bytes if moved else 0,
            "copied": moved.copied_bytes if moved else 0,
            "holes": moved.hole_bytes if moved else 0,
        },
        "resumed": made.image is not None and made.image.resumes,
        "diff": {"before": before, "after": after},
    }


def _vm_result(vm: vms.ManagedVm) -> dict[str, t.Any]:
    return {
        "uuid": vm.machine.uuid,
        "name": vm.machine.name,
        "state": vm.machine.state,
        "home": vm.machine.home or vm.receipt.home,
        "version": vm.receipt.version,
        "digest": vm.receipt.digest,
    }


def _actions(made: Plan) -> list[str]:
    request, pack = made.request, made.image.pack if made.image is not None else None
    sentences = []
    if pack is not None:
        sentences.append(
            f"Download {pack.download_bytes} bytes of {request.catalog_id} "
            f"{t.cast(Manifest, made.manifest).version} into {made.cache.path}."
        )
    if made.creates:
        sentences.append(f"Make the virtual machine {request.name} in {made.home}.")
    if made.starts:
        sentences.append(f"Start the virtual machine {request.name}.")
    if made.removes_vm:
        sentences.append(f"Delete the virtual machine {request.name}.")
    sentences.extend(f"Remove {digest} from {made.cache.path}." for digest in made.victims)
    sentences.extend(
        f"Forget that {digest} in {made.cache.path} is {request.catalog_id}; other images have the same content."
        for digest in made.forgets
    )
    return sentences


def _diff(made: Plan) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    before: dict[str, t.Any] = {}
    after: dict[str, t.Any] = {}
    if made.image is not None:
        before["cached"] = made.image.entry is not None and not made.image.changed
        after["cached"] = True
    if made.victims or made.forgets:
        before["cached"], after["cached"] = [*made.victims, *made.forgets], []
    if made.found is not None:
        vm = made.found.vm
        before["vm"] = vm.machine.state if vm is not None else "absent"
        running = made.starts or (vm is not None and vm.runs)
        unchanged = before["vm"] if vm is not None else "stopped"
        after["vm"] = "absent" if made.request.state == ABSENT else "running" if running else unchanged
    return before, after
