# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What a manifest contains and where that lies: its index as a whole, or deltas from an image that is in the cache."""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import (
    DELTAS,
    MAX_INDEX_BYTES,
    CatalogClient,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._api.deltas import DeltaList, DeltaRecord
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import TEMPORARY, ApiError
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.observe import read_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CacheError
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chain
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.chain import PatchTable
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta import Delta
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta_file import decode_delta
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import (
    MalformedIndex,
    PackError,
    UnsupportedFormat,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    ChunkRows,
    DeltaRef,
    Index,
    Listing,
    Locator,
    chunk_rows,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import decode_listing, encode_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import decode_locator
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import StorageError

# Deltas may cost this part more than the index, or than what is downloaded whole without them.
_TOLERANCE = 0.05


class LocatorSource:
    """Fetches the locator that lies in storage; ``fetched_bytes`` is what that has taken."""

    def __init__(self, manifest: Manifest, catalog: CatalogClient, listing: Listing, rows: ChunkRows) -> None:
        self._manifest = manifest
        self._catalog = catalog
        self._listing = listing
        self._rows = rows
        self.fetched_bytes = 0

    def __call__(self) -> Locator:
        """Return the locator.

        :raises MalformedIndex: it breaks its grammar, or is that of another content
        """
        return self.fetch()[0]

    def fetch(self) -> tuple[Locator, bytes]:
        """Return the locator and its file; see ``__call__``."""
        data = self._catalog.locator(self._manifest.id)
        self.fetched_bytes += len(data)
        return decode_locator(data, self._listing, self._rows), data


@dataclass(frozen=True)
class Content:
    """What a manifest contains.

    ``patches`` is None if the index came as a whole; otherwise the locator may lack places, which ``whole_locator``
    fetches. ``fetched_bytes`` is what the deltas took, or the listing and deltas that were of no use.
    """

    index: Index
    whole_locator: LocatorSource
    fetched_bytes: int
    patches: t.Optional[PatchTable] = None

    @property
    def base(self) -> t.Optional[str]:
        """Digest of the cached image that the deltas start from."""
        return None if self.patches is None else self.patches.base


def fetch_content(manifest: Manifest, cache: Cache, context: Context) -> Content:
    """Return what a manifest contains, by deltas if the cache has an image that they start from.

    :raises MalformedIndex: the index breaks its grammar, or is that of another content
    """
    path = _find_path(manifest, cache, context)
    fetched: list[int] = []
    if path:
        try:
            return _follow(path, manifest, cache, context, fetched)
        except (PackError, StorageError, CacheError, ApiError) as error:
            if isinstance(error, TEMPORARY):
                raise
            _warn_of(path, manifest, context, error)
    found = _whole(manifest, context.catalog)
    return dataclasses.replace(found, fetched_bytes=found.fetched_bytes + sum(fetched))


def _whole(manifest: Manifest, catalog: CatalogClient) -> Content:
    listing_file = catalog.listing(manifest.id)
    listing = decode_listing(listing_file)
    if listing.digest != manifest.digest:
        raise MalformedIndex(
            f"The listing of {manifest.catalog_id} {manifest.version} has the digest {listing.digest} instead of "
            f"{manifest.digest}.",
            hint="Tell the administrator of the catalog; nothing was changed on this host.",
        )
    rows = chunk_rows(listing)
    source = LocatorSource(manifest, catalog, listing, rows)
    locator, locator_file = source.fetch()
    index = Index(listing, rows, locator, listing_file, locator_file)
    return Content(index, source, len(listing_file))


def _find_path(manifest: Manifest, cache: Cache, context: Context) -> tuple[DeltaRecord, ...]:
    """Return the deltas from the cached image that costs least, in order; none if they are not worth it."""
    # Deltas lead from one version of a catalog id to another.
    cached = {
        entry.digest
        for entry in cache.entries()
        if any(address.catalog_id == manifest.catalog_id for address in entry.record.addresses)
    } - {manifest.digest}
    if not cached:
        return ()
    try:
        known = context.catalog.deltas(manifest.id)
    except ApiError as error:
        if isinstance(error, TEMPORARY):
            raise
        # A server without deltas. If it is something else, the index cannot be read either.
        return ()
    path = cheapest_path(known, manifest.digest, cached)
    return path if is_worth_following(path, known.index_bytes) else ()


def cheapest_path(known: DeltaList, digest: str, cached: t.AbstractSet[str]) -> tuple[DeltaRecord, ...]:
    """Return the deltas that lead from a cached digest to ``digest`` and cost least, in order; none if there are none.

    What they cost is their bytes and those of all their patches.
    """
    into: dict[str, list[DeltaRecord]] = {}
    for delta in known.deltas:
        into.setdefault(delta.digest, []).append(delta)
    # The number is unique, so paths are never compared.
    heap: list[tuple[int, int, str, tuple[DeltaRecord, ...]]] = [(0, 0, digest, ())]
    number, seen = 0, set[str]()
    while heap:
        cost, _number, reached, path = heapq.heappop(heap)
        if reached in cached and path:
            return path
        if reached in seen:
            continue
        seen.add(reached)
        for delta in into.get(reached, ()):
            number += 1
            total = cost + delta.size + delta.patch_bytes
            heapq.heappush(heap, (total, number, delta.base_digest, (delta, *path)))
    return ()


def is_worth_following(path: t.Sequence[DeltaRecord], index_bytes: int) -> bool:
    """Return True if deltas cannot cost clearly more than a pull of the index without them.

    Patches are used only for chunks for which they cost less than these, so only the deltas themselves can be too much:
    those of many versions, each of which changed the same chunks. Without them, at least the chunks of the last one are
    downloaded whole.
    """
    if not path:
        return False
    deltas = sum(delta.size for delta in path)
    patches = sum(delta.patch_bytes for delta in path)
    least = index_bytes + path[-1].chunk_bytes
    return deltas <= index_bytes + _TOLERANCE * least or deltas + patches <= least


def _follow(
    path: t.Sequence[DeltaRecord], manifest: Manifest, cache: Cache, context: Context, fetched: list[int]
) -> Content:
    """Return where deltas lead; the bytes of each that came are added to ``fetched``."""
    entry = cache.find(path[0].base_digest)
    base = None if entry is None else read_listing(entry)
    if base is None:
        raise CacheError(f"The image {path[0].base_digest} is not in the cache any more, or its listing is damaged.")
    followed = chain.follow(base, _fetch(path, manifest, context, fetched))
    if followed.listing.digest != manifest.digest:
        raise MalformedIndex(f"The deltas lead to {followed.listing.digest} instead of {manifest.digest}.")
    listing_file = encode_listing(followed.listing)
    index = Index(followed.listing, followed.rows, followed.locator, listing_file, None)
    source = LocatorSource(manifest, context.catalog, followed.listing, followed.rows)
    return Content(index, source, sum(delta.size for delta in path), followed.patches)


def _fetch(path: t.Sequence[DeltaRecord], manifest: Manifest, context: Context, fetched: list[int]) -> list[Delta]:
    """Fetch deltas and check their digests."""
    items = [DeltaRef(delta.pack, delta.sha256, delta.size) for delta in path]
    source = context.transfers.pull_source(manifest.id, items, DELTAS)
    found = []
    for item in items:
        if item.size > MAX_INDEX_BYTES:
            raise MalformedIndex(f"The delta {item.sha256} has {item.size} bytes, allowed is {MAX_INDEX_BYTES}.")
        data = bytes(source.fetch(item, 0, item.size))
        fetched.append(len(data))
        if hashlib.sha256(data).hexdigest() != item.sha256:
            raise MalformedIndex(f"The delta {item.sha256} is damaged in storage or on the way.")
        found.append(decode_delta(data, item.pack))
    return found


def _warn_of(path: t.Sequence[DeltaRecord], manifest: Manifest, context: Context, error: CatalogError) -> None:
    size = sum(delta.size for delta in path)
    number = f"{len(path)} deltas" if len(path) > 1 else "The delta"
    reason = "it needs a later version" if isinstance(error, UnsupportedFormat) else error.message
    context.warn(
        f"{number} to {manifest.catalog_id} {manifest.version} ({size} bytes) could not be used, so its index and "
        f"whole chunks are downloaded: {reason}"
    )
