# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The image half of a pull: the content of a manifest lies in the cache of this host. Plan, then apply."""

from __future__ import annotations

import contextlib
import dataclasses
import heapq
import os
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.records import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._base import files
from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import Stamp
from ansible_collections.macfleet.parallels.plugins.module_utils._base.moments import utc_text
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import cache as _cache
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._host import cache as caches
from ansible_collections.macfleet.parallels.plugins.module_utils._host import clone, records, volumes
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CacheError, DiskFull, translated
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import codecs, index, reader, verify
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import plan as packs
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import (
    DamagedBundle,
    MalformedIndex,
    UnsupportedCodec,
    UnsupportedFormat,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import decode_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import decode_locator

# Kept free on top of what a pull writes: metadata of the file system, and the log of whoever else runs.
DISK_MARGIN_BYTES = 64 << 20
# Seeds of one pull. Each more has less that the others have not, and its listing takes memory.
_MOST_SEEDS = 3
# Chunks in place, how long not used, digest
_Ranked = t.Tuple[int, int, str, packs.Seed]


@dataclass(frozen=True)
class ImagePlan:
    """What has to happen for an image to be in the cache.

    ``entry`` is the published one, if any; ``proved`` says that all of it was hashed for this plan, with the
    ``stamps`` taken before. ``index`` and ``pack`` are None when the entry is whole.
    """

    manifest: Manifest
    entry: t.Optional[caches.CacheEntry]
    proved: bool = False
    stamps: t.Optional[t.Mapping[str, Stamp]] = None
    index: t.Optional[index.Index] = None
    pack: t.Optional[packs.PullPlan] = None
    seeds: tuple[str, ...] = ()
    resumes: bool = False

    @property
    def changed(self) -> bool:
        """Whether the cache would hold what it does not hold now."""
        return self.pack is not None

    @property
    def unpacked_bytes(self) -> int:
        """What a copy of the image takes on disk."""
        if self.index is not None:
            return self.index.listing.unpacked_bytes
        return self.entry.record.allocated_bytes if self.entry is not None else 0


@dataclass(frozen=True)
class ImageOutcome:
    """What happened: the entry, the plan that was carried out, and the counts of doing so (zero without one)."""

    entry: caches.CacheEntry
    changed: bool
    pack: t.Optional[packs.PullPlan] = None
    applied: reader.Applied = reader.Applied(0, 0, 0, 0)


def plan_image(
    manifest: Manifest,
    cache: caches.Cache,
    context: Context,
    *,
    must_verify: bool,
    without: t.Collection[str] = (),
) -> ImagePlan:
    """Find out what is there and what is missing; changes nothing. Entries ``without`` are no seeds.

    :raises UnsupportedCodec: this host cannot decode what it would download
    """
    entry = cache.find(manifest.digest)
    present_ids: t.Mapping[str, bytes] = {}
    stamps: t.Optional[t.Mapping[str, Stamp]] = None
    if entry is not None:
        if not must_verify and is_trusted(entry):
            return ImagePlan(manifest, entry)
        stamps = caches.stamps(entry)
        listing = _listing(entry)
        if listing is not None and not _damaged_paths(entry, listing, context):
            return ImagePlan(manifest, entry, proved=True, stamps=stamps)
    fetched = _fetch_index(manifest, context.catalog)
    partial = cache.find_partial(manifest.digest)
    there = entry or partial
    if there is not None:
        context.progress.start("verify", fetched.listing.logical_bytes)
        with translated(CacheError, f"Reading {there.bundle_path}"):
            present_ids = verify.hash_files(
                there.bundle_path,
                fetched.listing.entries,
                fetched.listing.chunk_size,
                advance=context.progress.advance,
            )
    seeds = _seeds(cache, fetched.listing, {manifest.digest, *without})
    pack = packs.plan_pull(
        fetched.listing,
        fetched.locator,
        present_ids=present_ids,
        seeds=list(seeds.values()),
        can_clone=volumes.has_clones(cache.path),
    )
    _check_codecs(pack, manifest)
    return ImagePlan(
        manifest, entry, index=fetched, pack=pack, seeds=_used_seeds(pack, seeds), resumes=bool(present_ids)
    )


def apply_image(
    made: ImagePlan, cache: caches.Cache, context: Context, *, must_verify: bool, address: records.CachedAddress
) -> ImageOutcome:
    """Carry out a plan under the lock of the digest; what another process did meanwhile is taken as it is.

    :raises CacheLocked: another process held the lock for too long
    :raises DiskFull: the volume has not the room any more
    :raises DamagedChunk: what was downloaded is not what it should be
    """
    digest = made.manifest.digest

    def waiting(present: str) -> None:
        context.progress.start("wait", 0)
        context.warn(f"Waiting for the lock of {address.catalog_id} {address.version}: it is held by {present}.")

    with cache.lock(digest, context.doing, context.cache.lock_timeout_seconds, waiting, alive=context.progress.alive):
        now = utc_text(time.time())
        if made.pack is None and made.entry is not None and cache.find(digest) is not None:
            if made.proved and made.stamps is not None:
                cache.set_verified(digest, now, made.stamps)
            return ImageOutcome(cache.touch(digest, now, address), changed=False)
        entry = cache.find(digest)
        if made.entry is None and entry is not None and is_trusted(entry):
            return ImageOutcome(cache.touch(digest, now, address), changed=False)
        with contextlib.ExitStack() as stack:
            made = _settled(stack, made, cache, context, must_verify=must_verify)
            if made.pack is None:
                return ImageOutcome(cache.touch(digest, now, address), changed=False)
            check_room(made, cache)
            applied = _download(made, cache, context)
        if must_verify:
            _prove(cache.partial(digest), t.cast(index.Index, made.index).listing, context)
        published = cache.publish(digest, _new_record(made, address, now, now if must_verify else None))
        return ImageOutcome(published, changed=True, pack=made.pack, applied=applied)


def is_trusted(entry: caches.CacheEntry) -> bool:
    """Whether no file of an entry can have been written to since its content was proved."""
    return caches.stamps(entry) == dict(entry.record.files)


def _fetch_index(manifest: Manifest, catalog: CatalogClient) -> index.Index:
    listing_file = catalog.listing(manifest.id)
    listing = decode_listing(listing_file)
    if listing.digest != manifest.digest:
        raise MalformedIndex(
            f"The listing of {manifest.catalog_id} {manifest.version} has the digest {listing.digest} instead of "
            f"{manifest.digest}.",
            hint="Tell whoever runs the catalog server; nothing was changed on this host.",
        )
    locator_file = catalog.locator(manifest.id)
    return index.Index(listing, decode_locator(locator_file, listing), listing_file, locator_file)


def _listing(entry: caches.CacheEntry) -> t.Optional[index.Listing]:
    """The listing of an entry, or None when it is of no use, for whatever reason."""
    try:
        return _cache.read_listing(entry)
    except (CacheError, UnsupportedFormat):
        return None


def _damaged_paths(
    there: t.Union[caches.CacheEntry, caches.Partial], listing: index.Listing, context: Context
) -> list[str]:
    context.progress.start("verify", listing.logical_bytes)
    with translated(CacheError, f"Reading {there.bundle_path}"):
        return verify.damaged_paths(there.bundle_path, listing, advance=context.progress.advance)


def _seeds(cache: caches.Cache, listing: index.Listing, others_than: t.Collection[str]) -> dict[str, packs.Seed]:
    """The entries with the most chunks in place, the best first, by digest.

    Of a cache of any size, one listing more than there are seeds is in memory.
    """
    best: list[_Ranked] = []
    for number, entry in enumerate(cache.entries()):
        if entry.digest not in others_than:
            _rank(best, entry, number, listing)
    return {digest: seed for _matches, _number, digest, seed in sorted(best, reverse=True)}


def _rank(best: list[_Ranked], entry: caches.CacheEntry, number: int, listing: index.Listing) -> None:
    """Keep an entry among the best if it is one. No reference to another is left behind."""
    seed = _seed(entry, listing)
    if seed is not None:
        # Of two that are alike, the one used last counts more.
        heapq.heappush(best, (packs.matching_chunks(listing, seed), -number, entry.digest, seed))
        if len(best) > _MOST_SEEDS:
            heapq.heappop(best)


def _seed(entry: caches.CacheEntry, listing: index.Listing) -> t.Optional[packs.Seed]:
    other = _listing(entry)
    if other is None or other.chunk_size != listing.chunk_size:
        return None
    try:
        return packs.Seed(entry.bundle_path, other, caches.trusted(entry))
    except CacheError:
        return None


def _used_seeds(pack: packs.PullPlan, seeds: t.Mapping[str, packs.Seed]) -> tuple[str, ...]:
    """Digests of the seeds that a plan takes something from."""
    sources = pack.sources
    return tuple(
        digest
        for digest, seed in seeds.items()
        if any(source.startswith(os.path.join(seed.root, "")) for source in sources)
    )


def _check_codecs(pack: packs.PullPlan, manifest: Manifest) -> None:
    missing = pack.codecs - codecs.decodable()
    if missing:
        names = " and ".join(sorted(index.CODEC_NAMES[codec] for codec in missing))
        raise UnsupportedCodec(
            f"Pulling {manifest.catalog_id} {manifest.version} failed: its chunks are encoded as {names}, which the "
            "Python of this host cannot decode.",
            hint="Install the Python package zstandard on this host, or push the image with codec=deflate.",
        )


def check_room(made: ImagePlan, cache: caches.Cache, home: str = "", copied_bytes: int = 0) -> None:
    """Whether the cache's volume has the room for the image, and for the copy that shall lie at ``home``.

    :raises DiskFull: it has not
    """
    image = f"{made.manifest.catalog_id} {made.manifest.version}"
    needed, steps = DISK_MARGIN_BYTES, []
    if made.pack is not None:
        needed += made.pack.disk_bytes
        steps.append(f"pulling {image} into {cache.path}")
    if copied_bytes:
        needed += copied_bytes
        steps.append(f"copying {image} to {home}")
    free = cache.free_bytes()
    if steps and free < needed:
        doing = " and ".join(steps)
        raise DiskFull(
            f"{doing[0].upper()}{doing[1:]} needs {needed} bytes of disk space, and {free} are free.",
            hint="Remove something, for example cached images by catalog_cache; nothing was changed on this host.",
            details={"needed_bytes": needed, "free_bytes": free},
        )


def _moved_on(made: ImagePlan, cache: caches.Cache) -> bool:
    """Whether the partial bundle or the entry is not what the plan saw any more."""
    entry = cache.find(made.manifest.digest)
    if (entry is None) != (made.entry is None):
        return True
    return (cache.find_partial(made.manifest.digest) is not None) != (made.resumes and made.entry is None)


def _settled(
    stack: contextlib.ExitStack, made: ImagePlan, cache: caches.Cache, context: Context, *, must_verify: bool
) -> ImagePlan:
    """A plan that fits what is there now, and whose seeds are held: none of them is removed or repaired meanwhile."""
    held: set[str] = set()
    lost: set[str] = set()
    is_stale = _moved_on(made, cache)
    while True:
        for digest in made.seeds:
            if digest not in held and _hold_seed(stack, digest, cache, context):
                held.add(digest)
        missing = set(made.seeds) - held
        if not missing and not is_stale:
            return made
        # Each time there is a seed less, or nothing is stale.
        lost |= missing
        made = plan_image(made.manifest, cache, context, must_verify=must_verify, without=lost)
        is_stale = False


def _hold_seed(stack: contextlib.ExitStack, digest: str, cache: caches.Cache, context: Context) -> bool:
    """Keep an entry from being removed or repaired; False when somebody does so, or has done so."""
    try:
        stack.enter_context(cache.lock(digest, context.doing, 0.0, shared=True))
        return cache.find(digest) is not None
    except CacheError:
        return False


def _download(made: ImagePlan, cache: caches.Cache, context: Context) -> reader.Applied:
    fetched, pack = t.cast(index.Index, made.index), t.cast(packs.PullPlan, made.pack)
    digest = made.manifest.digest
    partial = cache.demote(digest) if made.entry is not None else cache.partial(digest)
    files.write_file_durably(partial.listing_path, fetched.listing_file, 0o600)
    files.write_file_durably(partial.locator_path, fetched.locator_file, 0o600)
    source = context.transfers.pull_source(made.manifest.id, [fetch.segment for fetch in pack.fetches])
    context.progress.start("download", pack.download_bytes)
    with translated(CacheError, f"Writing {made.manifest.catalog_id} {made.manifest.version} to {cache.path}"):
        return reader.apply_plan(
            pack,
            partial.bundle_path,
            fetch=source.fetch,
            clone_file=clone.clone_file,
            advance=context.progress.advance,
        )


def _prove(partial: caches.Partial, listing: index.Listing, context: Context) -> None:
    damaged = _damaged_paths(partial, listing, context)
    if damaged:
        raise DamagedBundle(
            f"{partial.bundle_path} does not have the content that was written to it ({', '.join(damaged[:3])}): disk "
            "or memory of this host are at fault.",
            hint="Check the disk, then pull again.",
        )


def _new_record(
    made: ImagePlan, address: records.CachedAddress, now: str, verified_at: t.Optional[str]
) -> records.CacheRecord:
    manifest = made.manifest
    before = made.entry.record if made.entry is not None else None
    fresh = records.CacheRecord(
        digest=manifest.digest,
        bundle_name=manifest.name,
        type=manifest.type,
        addresses=(),
        logical_bytes=manifest.logical_bytes,
        stored_bytes=manifest.stored_bytes,
        first_used_at=now,
        last_used_at=now,
    )
    record = before or fresh
    return dataclasses.replace(
        record.with_address(address), last_used_at=now, use_count=record.use_count + 1, verified_at=verified_at
    )
