# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What kind of work a pull is: found out without a lock, and without changing anything."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Blocked
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import lies_at
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import cached
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines import bundles, vms
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.lookup import Found, ManagedVm
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.power import check_macos_limit
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.absent import RemoveVm, plan_absent
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.demands import check_compute, home_of
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.machine import KeepVm, MakeVm, power_of
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.wanted import (
    ABSENT,
    CACHED,
    STARTED,
    PullRequest,
    choose,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CloneFailed,
    PathTaken,
    translated,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.machines import VirtualMachine


@dataclass(frozen=True)
class CacheImage:
    """The image is to be in the cache."""

    manifest: Manifest


Plan = t.Union[CacheImage, KeepVm, MakeVm, RemoveVm]


def plan(request: PullRequest, context: Context) -> Plan:
    """Return what kind of work there is; changes nothing, holds no lock.

    :raises Blocked: the version must not be pulled, and there is no VM of it yet
    :raises RequirementsUnmet: this host has not the processor or the memory that the image needs
    :raises VmNameTaken: somebody else's VM has the name
    :raises VmBroken, VmUnregistered: there is a VM of ours that cannot be used, and must not be lost
    :raises VolumeMissing: a volume that is needed is not mounted
    :raises MacosLimit: as many macOS VMs run as can
    """
    cache = cached.look_at_cache(context)
    if request.state == ABSENT:
        return plan_absent(request, cache, context)
    if request.state == CACHED:
        return CacheImage(choose(request))
    control = vms.Vms.of(context, cache)
    # Something may lie where the VM would be made because another task makes it just now: so there is a second look.
    for _look in range(2):
        machines = context.prlctl.list_machines()
        found = control.look(request.name, machines)
        if found.vm is not None:
            return _plan_existing(found.vm, machines, request)
        found.require_sound()
        planned = _plan_make(request, found, machines, context)
        if planned is not None:
            return planned
    raise PathTaken(
        f"Making the virtual machine failed: {home_of(request, choose(request), context)} exists and is not registered "
        "as ours.",
        "Move it away, or choose another name or path.",
    )


def _plan_make(
    request: PullRequest, found: Found, machines: t.Sequence[VirtualMachine], context: Context
) -> t.Optional[MakeVm]:
    """Return what makes the VM, None if something lies in the way."""
    manifest = choose(request)
    check_compute(request, manifest)
    home = home_of(request, manifest, context)
    bundles.check_directory(os.path.dirname(home))
    with translated(CloneFailed, f"Examining {home}"):
        if lies_at(home) and not found.frees(home):
            return None
    if request.state == STARTED:
        check_macos_limit(machines, home)
    return MakeVm(manifest, home, request.state == STARTED)


def _plan_existing(vm: ManagedVm, machines: t.Sequence[VirtualMachine], request: PullRequest) -> KeepVm:
    power = power_of(request, vm)
    try:
        manifest = choose(request)
    except Blocked as error:
        return KeepVm(vm, machines, blocked=error)
    if power == STARTED:
        check_compute(request, manifest)
        check_macos_limit(machines, vm.home, vm.machine.uuid)
    return KeepVm(vm, machines, manifest, power=power)
