# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The image half of a pull: the content of a manifest lies in the cache of this host. Plan, then apply."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils import _files
from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.records import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._files import Stamp
from ansible_collections.macfleet.parallels.plugins.module_utils._host import cache as caches
from ansible_collections.macfleet.parallels.plugins.module_utils._host import clone, records, volumes
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CacheError,
    CacheLocked,
    DiskFull,
    translated,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.moments import utc_text
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import index, reader, verify
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import plan as packs
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import (
    DamagedBundle,
    MalformedIndex,
    PackError,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._progress import Progress
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.retrying import RetryingTransfer
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.signed import SignedTransfer, SignedUrl

# Kept free on top of what a pull writes: metadata of the file system, and the log of whoever else runs.
DISK_MARGIN_BYTES = 64 << 20
# URLs asked for with one request, in the order in which they will be used.
_URL_PAGE = 64
# A URL that ends sooner is not used any more.
_URL_MARGIN_SECONDS = 20.0

SegmentKey = t.Tuple[str, str]


@dataclass(frozen=True)
class ImageTools:
    """What the image half works with; ``transfer`` moves object bytes, ``warn`` reaches the user."""

    catalog: CatalogClient
    transfer: SignedTransfer
    delays: t.Callable[[], t.Iterable[float]]
    sleep: t.Callable[[float], None]
    progress: Progress
    warn: t.Callable[[str], None]
    holder: str
    lock_timeout_seconds: float


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


@dataclass(frozen=True)
class ImageOutcome:
    """What happened: the entry, the plan that was carried out, and the counts of doing so (zero without one)."""

    entry: caches.CacheEntry
    changed: bool
    pack: t.Optional[packs.PullPlan] = None
    applied: reader.Applied = reader.Applied(0, 0, 0, 0)


def plan_image(manifest: Manifest, cache: caches.Cache, tools: ImageTools, *, must_verify: bool) -> ImagePlan:
    """Find out what is there and what is missing; changes nothing.

    :raises DiskFull: the volume has not the room that the plan needs
    """
    entry = cache.find(manifest.digest)
    lying: t.Mapping[str, bytes] = {}
    stamps: t.Optional[t.Mapping[str, Stamp]] = None
    if entry is not None:
        if not must_verify and is_trusted(entry):
            return ImagePlan(manifest, entry)
        stamps = caches.stamps(entry)
        listing = read_listing(entry)
        if listing is not None:
            tools.progress.start("verify", listing.logical_bytes)
            if not verify.damaged_paths(entry.bundle_path, listing, advance=tools.progress.advance):
                return ImagePlan(manifest, entry, proved=True, stamps=stamps)
    fetched = _fetch_index(manifest, tools.catalog)
    partial = cache.find_partial(manifest.digest)
    there = entry.bundle_path if entry is not None else partial.bundle_path if partial is not None else None
    if there is not None:
        tools.progress.start("verify", fetched.listing.logical_bytes)
        lying = verify.hash_files(
            there, fetched.listing.entries, fetched.listing.chunk_size, advance=tools.progress.advance
        )
    can_clone = volumes.has_clones(cache.path)
    seeds = _seeds(cache, fetched.listing, manifest.digest)
    pack = packs.plan_pull(
        fetched.listing, fetched.locator, lying=lying, seeds=[seed for _digest, seed in seeds], can_clone=can_clone
    )
    _check_room(pack, cache, manifest)
    return ImagePlan(
        manifest,
        entry,
        index=fetched,
        pack=pack,
        seeds=tuple(digest for digest, _seed in seeds),
        resumes=bool(lying),
    )


def apply_image(
    made: ImagePlan, cache: caches.Cache, tools: ImageTools, *, must_verify: bool, address: records.CachedAddress
) -> ImageOutcome:
    """Carry out a plan under the lock of the digest; what another process did meanwhile is taken as it is."""
    digest = made.manifest.digest

    def waiting(present: str) -> None:
        tools.warn(f"Waiting for the lock of {address.catalog_id} {address.version}: it is held by {present}.")

    with cache.lock(digest, tools.holder, tools.lock_timeout_seconds, on_wait=waiting):
        now = utc_text(time.time())
        if made.pack is None and made.entry is not None and cache.find(digest) is not None:
            if made.proved and made.stamps is not None:
                cache.set_verified(digest, now, made.stamps)
            return ImageOutcome(cache.touch(digest, now, address), changed=False)
        entry = cache.find(digest)
        if made.entry is None and entry is not None and is_trusted(entry):
            return ImageOutcome(cache.touch(digest, now, address), changed=False)
        with contextlib.ExitStack() as stack:
            if not _hold_seeds(stack, made, cache, tools) or _moved_on(made, cache):
                made = plan_image(made.manifest, cache, tools, must_verify=must_verify)
                if made.pack is None:
                    return ImageOutcome(cache.touch(digest, now, address), changed=False)
                _hold_seeds(stack, made, cache, tools)
            applied = _download(made, cache, tools)
        if must_verify:
            _prove(cache.partial(digest), t.cast(index.Index, made.index).listing, tools)
        published = cache.publish(digest, _new_record(made, address, now, now if must_verify else None))
        return ImageOutcome(published, changed=True, pack=made.pack, applied=applied)


def is_trusted(entry: caches.CacheEntry) -> bool:
    """Whether no file of an entry can have been written to since its content was proved."""
    return caches.stamps(entry) == dict(entry.record.files)


def read_listing(entry: caches.CacheEntry) -> t.Optional[index.Listing]:
    """The listing of an entry, or None when it is not the one that the digest names."""
    try:
        with open(entry.listing_path, "rb") as stream:
            listing = index.decode_listing(stream.read())
    except (OSError, PackError):
        return None
    return listing if listing.digest == entry.digest else None


def _fetch_index(manifest: Manifest, catalog: CatalogClient) -> index.Index:
    listing_file = catalog.listing(manifest.id)
    listing = index.decode_listing(listing_file)
    if listing.digest != manifest.digest:
        raise MalformedIndex(
            f"The listing of {manifest.catalog_id} {manifest.version} has the digest {listing.digest} instead of "
            f"{manifest.digest}.",
            hint="Tell whoever runs the catalog server; nothing was changed on this host.",
        )
    locator_file = catalog.locator(manifest.id)
    return index.Index(listing, index.decode_locator(locator_file, listing), listing_file, locator_file)


def _seeds(cache: caches.Cache, listing: index.Listing, wanted: str) -> list[tuple[str, packs.Seed]]:
    """Other entries with chunks of the same size, the one with the most in place first."""
    found: list[tuple[int, str, packs.Seed]] = []
    for entry in cache.entries():
        if entry.digest == wanted:
            continue
        other = read_listing(entry)
        if other is None or other.chunk_size != listing.chunk_size:
            continue
        seed = packs.Seed(entry.bundle_path, other, caches.trusted(entry))
        found.append((packs.matching_chunks(listing, seed), entry.digest, seed))
    found.sort(key=lambda item: item[0], reverse=True)
    return [(digest, seed) for _matches, digest, seed in found]


def _check_room(pack: packs.PullPlan, cache: caches.Cache, manifest: Manifest) -> None:
    free = cache.free_bytes()
    needed = pack.write_bytes + DISK_MARGIN_BYTES
    if free < needed:
        raise DiskFull(
            f"Pulling {manifest.catalog_id} {manifest.version} into {cache.path} needs {needed} bytes of disk space, "
            f"and {free} are free.",
            hint="Remove something, for example cached images by catalog_cache; nothing was changed on this host.",
            details={"needed_bytes": needed, "free_bytes": free},
        )


def _moved_on(made: ImagePlan, cache: caches.Cache) -> bool:
    """Whether the partial bundle or the entry is not what the plan saw any more."""
    entry = cache.find(made.manifest.digest)
    if (entry is None) != (made.entry is None):
        return True
    return (cache.find_partial(made.manifest.digest) is not None) != (made.resumes and made.entry is None)


def _hold_seeds(stack: contextlib.ExitStack, made: ImagePlan, cache: caches.Cache, tools: ImageTools) -> bool:
    """Keep the seeds of a plan from being removed or repaired; False when one is not there any more."""
    for digest in made.seeds:
        try:
            stack.enter_context(cache.lock(digest, tools.holder, 0.0, shared=True))
        except CacheLocked:
            return False
        if cache.find(digest) is None:
            return False
    return True


def _download(made: ImagePlan, cache: caches.Cache, tools: ImageTools) -> reader.Applied:
    fetched, pack = t.cast(index.Index, made.index), t.cast(packs.PullPlan, made.pack)
    digest = made.manifest.digest
    partial = cache.demote(digest) if made.entry is not None else cache.partial(digest)
    _files.write_file_durably(partial.listing_path, fetched.listing_file, 0o600)
    _files.write_file_durably(partial.locator_path, fetched.locator_file, 0o600)
    urls = PullUrls(tools.catalog, made.manifest.id, [fetch.segment for fetch in pack.fetches])
    source = RetryingTransfer(tools.transfer, urls, tools.delays, tools.sleep)
    tools.progress.start("download", pack.download_bytes)
    with translated(CacheError, f"Writing {made.manifest.catalog_id} {made.manifest.version} to {cache.path}"):
        return reader.apply_plan(
            pack,
            partial.bundle_path,
            fetch=lambda segment, offset, length: source.fetch((segment.pack, segment.sha256), offset, length),
            clone_file=clone.clone_file,
            advance=tools.progress.advance,
        )


def _prove(partial: caches.Partial, listing: index.Listing, tools: ImageTools) -> None:
    tools.progress.start("verify", listing.logical_bytes)
    damaged = verify.damaged_paths(partial.bundle_path, listing, advance=tools.progress.advance)
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


class PullUrls:
    """Signed URLs of segments: a page at a time, in the order of use, renewed when they end."""

    def __init__(self, catalog: CatalogClient, manifest_id: str, order: t.Iterable[index.SegmentRef]) -> None:
        self._catalog = catalog
        self._manifest_id = manifest_id
        self._order = list(dict.fromkeys((segment.pack, segment.sha256) for segment in order))
        self._place = {key: number for number, key in enumerate(self._order)}
        self._known: dict[SegmentKey, SignedUrl] = {}
        self._lock = threading.Lock()

    def __call__(self, key: SegmentKey, renew: bool) -> SignedUrl:
        with self._lock:
            known = self._known.get(key)
            if known is None or renew or known.expires_at < time.time() + _URL_MARGIN_SECONDS:
                self._ask(key)
            return self._known[key]

    def _ask(self, key: SegmentKey) -> None:
        start = self._place[key]
        page = self._order[start : start + _URL_PAGE]
        for name, made in self._catalog.segment_urls(self._manifest_id, page).items():
            self._known[name] = SignedUrl(made.url, float(made.expires_at), dict(made.headers))
