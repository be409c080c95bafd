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
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines import lookup, remove, vms
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.lookup import Found
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.machine import hold_name, recover
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.result import Outcome
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.wanted import (
    PullRequest,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache import records
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CloneFailed, translated
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import Receipt, Receipts


@dataclass(frozen=True)
class RemoveVm:
    """A virtual machine, and what interrupted tasks left of it, are to go; ``purges`` is what goes from the cache."""

    found: t.Optional[Found]
    purges: Removed


def plan_absent(request: PullRequest, cache: Cache, context: Context) -> RemoveVm:
    """Return what is to go.

    :raises PrlctlMissing: Parallels Desktop is not installed, and a receipt says that there is such a VM
    """
    found = None
    if context.parallels is not None or _has_receipt(request, cache):
        found = _meant_of(vms.Vms.of(context, cache).look(request.name), request, context)
        found.require_volumes()
    purges = cached.plan_purge(cache, _purged_images(request)) if request.purge_cache else Removed()
    return RemoveVm(found, purges)


def _has_receipt(request: PullRequest, cache: Cache) -> bool:
    """Return True if a receipt says that the VM exists, or may exist."""
    receipts, unreadable = Receipts(cache.receipts_path).survey()
    named = [item.vm_name for item in unreadable if item.vm_name is not None]
    named += [receipt.vm_name for receipt in receipts if _difference(receipt, request) is None]
    return any(lookup.same_name(name, request.name) for name in named)


def _purged_images(request: PullRequest) -> cached.IsMeant:
    return cached.meaning(request.catalog_id, request.version, request.catalog_url, request.architecture)


def _meant_of(found: Found, request: PullRequest, context: Context) -> Found:
    """Return what was found, and only what was made of the requested image."""
    for receipt in found.unregistered:
        context.warn(
            f"The bundle {receipt.home} of the virtual machine {receipt.vm_name} stays: somebody unregistered it in "
            "Parallels Desktop."
        )
    vm, broken = found.vm, found.broken
    difference = None if found.removable is None else _difference(found.removable.receipt, request)
    if difference is not None:
        context.warn(f"The virtual machine {request.name} stays: {difference}.")
        vm = broken = None
    return dataclasses.replace(
        found,
        vm=vm,
        broken=broken,
        interrupted=tuple(receipt for receipt in found.interrupted if _difference(receipt, request) is None),
    )


def _difference(receipt: Receipt, request: PullRequest) -> t.Optional[str]:
    """Return what a VM was made of that the task does not name, as half a sentence, or None if it is meant.

    The server does not count: it may have been renamed since the VM was made.
    """
    made_of = records.CachedAddress(receipt.catalog_url, receipt.catalog_id, receipt.version, receipt.architecture)
    if not cached.meaning(request.catalog_id)(made_of):
        return f"its catalog_id is {receipt.catalog_id}, and the task names {request.catalog_id}"
    if not cached.meaning(request.catalog_id, request.version)(made_of):
        return f"its version is {receipt.version}, and the task names {request.version}"
    if not cached.meaning(request.catalog_id, architecture=request.architecture)(made_of):
        return f"its architecture is {receipt.architecture}, and the task names {request.architecture}"
    return None


def is_there(found: Found) -> bool:
    return found.removable is not None or bool(found.interrupted)


def _home_of(found: Found) -> str:
    """Return where the VM lies, or what is left of it."""
    return found.interrupted[0].home if found.removable is None else found.removable.home


def apply_absent(planned: RemoveVm, request: PullRequest, context: Context) -> Outcome:
    removes = planned.found is not None and is_there(planned.found)
    if not removes and not planned.purges:
        # A task that was killed may have left something to delete.
        cached.empty_trash(cached.look_at_cache(context), context)
        return removed(planned, False, Removed())
    cache = cached.open_cache(context)
    if planned.found is not None and removes:
        with hold_name(_home_of(planned.found), cache, request, context):
            control = vms.Vms.of(context, cache)
            found = _meant_of(control.look(request.name), request, context)
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
    purged = cached.purge(planned.purges, _purged_images(request), cache, context)
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
