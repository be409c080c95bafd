# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The VMs that this collection makes: look for them, make, start, stop and remove them.

Only VMs with a receipt of ours are touched. Callers hold the lock of the VM's name (:func:`naming.lock_name`) around
everything that changes something.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines import lookup, make, power, remove
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.lookup import Found, ManagedVm
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.make import CreatedVm
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.waiting import Patience
from ansible_collections.macfleet.parallels.plugins.module_utils._host import facts
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.plugins.module_utils._host.machines import VirtualMachine
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import Prlctl
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import Receipt, Receipts


@dataclasses.dataclass(frozen=True)
class Vms:
    """The VMs of one user, as far as one cache's receipts go. ``origins`` knows those of the user's other caches.

    ``did`` is given a sentence for each step of a longer change, as soon as it is made. ``warn`` reaches the user.
    """

    prlctl: Prlctl
    receipts: Receipts
    patience: Patience = Patience()
    origins: lookup.Origins = lambda _uuid: None
    did: t.Callable[[str], None] = lambda _sentence: None
    warn: t.Callable[[str], None] = lambda _sentence: None

    @classmethod
    def of(cls, context: Context, cache: Cache) -> Vms:
        """Return the VMs that are made through a cache.

        :raises PrlctlMissing: Parallels Desktop is not installed
        """

        def origin(uuid: str) -> t.Optional[str]:
            published = facts.read_published(context.cache.facts_directory)["vms"]
            return next((str(vm.get("cache_path")) for vm in published if vm.get("uuid") == uuid), None)

        patience = Patience(alive=context.progress.alive)
        return cls(context.prlctl, Receipts(cache.receipts_path), patience, origin, context.done.add, context.warn)

    def look(self, name: str, machines: t.Optional[t.Sequence[VirtualMachine]] = None) -> Found:
        """Look for the VM of exactly that name; see :func:`lookup.look`. Changes nothing."""
        return lookup.look(name, self.prlctl, self.receipts, machines, self.origins)

    def recover(self, interrupted: t.Iterable[Receipt]) -> None:
        """Undo or finish what interrupted tasks left; see :func:`remove.recover`."""
        remove.recover(interrupted, self.prlctl, self.receipts, self.patience, self.did)

    def create(
        self, source_bundle: str, draft: Receipt, check_source: t.Callable[[], None] = lambda: None
    ) -> CreatedVm:
        """Make, register and remember a VM; see :func:`make.create`."""
        return make.create(source_bundle, draft, self.prlctl, self.receipts, self.patience, check_source, self.did)

    def settle(self, vm: ManagedVm) -> ManagedVm:
        """Bring the receipt of a VM up to date, and return the VM; see :func:`make.settle`."""
        return make.settle(vm, self.prlctl, self.receipts)

    def start(self, vm: ManagedVm, *, headless: bool = True) -> bool:
        """Start or resume a VM; return True if it did not run. See :func:`power.start`."""
        return power.start(vm, self.prlctl, self.receipts, headless=headless, did=self.did)

    def stop(self, vm: ManagedVm, *, timeout_seconds: float = power.STOP_SECONDS, force: bool = False) -> bool:
        """Stop a VM politely; return True if it was not stopped. See :func:`power.stop`."""
        return power.stop(
            vm,
            self.prlctl,
            self.patience,
            timeout_seconds=timeout_seconds,
            force=force,
            did=self.did,
            warn=self.warn,
        )

    def remove(self, vm: ManagedVm) -> None:
        """Stop a VM and delete it with its bundle; see :func:`remove.remove`."""
        remove.remove(vm, self.prlctl, self.receipts, self.patience, self.did)
