# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The clone that a push has read becomes an entry of the cache, so that the next push has its base at hand."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._base import files
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._base.moments import utc_text
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.cached import open_cache
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.observe import (
    is_as_listed,
    listed_directories,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push.readable import may_clone
from ansible_collections.macfleet.parallels.plugins.module_utils._host import clone, volumes
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache import locking
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache, require_unwritten
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.layout import Partial
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.records import (
    CachedAddress,
    CacheRecord,
    Origin,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.stamps import (
    Difference,
    TreeStamps,
    compare,
    read_stamps,
    written_since,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CacheError, translated
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import bundle, sketch, verify
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import LINK, Listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import encode_listing

_LOCK_SECONDS = 5.0


def keep(
    snapshot: bundle.Snapshot,
    listing: Listing,
    manifest: Manifest,
    catalog_url: str,
    context: Context,
    *,
    cloned: bool = True,
) -> bool:
    """Make the clone that ``snapshot`` describes the cache entry of its digest; return True if it is one now.

    The push is done, so what goes wrong here is a warning.
    """
    try:
        if not cloned:
            raise CacheError(f"No clone of {snapshot.root} could be made where it lies.")
        cache = open_cache(context)
        if not volumes.share_volume(snapshot.root, cache.path):
            raise CacheError(f"{cache.path} is on another volume than {snapshot.root}.")
        address = CachedAddress(catalog_url, manifest.catalog_id, manifest.version, manifest.architecture)
        with _locked(listing, locking.USE, cache, context):
            if _touch(listing, address, cache):
                return True
        with _locked(listing, locking.FILL, cache, context):
            # Another task may have made it meanwhile.
            if not _touch(listing, address, cache):
                _publish(snapshot, listing, manifest, address, cache)
        return True
    except (CatalogError, OSError) as error:
        context.warn(
            f"{manifest.catalog_id} {manifest.version} is pushed, and was not kept in the cache "
            f"{context.cache.path}: {error}"
        )
        return False


def will_keep(root: str, context: Context) -> bool:
    """Return True if a push of the bundle ``root`` would keep it, as far as that can be told without trying."""
    return may_clone(root) and volumes.share_volume(root, context.cache.path)


def _locked(listing: Listing, operation: str, cache: Cache, context: Context) -> t.ContextManager[None]:
    return cache.lock(listing.digest, operation, context.doing, _LOCK_SECONDS, alive=context.progress.alive)


def _touch(listing: Listing, address: CachedAddress, cache: Cache) -> bool:
    """Count a use of the entry; return False if there is none."""
    if cache.find(listing.digest) is None:
        return False
    cache.touch(listing.digest, utc_text(time.time()), address)
    return True


def _publish(
    snapshot: bundle.Snapshot, listing: Listing, manifest: Manifest, address: CachedAddress, cache: Cache
) -> None:
    now = utc_text(time.time())
    try:
        partial = cache.partial(listing.digest, Origin(address, now))
        present = _moved(snapshot, listing, partial)
        record = _record(listing, manifest, cache.partial_record(listing.digest), now).with_address(address)
        cache.publish(listing.digest, record, present)
    except BaseException:
        # Nobody knows what is in it, and it shares ever fewer blocks with the bundle.
        with contextlib.suppress(CatalogError, OSError):
            cache.discard_partial(listing.digest)
            cache.empty_trash()
        raise


def _moved(snapshot: bundle.Snapshot, listing: Listing, partial: Partial) -> TreeStamps:
    """Move the clone into the cache, and leave in it what is listed alone; return the stamps that it has then.

    :raises CacheChanged: it is not what was read: it was private to the push, but not out of everybody's reach
    """
    read, directories = TreeStamps(snapshot.stamps), listed_directories(listing)
    require_unwritten(partial, compare(read, read_stamps(snapshot.root, directories).only(read.paths)))
    with translated(CacheError, f"Moving {snapshot.root} to {partial.bundle_path}"):
        clone.remove_tree(partial.bundle_path)
        os.rename(snapshot.root, partial.bundle_path)
        _spell_as_listed(snapshot, partial)
        for path in verify.strays(partial.bundle_path, listing, with_left_out=True):
            clone.remove_tree(os.path.join(partial.bundle_path, path))
        files.write_file_durably(partial.listing_path, encode_listing(listing), 0o600)
    present = read_stamps(partial.bundle_path, directories)
    require_unwritten(partial, written_since(read, present.only(read.paths)))
    with translated(CacheError, f"Examining {partial.bundle_path}"):
        changed = [item.path for item in listing.entries if not is_as_listed(partial, item)]
    require_unwritten(partial, Difference(frozenset(changed), ()))
    return present


def _record(listing: Listing, manifest: Manifest, earlier: t.Optional[CacheRecord], now: str) -> CacheRecord:
    """Return the record of a bundle that was not downloaded; ``earlier`` is that of the entry which it was before."""
    fresh = CacheRecord(
        digest=listing.digest,
        bundle_name=manifest.name,
        type=manifest.type,
        addresses=(),
        logical_bytes=manifest.logical_bytes,
        stored_bytes=manifest.stored_bytes,
        first_used_at=now,
        last_used_at=now,
        sketch=sketch.encode(sketch.of(listing)),
    )
    record = earlier or fresh
    return dataclasses.replace(
        record,
        last_used_at=now,
        use_count=record.use_count + 1,
        verified_at=None,
        sketch=fresh.sketch,
        downloaded_bytes=0,
    )


def _spell_as_listed(snapshot: bundle.Snapshot, partial: Partial) -> None:
    """Give names and link targets the normal form of the listing. What lies deepest goes first."""
    for entry, disk_path in reversed(list(zip(snapshot.entries, snapshot.disk_paths))):
        path = os.path.join(partial.bundle_path, disk_path)
        name = os.path.basename(entry.path)
        if name != os.path.basename(disk_path):
            spelled = os.path.join(os.path.dirname(path), name)
            os.rename(path, spelled)
            path = spelled
        if entry.kind == LINK and os.readlink(path) != entry.target:
            os.unlink(path)
            os.symlink(entry.target, path)
