# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What catalog_cache did to the cache of a host, and how its result tells it. Pure."""

from __future__ import annotations

import dataclasses
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._cases import cached
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.observe import (
    Condition,
    Damaged,
    Untidy,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.layout import CacheEntry


@dataclass(frozen=True)
class Chosen:
    """One entry, and the condition that it was found in, None if nobody looked."""

    entry: CacheEntry
    condition: t.Optional[Condition] = None

    @property
    def damaged(self) -> tuple[str, ...]:
        """Paths inside of the bundle that are not what they should be."""
        if isinstance(self.condition, Damaged):
            return self.condition.paths
        if isinstance(self.condition, Untidy):
            return (*self.condition.mends, *self.condition.strays)
        return ()


@dataclass(frozen=True)
class Outcome:
    """What was done, or in check mode would be: digests removed, and digests repaired without a download.

    ``forgotten`` are digests that other images keep in the cache.
    """

    chosen: tuple[Chosen, ...]
    removed: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()
    freed_bytes: int = 0
    forgotten: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """True if the cache holds something else than before."""
        return bool(self.removed or self.repaired or self.forgotten)


def result_of(outcome: Outcome, is_meant: t.Optional[cached.IsMeant]) -> dict[str, t.Any]:
    """Return the part of the result of catalog_cache that an outcome tells. ``is_meant`` is that of the request."""
    return {
        "changed": outcome.changed,
        "entries": [_entry_result(item) for item in outcome.chosen],
        "removed": list(outcome.removed),
        "repaired": list(outcome.repaired),
        "forgotten": list(outcome.forgotten),
        "freed_bytes": outcome.freed_bytes,
        "diff": _diff(outcome, is_meant),
    }


def label(entry: CacheEntry) -> str:
    """Return what to call an entry in messages: its images, or its digest if it has none."""
    names = [f"{address.catalog_id} {address.version}" for address in entry.record.addresses]
    return ", ".join(dict.fromkeys(names)) or entry.digest


def _entry_result(item: Chosen) -> dict[str, t.Any]:
    return {
        "digest": item.entry.digest,
        "addresses": [dataclasses.asdict(address) for address in item.entry.record.addresses],
        "damaged": list(item.damaged),
    }


def _diff(outcome: Outcome, is_meant: t.Optional[cached.IsMeant]) -> dict[str, t.Any]:
    """Return what the cache held and holds, by the name of the image where it has one."""
    before = {item.entry.digest: label(item.entry) for item in outcome.chosen}
    before.update((digest, "unnamed") for digest in outcome.removed if digest not in before)
    after = {digest: label for digest, label in before.items() if digest not in outcome.removed}
    if is_meant is not None:
        kept = (item.entry for item in outcome.chosen if item.entry.digest in outcome.forgotten)
        after.update((entry.digest, label(_without(entry, is_meant))) for entry in kept)
    return {"before": _listed(before), "after": _listed(after)}


def _without(entry: CacheEntry, is_meant: cached.IsMeant) -> CacheEntry:
    addresses = tuple(address for address in entry.record.addresses if not is_meant(address))
    return dataclasses.replace(entry, record=dataclasses.replace(entry.record, addresses=addresses))


def _listed(labels: t.Mapping[str, str]) -> dict[str, str]:
    return {f"{label} ({digest})": "cached" for digest, label in labels.items()}
