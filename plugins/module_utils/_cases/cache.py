# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The cache of a host: verify what it holds, or take entries out of it. Plan, then apply.

A plan chooses entries. They are read under their locks in the real run, and without one in check mode.
"""

from __future__ import annotations

import dataclasses
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._base.moments import utc_text
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import cached, host_facts
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import sentences as tell
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.cache_result import (
    Chosen,
    Outcome,
    label,
    result_of,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.done import Done
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images import mending, observe
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.observe import (
    Damaged,
    Sound,
    Untidy,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache import locking
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.layout import CacheEntry
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.records import Origin
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CacheError
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import UnsupportedFormat

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
class Purge:
    """The removal of a catalog ID, or of some versions of it: what goes, and what other images keep."""

    purges: cached.Removed
    is_meant: cached.IsMeant


@dataclass(frozen=True)
class Plan:
    """The chosen entries, and the digests that go for another reason: no readable record, or a partial image.

    With a ``purge``, that alone says what goes.
    """

    state: str
    entries: tuple[CacheEntry, ...]
    leftovers: tuple[str, ...] = ()
    purge: t.Optional[Purge] = None


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


def plan(request: CacheRequest, cache: Cache) -> Plan:
    """Choose the entries; changes nothing."""
    survey = cache.survey()
    entries = cached.matching(survey.entries, request.digest, request.is_meant)
    is_meant = request.is_meant
    if is_meant is not None:
        purge = Purge(cached.plan_purge(cache, is_meant), is_meant) if request.state == ABSENT else None
        return Plan(request.state, tuple(entries), purge=purge)
    leftovers = list(survey.damaged)
    if request.state == ABSENT:
        leftovers += [*survey.unreadable, *(state.partial.digest for state in cache.partials())]
    if request.digest is not None:
        leftovers = [digest for digest in leftovers if digest == request.digest]
    known = {entry.digest for entry in entries}
    return Plan(
        request.state, tuple(entries), tuple(dict.fromkeys(digest for digest in leftovers if digest not in known))
    )


def predict(planned: Plan, cache: Cache, context: Context) -> Outcome:
    """Return the outcome of a plan that is not carried out."""
    if planned.purge is not None:
        return _purged(planned, planned.purge.purges)
    if planned.state == ABSENT:
        digests = tuple(entry.digest for entry in planned.entries)
        chosen = tuple(Chosen(entry) for entry in planned.entries)
        return Outcome(chosen, (*digests, *planned.leftovers), (), cached.freeable_bytes(planned.entries))
    chosen = tuple(_read(planned.entries, cache, context))
    return _verified(chosen, planned.leftovers)


def apply(planned: Plan, cache: Cache, context: Context) -> Outcome:
    """Carry out a plan. What an entry needs is found out under its lock."""
    if planned.purge is not None:
        return _purged(planned, cached.purge(planned.purge.purges, planned.purge.is_meant, cache, context))
    if planned.state == ABSENT:
        return _remove(planned, cache, context)
    settled = [_settled(Chosen(entry), cache, context) for entry in planned.entries]
    removed = []
    for digest in planned.leftovers:
        with cached.lock(digest, locking.REMOVE, cache, context):
            # A pull may have repaired it meanwhile, or have taken it over to repair it.
            if cache.remove_damaged(digest):
                context.warn(
                    f"The record of the cache entry {digest} is missing or damaged, so the entry was removed. The next "
                    "pull downloads it again."
                )
                removed.append(digest)
                context.done.add(tell.remove_entry(digest))
    cached.empty_trash(cache, context)
    return _verified([item for item in settled if item is not None], removed)


def _purged(planned: Plan, gone: cached.Removed) -> Outcome:
    chosen = tuple(Chosen(entry) for entry in planned.entries)
    return Outcome(chosen, gone.removed, (), gone.freed_bytes, gone.forgotten)


def _remove(planned: Plan, cache: Cache, context: Context) -> Outcome:
    expected, before = cached.freeable_bytes(planned.entries), cache.free_bytes()
    removed = []
    for digest in (*(entry.digest for entry in planned.entries), *planned.leftovers):
        with cached.lock(digest, locking.REMOVE, cache, context):
            if cached.remove(digest, cache, context):
                removed.append(digest)
    freed = cached.freed_since(before, expected, cache, context) if removed else 0
    return Outcome(tuple(Chosen(entry) for entry in planned.entries), tuple(removed), (), freed)


def _verified(chosen: t.Sequence[Chosen], removed: t.Iterable[str]) -> Outcome:
    damaged = [item.entry.digest for item in chosen if isinstance(item.condition, Damaged)]
    repaired = [item.entry.digest for item in chosen if isinstance(item.condition, Untidy)]
    return Outcome(tuple(chosen), (*damaged, *removed), tuple(repaired))


def _read(entries: t.Iterable[CacheEntry], cache: Cache, context: Context) -> t.Iterator[Chosen]:
    for entry in entries:
        found = _again(Chosen(entry), cache, context)
        if found is not None:
            yield found


def _settled(item: Chosen, cache: Cache, context: Context) -> t.Optional[Chosen]:
    """Do what the condition of an entry asks for; return it as it was found under the lock, None if it is gone."""
    digest = item.entry.digest
    with cached.lock(digest, locking.READ, cache, context):
        now = _again(item, cache, context)
        if now is None or isinstance(now.condition, Sound):
            return _remembered(now, cache)
    with cached.lock(digest, locking.FILL, cache, context):
        now = _again(now, cache, context)
        if now is None or isinstance(now.condition, Sound):
            return _remembered(now, cache)
        if isinstance(now.condition, Untidy):
            mending.mend(now.entry, now.condition, label(now.entry), cache, context, verified=True)
        else:
            _withdraw(now, cache, context)
        return now


def _again(item: Chosen, cache: Cache, context: Context) -> t.Optional[Chosen]:
    """Return an entry as it is now, None if it is gone. What was hashed and has not changed is not hashed again.

    One that cannot be read is left alone with a warning, and is None, too.
    """
    known = item.condition.hashed if isinstance(item.condition, Damaged) else None
    try:
        entry = cache.find(item.entry.digest)
        if entry is not None:
            return Chosen(entry, observe.examine(entry, context, everything=True, known=known))
    except (CacheError, UnsupportedFormat) as error:
        # Without its lock, it may have been removed while it was read.
        if _is_there(item.entry, cache):
            context.warn(f"The cached image {label(item.entry)} was not verified and stays as it is. {error}")
    return None


def _is_there(entry: CacheEntry, cache: Cache) -> bool:
    """Return True if an entry is still in the cache, readable or not."""
    try:
        return cache.find(entry.digest) is not None
    except CacheError:
        return True


def _remembered(item: t.Optional[Chosen], cache: Cache) -> t.Optional[Chosen]:
    """Remember that an entry was read and is right."""
    if item is not None and isinstance(item.condition, Sound) and item.condition.stamps is not None:
        cache.set_verified(item.entry.digest, utc_text(time.time()), item.condition.stamps)
    return item


def _withdraw(item: Chosen, cache: Cache, context: Context) -> None:
    """Take a damaged entry out of use. What is sound in it is reused by the next pull."""
    digest, name, addresses = item.entry.digest, label(item.entry), item.entry.record.addresses
    context.warn(
        f"The cached image {name} is damaged ({', '.join(item.damaged[:3])}), so it is not used any "
        "more. The next pull of it downloads what is damaged."
    )
    if addresses:
        mending.withdraw(digest, name, cache, context)
        cache.partial(digest, Origin(addresses[-1], utc_text(time.time())))
    else:
        cache.remove(digest, lambda: context.done.add_once(tell.withdraw(name, cache.path)))


def change(request: CacheRequest, context: Context, *, check_mode: bool) -> dict[str, t.Any]:
    """Return the result of catalog_cache. A failure carries what had been done by then."""
    context = dataclasses.replace(context, done=Done())
    with context.done.told_by_failures():
        return _change(request, context, check_mode=check_mode)


def _change(request: CacheRequest, context: Context, *, check_mode: bool) -> dict[str, t.Any]:
    started = time.monotonic()
    check_choice(request)
    host_facts.check_publishable(context)
    cache = cached.look_at_cache(context)
    if not check_mode and cache.exists:
        cache = cached.open_cache(context)
    planned = plan(request, cache)
    outcome = apply(planned, cache, context) if not check_mode and cache.exists else predict(planned, cache, context)
    return {
        **result_of(outcome, request.is_meant),
        "elapsed": round(time.monotonic() - started, 3),
        "parallels_catalog": host_facts.document_after(context, may_publish=not check_mode),
    }
