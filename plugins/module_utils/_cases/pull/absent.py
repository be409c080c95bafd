# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The virtual machine does not exist, nor, if that is asked for, do the cached versions of its image."""

from __future__ import annotations

import dataclasses
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import lies_at
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import cached
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import sentences as tell
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.cached import Removed
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines import remove, vms
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.lookup import Found
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.machine import hold_name, recover
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.result import Outcome
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.wanted import (
    PullRequest,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache import records
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CloneFailed, translated
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import Receipt


@dataclass(frozen=True)
class RemoveVm:
    """A virtual machine, and what interrupted tasks left of it, are to go; ``purges`` is what goes from the cache."""

    found: t.Optional[Found]
    purges: Removed


def plan_absent(request: PullRequest, cache: Cache, context: Context) -> RemoveVm:
    is_meant = cached.meaning(request.catalog_id, request.version, request.catalog_url, request.architecture)
    found = None
    if context.parallels is not None:
        found = _meant_of(vms.Vms.of(context, cache).look(request.name), is_meant, context)
        found.require_volumes()
    purges = cached.plan_purge(cache, is_meant) if request.purge_cache else Removed()
    return RemoveVm(found, purges)


def _meant_of(found: Found, is_meant: cached.IsMeant, context: Context) -> Found:
    """Return what was found, and only what was made of the requested image."""
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


def is_there(found: Found) -> bool:
    return found.removable is not None or bool(found.interrupted)


def _home_of(found: Found) -> str:
    """Return where the VM lies, or what is left of it."""
    return found.interrupted[0].home if found.removable is None else found.removable.home


def apply_absent(planned: RemoveVm, request: PullRequest, context: Context) -> Outcome:
    removes = planned.found is not None and is_there(planned.found)
    if not removes and not planned.purges:
        return removed(planned, False, Removed())
    cache = cached.open_cache(context)
    is_meant = cached.meaning(request.catalog_id, request.version, request.catalog_url, request.architecture)
    if planned.found is not None and removes:
        with hold_name(_home_of(planned.found), cache, request, context):
            control = vms.Vms.of(context, cache)
            found = _meant_of(control.look(request.name), is_meant, context)
            removes = is_there(found)
            recover(found, control, context)
            if found.removable is not None:
                left_bundle = remove.bundle_that_stays(found.removable)
                control.remove(found.removable)
                context.done.add(tell.delete_vm(request.name, left_bundle))
            _warn_of_what_stays(found, context)
    outcome = removed(planned, removes, Removed())
    if not planned.purges:
        return outcome
    purged = cached.purge(planned.purges, is_meant, cache, context)
    return dataclasses.replace(outcome, purged=purged, cache_path=cache.path)


def _warn_of_what_stays(found: Found, context: Context) -> None:
    """Warn of what lies where the bundles were that have been removed: somebody else put it there."""
    # A receipt without an inode is of a VM that never had a bundle.
    homes = {receipt.home: receipt.vm_name for receipt in found.interrupted if receipt.bundle_inode}
    if found.removable is not None:
        homes[found.removable.home] = found.removable.receipt.vm_name
    for home, name in homes.items():
        with translated(CloneFailed, f"Examining {home}"):
            stays = lies_at(home)
        if stays:
            context.warn(
                f"The bundle {home} stays: it is not the one that was made for the virtual machine {name}. Move it "
                "away before that virtual machine is made again."
            )


def removed(planned: RemoveVm, removes: bool, purged: Removed) -> Outcome:
    before = planned.found.removable if planned.found is not None else None
    left_bundle = remove.bundle_that_stays(before) if before is not None else ""
    return Outcome(before=before, removed_vm=removes, left_bundle=left_bundle, purged=purged)
