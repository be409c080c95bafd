# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.
"""The cache of a host: verify what it holds, or take entries out of it. Plan, then apply."""

from __future__ import annotations

import dataclasses
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._base.moments import utc_text
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import cached, host_facts
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images import ensure, observe
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.observe import (
    Condition,
    Damaged,
    Sound,
    Untidy,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache import locking
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.layout import CacheEntry
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.records import Origin

VERIFIED = "verified"
ABSENT = "absent"


class NothingChosen(CatalogError):
    """A task would remove everything without saying so."""

    code = "invalid_option"


@dataclass(frozen=True)
class CacheRequest:
    """Which entries, and what is to happen to them; ``everything`` confirms that all are meant."""

    state: str
    digest: t.Optional[str] = None
    catalog_id: t.Optional[str] = None
    version: t.Optional[str] = None
    everything: bool = False

    @property
    def is_meant(self) -> t.Optional[cached.IsMeant]:
        """The function that tells if an address is meant, None if all are."""
        return cached.meaning(self.catalog_id, self.version) if self.catalog_id else None


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
class Plan:
    """The chosen entries, and the digests that go for another reason: no readable record, or a partial image."""

    state: str
    chosen: tuple[Chosen, ...]
    leftovers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What was done, or in check mode would be: digests removed, and digests repaired without a download."""

    chosen: tuple[Chosen, ...]
    removed: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()
    freed_bytes: int = 0
    labels: t.Mapping[str, str] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """True if the cache holds something else than before."""
        return bool(self.removed or self.repaired)


def check_choice(request: CacheRequest) -> None:
    """Check that nothing is removed by leaving something out.

    :raises NothingChosen: nothing, or too much, is chosen to be removed
    """
    chosen = bool(request.digest or request.catalog_id)
    if request.state == ABSENT and chosen == request.everything:
        raise NothingChosen(
            "Removing entries of the cache failed: the task says both what to remove and all=true."
            if chosen
            else "Removing entries of the cache failed: the task does not say which ones.",
            "Set one of digest, catalog_id, or all=true to remove everything.",
        )


def plan(request: CacheRequest, cache: Cache, context: Context) -> Plan:
    """Choose the entries, and read them if they are to be verified; changes nothing."""
    survey = cache.survey()
    entries = cached.matching(survey.entries, request.digest, request.is_meant)
    leftovers = list(survey.damaged)
    if request.state == VERIFIED:
        chosen = tuple(_examined(entry, cache, context) for entry in entries)
    else:
        chosen = tuple(Chosen(entry) for entry in entries)
        leftovers += [*survey.unreadable, *(state.partial.digest for state in cache.partials())]
    is_meant = request.is_meant
    if is_meant is not None:
        leftovers = cached.partials_of(cache, is_meant) if request.state == ABSENT else []
    elif request.digest is not None:
        leftovers = [digest for digest in leftovers if digest == request.digest]
    known = {item.entry.digest for item in chosen}
    return Plan(request.state, chosen, tuple(dict.fromkeys(digest for digest in leftovers if digest not in known)))


def predict(planned: Plan) -> Outcome:
    """Return the outcome of a plan that is not carried out."""
    damaged = [item for item in planned.chosen if planned.state == ABSENT or isinstance(item.condition, Damaged)]
    return Outcome(
        planned.chosen,
        (*(item.entry.digest for item in damaged), *planned.leftovers),
        tuple(item.entry.digest for item in planned.chosen if isinstance(item.condition, Untidy)),
        _freeable(damaged) if planned.state == ABSENT else 0,
        _labels(planned.chosen),
    )


def apply(planned: Plan, cache: Cache, context: Context) -> Outcome:
    """Carry out a plan. What has changed since is looked at again under the lock of the entry."""
    expected = _freeable(planned.chosen) if planned.state == ABSENT else 0
    before = cache.free_bytes()
    chosen, removed, repaired = [], [], []
    for item in planned.chosen:
        if planned.state == ABSENT:
            with cached.lock(item.entry.digest, locking.REMOVE, cache, context):
                if cache.remove(item.entry.digest):
                    removed.append(item.entry.digest)
            chosen.append(item)
            continue
        now = _settled(item, cache, context)
        if now is None:
            continue
        chosen.append(now)
        if isinstance(now.condition, Damaged):
            removed.append(now.entry.digest)
        elif isinstance(now.condition, Untidy):
            repaired.append(now.entry.digest)
    for digest in planned.leftovers:
        with cached.lock(digest, locking.REMOVE, cache, context):
            if (planned.state == ABSENT or cache.find(digest) is None) and cache.remove(digest):
                removed.append(digest)
    freed = 0
    if removed and planned.state == ABSENT:
        freed = cached.freed_since(before, expected, cache, context)
    elif removed:
        cached.empty_trash(cache, context)
    return Outcome(tuple(chosen), tuple(removed), tuple(repaired), freed, _labels(planned.chosen))


def _freeable(chosen: t.Iterable[Chosen]) -> int:
    return cached.freeable_bytes(item.entry for item in chosen)


def _examined(entry: CacheEntry, cache: Cache, context: Context) -> Chosen:
    return Chosen(entry, observe.examine(entry, context, everything=True))


def _settled(item: Chosen, cache: Cache, context: Context) -> t.Optional[Chosen]:
    """Do what the condition of an entry asks for; return it as it was found under the lock, None if it is gone."""
    digest = item.entry.digest
    if isinstance(item.condition, Sound):
        with cached.lock(digest, locking.MARK, cache, context):
            now = _again(item, cache, context)
            if now is None:
                return None
            if isinstance(now.condition, Sound):
                _remember(now.entry, now.condition, cache)
                return now
        item = now
    with cached.lock(digest, locking.REMOVE, cache, context):
        now = _again(item, cache, context)
        if now is None or isinstance(now.condition, Sound):
            if now is not None and isinstance(now.condition, Sound):
                _remember(now.entry, now.condition, cache)
            return now
        if isinstance(now.condition, Untidy):
            ensure.mend(now.entry, now.condition, cache, verified=True)
            return now
        _withdraw(now, cache, context)
        return now


def _again(item: Chosen, cache: Cache, context: Context) -> t.Optional[Chosen]:
    """Return an entry as it is now: nothing is hashed again unless something has changed since."""
    entry = cache.find(item.entry.digest)
    if entry is None:
        return None
    if isinstance(item.condition, Sound) and item.condition.stamps is not None:
        stamps = observe.read_stamps(entry.bundle_path)
        if not observe.compare(item.condition.stamps, stamps):
            return Chosen(entry, item.condition)
    known = item.condition.hashed if isinstance(item.condition, Damaged) else None
    return Chosen(entry, observe.examine(entry, context, everything=True, known=known))


def _remember(entry: CacheEntry, condition: Sound, cache: Cache) -> None:
    if condition.stamps is not None:
        cache.set_verified(entry.digest, utc_text(time.time()), condition.stamps)


def _withdraw(item: Chosen, cache: Cache, context: Context) -> None:
    """Take a damaged entry out of use. What is sound in it is reused by the next pull."""
    addresses = item.entry.record.addresses
    context.warn(
        f"The cached image {_label(item.entry)} is damaged ({', '.join(item.damaged[:3])}), so it is not used any "
        "more. The next pull of it downloads what is damaged."
    )
    if not addresses:
        cache.remove(item.entry.digest)
        return
    cache.demote(item.entry.digest, Origin(addresses[-1], utc_text(time.time())))


def _label(entry: CacheEntry) -> str:
    names = [f"{address.catalog_id} {address.version}" for address in entry.record.addresses]
    return ", ".join(dict.fromkeys(names)) or entry.digest


def _labels(chosen: t.Iterable[Chosen]) -> dict[str, str]:
    return {item.entry.digest: _label(item.entry) for item in chosen}


def change(request: CacheRequest, context: Context, *, check_mode: bool) -> dict[str, t.Any]:
    """Return the result of catalog_cache."""
    started = time.monotonic()
    check_choice(request)
    host_facts.check_publishable(context)
    cache = cached.look_at_cache(context)
    if not check_mode and cache.exists:
        cache = cached.open_cache(context)
    planned = plan(request, cache, context)
    outcome = apply(planned, cache, context) if not check_mode and cache.exists else predict(planned)
    return {
        "changed": outcome.changed,
        "entries": [_entry_result(item) for item in outcome.chosen],
        "removed": list(outcome.removed),
        "repaired": list(outcome.repaired),
        "freed_bytes": outcome.freed_bytes,
        "diff": _diff(outcome),
        "elapsed": round(time.monotonic() - started, 3),
        "parallels_catalog": host_facts.current_document(cache, context, may_publish=not check_mode),
    }


def _entry_result(item: Chosen) -> dict[str, t.Any]:
    return {
        "digest": item.entry.digest,
        "addresses": [dataclasses.asdict(address) for address in item.entry.record.addresses],
        "damaged": list(item.damaged),
    }


def _diff(outcome: Outcome) -> dict[str, t.Any]:
    """Return what the cache held and holds, by the name of the image where it has one."""
    digests = dict.fromkeys((*(item.entry.digest for item in outcome.chosen), *outcome.removed))
    before = {f"{outcome.labels.get(digest, 'unnamed')} ({digest})": digest for digest in digests}
    return {
        "before": dict.fromkeys(before, "cached"),
        "after": dict.fromkeys((name for name, digest in before.items() if digest not in outcome.removed), "cached"),
    }
