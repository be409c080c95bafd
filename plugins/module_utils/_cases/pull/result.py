# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What a pull did, and how that is told: the result of catalog_pull, its sentences and its diff. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Blocked
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import sentences as tell
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.cached import Removed
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.ensure import ImageOutcome
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.vms import ManagedVm
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.wanted import STARTED, PullRequest
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache import records
from ansible_collections.macfleet.parallels.plugins.module_utils._host.machines import VirtualMachine


@dataclass(frozen=True)
class Outcome:
    """What was done, or in check mode would be.

    ``made`` is the home of a VM that was made. ``adopted`` is True if a killed task had made it. ``left_bundle`` is the
    path of a bundle that stays when its VM is removed. ``power`` is the state that a VM was brought to. ``before`` and
    ``vm`` are the VM before and after. ``machines`` is None if prlctl was not asked: each call of it takes its time.
    """

    manifest: t.Optional[Manifest] = None
    blocked: t.Optional[Blocked] = None
    image: t.Optional[ImageOutcome] = None
    cache_path: str = ""
    before: t.Optional[ManagedVm] = None
    vm: t.Optional[ManagedVm] = None
    made: str = ""
    adopted: bool = False
    power: t.Optional[str] = None
    removed_vm: bool = False
    left_bundle: str = ""
    purged: Removed = Removed()
    machines: t.Optional[t.Sequence[VirtualMachine]] = None

    @property
    def changed(self) -> bool:
        """True if the host is not as it was."""
        image_changed = self.image is not None and self.image.changed
        return image_changed or bool(self.made or self.adopted or self.power or self.removed_vm or self.purged)

    @property
    def update_available(self) -> bool:
        """True if the VM was made of another content than is wanted now."""
        if self.vm is None or self.manifest is None:
            return False
        return self.vm.receipt.digest != self.manifest.digest


def result_of(outcome: Outcome, request: PullRequest) -> dict[str, t.Any]:
    """Return the part of the result of catalog_pull that an outcome tells."""
    image = outcome.image or ImageOutcome(False)
    pack = image.fill.pack if image.fill is not None else None
    downloaded = pack.download_bytes if pack is not None else 0
    if image.applied is not None:
        downloaded = image.applied.downloaded_bytes
    chunks, raw = _whole(image)
    before, after = _diff(outcome)
    return {
        "changed": outcome.changed,
        "manifest": outcome.manifest.to_json() if outcome.manifest is not None else {},
        "vm": _vm(outcome.vm) if outcome.vm is not None else {},
        "update_available": outcome.update_available,
        "manifest_state": outcome.blocked.code if outcome.blocked is not None else records.ACTIVE,
        "actions": _actions(outcome, request, downloaded),
        "chunks": {"downloaded": chunks},
        "bytes": {
            "logical": outcome.manifest.logical_bytes if outcome.manifest is not None else 0,
            "downloaded": downloaded,
            "downloaded_raw": raw,
            "reused": pack.kept_bytes + pack.copied_bytes if pack is not None else 0,
            "copied": pack.copied_bytes if pack is not None else 0,
            "patched": _patched(image),
            "index": image.fill.index_bytes if image.fill is not None else 0,
            "holes": pack.hole_bytes if pack is not None else 0,
        },
        "freed_bytes": outcome.purged.freed_bytes,
        "resumed": image.fill is not None and image.fill.resumes,
        "diff": {"before": before, "after": after},
    }


def _whole(image: ImageOutcome) -> tuple[int, int]:
    """Return the distinct chunks that were downloaded whole, or would be, and their raw bytes."""
    if image.fill is None:
        return 0, 0
    chunks, raw = image.fill.pack.download_chunks, image.fill.pack.download_raw_bytes
    if image.applied is None:
        return chunks, raw
    return chunks + image.applied.repaired_chunks, raw + image.applied.repaired_bytes


def _patched(image: ImageOutcome) -> int:
    if image.applied is not None:
        return image.applied.patched_bytes
    return image.fill.pack.patched_bytes if image.fill is not None else 0


def _vm(vm: ManagedVm) -> dict[str, t.Any]:
    return {
        "uuid": vm.machine.uuid,
        "name": vm.machine.name,
        "state": vm.machine.state,
        "home": vm.machine.home or vm.receipt.home,
        "version": vm.receipt.version,
        "digest": vm.receipt.digest,
    }


def _actions(outcome: Outcome, request: PullRequest, downloaded: int) -> list[str]:
    sentences = []
    image = outcome.image
    if image is not None and image.changed and outcome.manifest is not None:
        name = f"{request.catalog_id} {outcome.manifest.version}"
        if image.fill is not None:
            sentences.append(tell.download(downloaded, name, outcome.cache_path))
        else:
            sentences.append(tell.repair(name, outcome.cache_path))
    if outcome.made:
        sentences.append(tell.make_vm(request.name, outcome.made))
    if outcome.adopted:
        sentences.append(tell.adopt_vm(request.name))
    if outcome.power is not None:
        sentences.append(power_sentence(outcome.power, request))
    if outcome.removed_vm:
        sentences.append(tell.delete_vm(request.name, outcome.left_bundle))
    sentences.extend(map(tell.remove_entry, outcome.purged.removed))
    sentences.extend(tell.forget(digest, request.catalog_id) for digest in outcome.purged.forgotten)
    return sentences


def power_sentence(power: str, request: PullRequest) -> str:
    return tell.start_vm(request.name) if power == STARTED else tell.stop_vm(request.name)


def _diff(outcome: Outcome) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    before: dict[str, t.Any] = {}
    after: dict[str, t.Any] = {}
    if outcome.image is not None:
        before["cached"], after["cached"] = outcome.image.was_cached, True
    if outcome.purged:
        before["cached"], after["cached"] = [*outcome.purged.removed, *outcome.purged.forgotten], []
    if outcome.before is not None or outcome.made or outcome.removed_vm:
        before["vm"] = outcome.before.machine.state if outcome.before is not None else "absent"
        if outcome.adopted:
            before["vm"] = "unfinished"
        after["vm"] = _state_after(outcome)
    return before, after


def _state_after(outcome: Outcome) -> str:
    if outcome.removed_vm:
        return "absent"
    if outcome.power is not None:
        return "running" if outcome.power == STARTED else "stopped"
    if outcome.made or outcome.before is None:
        return "stopped"
    return outcome.before.machine.state
