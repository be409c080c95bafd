# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Entries of the cache by what they are called, and how they are taken out of it: what several use cases share."""

from __future__ import annotations

import contextlib
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses, versions
from ansible_collections.macfleet.parallels.plugins.module_utils._api.server_url import api_url
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import flush_volume
from ansible_collections.macfleet.parallels.plugins.module_utils._base.redact import redact_url
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import sentences as tell
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache import locking
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.layout import CacheEntry
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.measure import exclusive_bytes
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.records import CachedAddress

# How long a file system may take to give back the blocks of deleted files.
_FREEING_SECONDS = 1.0

IsMeant = t.Callable[[CachedAddress], bool]


@dataclass(frozen=True)
class Removed:
    """What was taken out of the cache, by digest: removed with all its files, or only forgotten under a name."""

    removed: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()
    freed_bytes: int = 0

    def __bool__(self) -> bool:
        return bool(self.removed or self.forgotten)


def open_cache(context: Context) -> Cache:
    """Return the cache for a task that changes something: made if need be, and its trash emptied."""
    cache = Cache.open(context.cache.path, create=True)
    empty_trash(cache, context)
    return cache


def look_at_cache(context: Context) -> Cache:
    """Return the cache for a task that only looks."""
    return Cache.open(context.cache.path, create=False)


def empty_trash(cache: Cache, context: Context) -> None:
    """Delete what was removed from the cache; what cannot be deleted is a warning."""
    for sentence in cache.empty_trash():
        context.warn(sentence)


def meaning(
    catalog_id: str,
    version: t.Optional[str] = None,
    catalog_url: t.Optional[str] = None,
    architecture: t.Optional[str] = None,
) -> IsMeant:
    """Return a function that tells if an address is that of a catalog id, and of all else that is given.

    ``version`` is an exact one or a range; a tag matches nothing.

    :raises InvalidAddress: no address can be like that
    """
    wanted_id = addresses.normalise_catalog_id(catalog_id)
    wanted = versions.parse_wanted(version) if version else None
    wanted_architecture = addresses.normalise_architecture(architecture) if architecture else None
    wanted_url = _server(catalog_url) if catalog_url else None

    def is_meant(known: CachedAddress) -> bool:
        return (
            known.catalog_id == wanted_id
            and (wanted is None or _admits(wanted, known.version))
            and wanted_architecture in {None, known.architecture}
            and (wanted_url is None or _server(known.catalog_url) == wanted_url)
        )

    return is_meant


def matching(
    entries: t.Iterable[CacheEntry],
    digest: t.Optional[str],
    is_meant: t.Optional[IsMeant],
) -> list[CacheEntry]:
    """Return the entries with a digest, or with an address that is meant; all entries if neither is given."""
    if digest:
        return [entry for entry in entries if entry.digest == digest]
    if is_meant is None:
        return list(entries)
    return [entry for entry in entries if any(map(is_meant, entry.record.addresses))]


def partials_of(cache: Cache, is_meant: IsMeant) -> list[str]:
    """Return the digests of partial images that were pulled as what is meant."""
    return [
        state.partial.digest
        for state in cache.partials()
        if state.origin is not None and is_meant(state.origin.address)
    ]


def plan_purge(cache: Cache, is_meant: IsMeant) -> Removed:
    """Return what a purge of these addresses would remove. Content that has other addresses too is kept."""
    entries = matching(cache.entries(), None, is_meant)
    only = [entry for entry in entries if all(map(is_meant, entry.record.addresses))]
    removed = [entry.digest for entry in only]
    removed += [digest for digest in partials_of(cache, is_meant) if digest not in removed]
    forgotten = [entry.digest for entry in entries if entry.digest not in removed]
    return Removed(tuple(removed), tuple(forgotten), freeable_bytes(only))


def freeable_bytes(entries: t.Iterable[CacheEntry]) -> int:
    """Return what the removal of entries frees: the blocks that they share with nothing, or all where nobody knows."""
    total = 0
    for entry in entries:
        known = None
        # One that is removed meanwhile frees nothing more.
        with contextlib.suppress(OSError):
            known = exclusive_bytes(entry.bundle_path)
        total += entry.record.allocated_bytes if known is None else known
    return total


def purge(planned: Removed, is_meant: IsMeant, cache: Cache, context: Context) -> Removed:
    """Take entries and partial images out of the cache; what others want meanwhile stays for them."""
    removed, forgotten = [], []
    before = cache.free_bytes()
    for digest in (*planned.removed, *planned.forgotten):
        with lock(digest, locking.REMOVE, cache, context):
            entry = cache.find(digest)
            if entry is None or all(map(is_meant, entry.record.addresses)):
                if remove(digest, cache, context):
                    removed.append(digest)
            elif any(map(is_meant, entry.record.addresses)):
                cache.forget(digest, is_meant)
                forgotten.append(digest)
                names = {address.catalog_id for address in entry.record.addresses if is_meant(address)}
                context.done.add(tell.forget(digest, ", ".join(sorted(names))))
    freed = freed_since(before, planned.freed_bytes, cache, context) if removed else 0
    return Removed(tuple(removed), tuple(forgotten), freed)


def remove(digest: str, cache: Cache, context: Context) -> bool:
    """Take an entry and its partial image out of the cache; return True if there was one."""
    return cache.remove(digest, lambda: context.done.add_once(tell.remove_entry(digest)))


def freed_since(before: int, expected: int, cache: Cache, context: Context) -> int:
    """Empty the trash; return by how many bytes free space has grown since it was ``before``.

    File systems free blocks some time after the deletion, so a growth of ``expected`` bytes is waited for, but not for
    long. If free space cannot be measured, return 0 with a warning: what was removed is removed.
    """
    empty_trash(cache, context)
    try:
        flush_volume(cache.path)
        deadline = time.monotonic() + _FREEING_SECONDS
        while cache.free_bytes() - before < expected and time.monotonic() < deadline:
            time.sleep(_FREEING_SECONDS / 20)
        return max(0, cache.free_bytes() - before)
    except OSError as error:
        context.warn(f"How many bytes were freed in {cache.path} is not known: {error.strerror or error}.")
        return 0


def lock(digest: str, operation: str, cache: Cache, context: Context) -> t.ContextManager[None]:
    """Hold the lock of an entry that is known by its digest alone."""

    def waiting(present: str) -> None:
        context.warn(f"Waiting for the lock of the cache entry {digest}: it is held by {present}.")

    return cache.lock(
        digest,
        operation,
        context.doing,
        context.cache.lock_timeout_seconds,
        waiting,
        alive=context.progress.alive,
    )


def _server(catalog_url: str) -> str:
    """Return the address of a server in one spelling."""
    try:
        return api_url(redact_url(catalog_url))
    except CatalogError:
        return redact_url(catalog_url)


def _admits(wanted: t.Union[str, versions.Range], version: str) -> bool:
    return version == wanted if isinstance(wanted, str) else wanted.admits(version)
