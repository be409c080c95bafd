# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The content of a manifest is in the cache of this host: lock, observe, plan, apply, publish."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.moments import utc_text
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import room
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import sentences as tell
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images import (
    content,
    mending,
    observe,
    segmented,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.observe import (
    Damaged,
    Hashed,
    ImageKey,
    Seen,
    Sound,
    Untidy,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.seeds import (
    Seeds,
    find_seeds,
    hold_seeds,
    require_unchanged,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.segmented import Fill
from ansible_collections.macfleet.parallels.plugins.module_utils._host import power, volumes
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache import locking
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.layout import CacheEntry
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.records import CacheRecord, Origin
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CacheChanged,
    CacheError,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import sketch
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import UnsupportedFormat
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import Listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.reader import Applied

# How often an image may vanish between being pulled and being used before that is an error.
_ATTEMPTS = 3


@dataclass(frozen=True)
class Use:
    """The image is in the cache, and its content is right; ``proved`` if it was read to know that."""

    entry: CacheEntry
    proved: t.Optional[Sound] = None


@dataclass(frozen=True)
class Mend:
    """The image is in the cache but for things that need no download."""

    entry: CacheEntry
    untidy: Untidy
    everything: bool


ImagePlan = t.Union[Use, Mend, Fill]


@dataclass(frozen=True)
class ImageOutcome:
    """What was done, or in check mode would be: the entry, if there is one, what was filled, and the counts of that."""

    changed: bool
    entry: t.Optional[CacheEntry] = None
    fill: t.Optional[Fill] = None
    applied: t.Optional[Applied] = None
    was_cached: bool = False


def plan_image(manifest: Manifest, cache: Cache, context: Context, *, verify: bool) -> ImagePlan:
    """Return what a pull would do, holding no lock: for check mode."""
    try:
        return _plan(manifest, cache, context, None, verify, find_seeds)
    except CacheError:
        # Another task may have removed or replaced what was just looked at.
        return _plan(manifest, cache, context, None, verify, find_seeds)


def predict(plan: ImagePlan) -> ImageOutcome:
    """Return the outcome of a plan that is not carried out."""
    if isinstance(plan, Use):
        return ImageOutcome(False, plan.entry, was_cached=True)
    if isinstance(plan, Mend):
        return ImageOutcome(True, plan.entry, was_cached=True)
    return ImageOutcome(True, None, plan)


@contextlib.contextmanager
def held_image(
    key: ImageKey,
    manifest: Manifest,
    cache: Cache,
    context: Context,
    *,
    verify: bool,
    room_for: t.Callable[[ImagePlan], t.Sequence[room.Need]] = lambda plan: (),
    planned: t.Optional[ImagePlan] = None,
) -> t.Iterator[t.Tuple[CacheEntry, ImageOutcome]]:
    """Have an image in the cache, and keep it there for the block: at least its shared lock is held.

    ``room_for`` tells what else will be written once the image is there. ``planned`` was made while there was no
    cache; it is carried out if the cache holds nothing that would make another plan.

    :raises CacheLocked: another process held a lock for too long
    :raises DiskFull: there is not enough room
    :raises CacheChanged: somebody writes to the cache all the time
    :raises DamagedChunk: what was downloaded is not what it should be
    """
    changed: t.Optional[CacheChanged] = None
    done: t.Optional[ImageOutcome] = None
    known: t.Optional[Hashed] = None
    for _attempt in range(_ATTEMPTS):
        with _lock(key, manifest, locking.USE, cache, context):
            seen = observe.observe(cache, manifest.digest)
            if done is not None and seen.entry is not None and seen.is_trusted:
                yield seen.entry, done
                return
            if done is None and seen.entry is not None and (verify or seen.is_trusted):
                condition = _condition(seen, seen.entry, context, None, verify)
                if isinstance(condition, Sound):
                    room.check(room_for(Use(seen.entry)))
                    entry = _used(seen.entry, condition, key, cache)
                    yield entry, ImageOutcome(False, entry, was_cached=True)
                    return
                known = condition.hashed if isinstance(condition, Damaged) else None
        with _lock(key, manifest, locking.FILL, cache, context):
            try:
                done = _joined(done, _settle(key, manifest, cache, context, known, verify, room_for, planned))
            except CacheChanged as error:
                # What is wrong now is found by hashing, and downloaded.
                changed = error
    raise changed or CacheError(
        f"Pulling {key.name} failed: it was removed from {cache.path}, or changed there, {_ATTEMPTS} times before it "
        "could be used.",
        "Find out which task removes it, or what writes to it, then run this one again.",
    )


def _joined(before: t.Optional[ImageOutcome], now: ImageOutcome) -> ImageOutcome:
    """Return what two passes did together: the later one tells, but a change stays one."""
    if before is None:
        return now
    return dataclasses.replace(now if now.fill is not None else before, changed=before.changed or now.changed)


def _settle(
    key: ImageKey,
    manifest: Manifest,
    cache: Cache,
    context: Context,
    known: t.Optional[Hashed],
    verify: bool,
    room_for: t.Callable[[ImagePlan], t.Sequence[room.Need]],
    planned: t.Optional[ImagePlan],
) -> ImageOutcome:
    """Plan and carry out what is needed, under the exclusive lock."""
    with contextlib.ExitStack() as stack:
        plan = planned if _still_holds(planned, manifest, cache) else None
        plan = plan or _plan(
            manifest,
            cache,
            context,
            known,
            verify,
            lambda held_cache, listing, first: hold_seeds(stack, held_cache, listing, context, first),
        )
        check_room(plan, cache, room_for(plan))
        if isinstance(plan, Use):
            return ImageOutcome(False, _used(plan.entry, plan.proved or Sound(), key, cache), was_cached=True)
        if isinstance(plan, Mend):
            entry = mending.mend(plan.entry, plan.untidy, key.name, cache, context, verified=plan.everything)
            return ImageOutcome(True, cache.touch(entry.digest, _now(), key.address), was_cached=True)
        return _filled(plan, key, cache, context, verify)


def _still_holds(planned: t.Optional[ImagePlan], manifest: Manifest, cache: Cache) -> bool:
    """Return True if the cache is as empty as it was when a plan without seeds was made."""
    if not isinstance(planned, Fill) or planned.seeds:
        return False
    survey = cache.survey()
    return not survey.entries and observe.observe(cache, manifest.digest) == Seen()


def _plan(
    manifest: Manifest,
    cache: Cache,
    context: Context,
    known: t.Optional[Hashed],
    verify: bool,
    seeds: t.Callable[[Cache, Listing, t.Optional[str]], Seeds],
) -> ImagePlan:
    """Return what has to be done; changes nothing. What it rests on stays so only while the lock is held."""
    if manifest.format != "segmented":
        raise UnsupportedFormat(
            f"Pulling {manifest.catalog_id} {manifest.version} failed: its pack has the format {manifest.format}, "
            "which this version of the collection cannot read.",
            hint="Update the collection on the controller.",
        )
    seen = observe.observe(cache, manifest.digest)
    hashed = None
    if seen.entry is not None:
        condition = _condition(seen, seen.entry, context, known, verify)
        if isinstance(condition, Sound):
            return Use(seen.entry, condition)
        if isinstance(condition, Untidy):
            return Mend(seen.entry, condition, verify)
        hashed = condition.hashed
    found = content.fetch_content(manifest, cache, context)
    place = seen.entry or seen.partial
    held = seeds(cache, found.index.listing, found.base)
    return segmented.plan_fill(manifest, found, place, hashed, held, volumes.has_clones(cache.path), context)


def _condition(
    seen: Seen, entry: CacheEntry, context: Context, known: t.Optional[Hashed], verify: bool
) -> observe.Condition:
    if seen.is_trusted and not verify:
        return Sound()
    try:
        return observe.examine(entry, context, everything=verify, known=known)
    except UnsupportedFormat:
        return Damaged(("listing",))


def check_room(plan: ImagePlan, cache: Cache, others: t.Sequence[room.Need]) -> None:
    """Check that there is room for an image, and for what else will be written.

    :raises DiskFull: there is not
    """
    needs = list(others)
    if isinstance(plan, Fill):
        name = f"{plan.manifest.catalog_id} {plan.manifest.version}"
        needs.insert(0, room.Need(cache.path, plan.pack.disk_bytes, f"pulling {name} into {cache.path}"))
    room.check(needs)


def _used(entry: CacheEntry, condition: Sound, key: ImageKey, cache: Cache) -> CacheEntry:
    if condition.stamps is not None:
        verified_at = _now() if condition.whole else entry.record.verified_at
        cache.set_verified(entry.digest, verified_at, condition.stamps)
    return cache.touch(entry.digest, _now(), key.address)


def _filled(fill: Fill, key: ImageKey, cache: Cache, context: Context, verify: bool) -> ImageOutcome:
    digest, now = fill.manifest.digest, _now()
    if cache.find(digest) is not None:
        mending.withdraw(digest, key.name, cache, context)
    partial = cache.partial(digest, Origin(key.address, now))
    earlier = cache.partial_record(digest)
    with power.awake(power.caffeinate()):
        applied = segmented.download(fill, partial, context)
        proved = segmented.stamps_after(fill, partial)
        require_unchanged(fill.seeds, cache)
        if verify:
            segmented.prove(fill, partial, context)
    record = _record(fill, applied, earlier, now, now if verify else None).with_address(key.address)
    entry = cache.publish(digest, record, proved)
    context.done.add(tell.download(applied.downloaded_bytes, key.name, cache.path))
    return ImageOutcome(True, entry, fill, applied)


def _record(
    fill: Fill, applied: Applied, earlier: t.Optional[CacheRecord], now: str, verified_at: t.Optional[str]
) -> CacheRecord:
    manifest = fill.manifest
    fresh = CacheRecord(
        digest=manifest.digest,
        bundle_name=manifest.name,
        type=manifest.type,
        addresses=(),
        logical_bytes=manifest.logical_bytes,
        stored_bytes=manifest.stored_bytes,
        first_used_at=now,
        last_used_at=now,
        sketch=sketch.encode(sketch.of(fill.index.listing)),
    )
    record = earlier or fresh
    return dataclasses.replace(
        record,
        last_used_at=now,
        use_count=record.use_count + 1,
        verified_at=verified_at,
        sketch=fresh.sketch,
        downloaded_bytes=applied.downloaded_bytes + fill.index_bytes,
    )


def _lock(key: ImageKey, manifest: Manifest, operation: str, cache: Cache, context: Context) -> t.ContextManager[None]:
    def waiting(present: str) -> None:
        context.before_long()
        context.progress.start("wait", 0)
        context.warn(f"Waiting for the lock of {key.name}: it is held by {present}.")

    return cache.lock(
        manifest.digest,
        operation,
        context.doing,
        context.cache.lock_timeout_seconds,
        waiting,
        alive=context.progress.alive,
    )


def _now() -> str:
    return utc_text(time.time())
