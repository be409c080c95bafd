# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The cache of a host: look at it, verify it, remove entries from it. Plan, then apply."""

from __future__ import annotations

import dataclasses
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses
from ansible_collections.macfleet.parallels.plugins.module_utils._api.http import api_url
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._base.moments import utc_text
from ansible_collections.macfleet.parallels.plugins.module_utils._base.redact import redact_url
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._host import cache as caches
from ansible_collections.macfleet.parallels.plugins.module_utils._host import facts
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CacheError,
    FactsTooLarge,
    PrlctlError,
    translated,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.machines import VirtualMachine
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import Receipts
from ansible_collections.macfleet.parallels.plugins.module_utils._host.records import CachedAddress
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import index, verify
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import PackError, UnsupportedFormat
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import decode_listing

IsMeant = t.Callable[[CachedAddress], bool]

VERIFIED = "verified"
ABSENT = "absent"
# What stands for a listing that cannot be read: the whole entry is of no use.
_ALL_PATHS = "listing"


@dataclass(frozen=True)
class CacheRequest:
    """Which entries, all if nothing is given, and what shall become of them."""

    state: str
    digest: t.Optional[str]
    catalog_id: t.Optional[str]
    version: t.Optional[str]


@dataclass(frozen=True)
class Chosen:
    """One entry and the paths in it that are damaged; ``stamps`` were taken before they were read."""

    entry: caches.CacheEntry
    damaged: tuple[str, ...] = ()
    stamps: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """The chosen entries, and the digests of those, and of leftovers, that go, if need be for damage alone."""

    chosen: tuple[Chosen, ...]
    victims: tuple[str, ...]
    only_damaged: bool = False

    @property
    def changed(self) -> bool:
        """Whether the cache would hold less."""
        return bool(self.victims)

    @property
    def freed_bytes(self) -> int:
        """What the entries among the victims take."""
        return sum(item.entry.record.allocated_bytes for item in self.chosen if item.entry.digest in self.victims)


def plan(request: CacheRequest, cache: caches.Cache, context: Context) -> Plan:
    """Choose the entries, and read them if they are to be verified; changes nothing."""
    survey = cache.survey()
    entries = matching(survey.entries, request.digest, request.catalog_id, request.version)
    leftovers = list(survey.damaged)
    if request.state == VERIFIED:
        chosen = tuple(_examine(entry, context) for entry in entries)
        victims = [item.entry.digest for item in chosen if item.damaged]
    else:
        chosen = tuple(Chosen(entry) for entry in entries)
        victims = [entry.digest for entry in entries]
        leftovers += [*survey.unreadable, *(state.partial.digest for state in cache.partials())]
    if request.catalog_id is None:
        victims += [digest for digest in leftovers if request.digest is None or digest == request.digest]
    return Plan(chosen, tuple(dict.fromkeys(victims)), request.state == VERIFIED)


def apply(made: Plan, cache: caches.Cache, context: Context) -> Plan:
    """Remove the victims, and remember which entries were found whole; the plan as it was carried out.

    What was damaged, and was repaired before its lock was ours, stays.
    """
    now = utc_text(time.time())
    chosen = {item.entry.digest: item for item in made.chosen}
    removed = []
    for digest in made.victims:
        with _lock(digest, cache, context):
            if made.only_damaged:
                again = _look_again(digest, chosen.get(digest), cache, context)
                if again is not None and not again.damaged:
                    chosen[digest] = again
                    continue
            cache.remove(digest)
            cache.discard_partial(digest)
            removed.append(digest)
    for item in chosen.values():
        if item.stamps and not item.damaged and cache.find(item.entry.digest) is not None:
            cache.set_verified(item.entry.digest, now, item.stamps)
    return dataclasses.replace(made, chosen=tuple(chosen.values()), victims=tuple(removed))


def _look_again(digest: str, item: t.Optional[Chosen], cache: caches.Cache, context: Context) -> t.Optional[Chosen]:
    """What a victim is now; None when it is no entry, and the same as before if nobody has written to it."""
    entry = cache.find(digest)
    if entry is None or item is None:
        return None if entry is None else Chosen(entry)
    return item if item.stamps and caches.stamps(entry) == item.stamps else _examine(entry, context)


def _lock(digest: str, cache: caches.Cache, context: Context) -> t.ContextManager[None]:
    def waiting(present: str) -> None:
        context.warn(f"Waiting for the lock of the cache entry {digest}: it is held by {present}.")

    return cache.lock(digest, "removing a cache entry", context.cache.lock_timeout_seconds, on_wait=waiting)


def matching(
    entries: t.Iterable[caches.CacheEntry],
    digest: t.Optional[str],
    catalog_id: t.Optional[str],
    version: t.Optional[str],
) -> list[caches.CacheEntry]:
    """Entries with a digest, or pulled as a catalog id in a version (exact, or a range); all without either."""
    if digest:
        return [entry for entry in entries if entry.digest == digest]
    if not catalog_id:
        return list(entries)
    is_meant = meaning(catalog_id, version)
    return [entry for entry in entries if any(map(is_meant, entry.record.addresses))]


def meaning(
    catalog_id: str,
    version: t.Optional[str],
    catalog_url: t.Optional[str] = None,
    architecture: t.Optional[str] = None,
) -> IsMeant:
    """Whether an address is that of a catalog id, and has the version (exact, or a range) and all else if it is given.

    :raises InvalidAddress: no address can be like that
    """
    wanted_id = addresses.normalise_catalog_id(catalog_id)
    wanted = addresses.parse_wanted(version) if version else None
    wanted_architecture = addresses.normalise_architecture(architecture) if architecture else None
    wanted_url = _server(catalog_url) if catalog_url else None

    def is_meant(known: CachedAddress) -> bool:
        return (
            known.catalog_id == wanted_id
            and (wanted is None or _admits(wanted, known.version))
            and wanted_architecture in (None, known.architecture)
            and (wanted_url is None or _server(known.catalog_url) == wanted_url)
        )

    return is_meant


def _server(catalog_url: str) -> str:
    """The address of a server in one spelling."""
    try:
        return api_url(redact_url(catalog_url))
    except CatalogError:
        return redact_url(catalog_url)


def forget(digests: t.Iterable[str], is_meant: IsMeant, cache: caches.Cache, context: Context) -> None:
    """Take addresses from entries, and remove those that have no other."""
    for digest in digests:
        with _lock(digest, cache, context):
            entry = cache.find(digest)
            if entry is None:
                continue
            if all(map(is_meant, entry.record.addresses)):
                cache.remove(digest)
                cache.discard_partial(digest)
            else:
                cache.forget(digest, is_meant)


def change(request: CacheRequest, context: Context, *, check_mode: bool) -> dict[str, t.Any]:
    """The result of catalog_cache."""
    started = time.monotonic()
    check_facts(context)
    cache = caches.Cache.open(context.cache.path, create=False)
    made = plan(request, cache, context)
    if not check_mode and cache.exists:
        made = apply(made, cache, context)
    return {
        "changed": made.changed,
        "entries": [_entry_result(item) for item in made.chosen],
        "removed": list(made.victims),
        "freed_bytes": made.freed_bytes,
        "diff": _diff(made),
        "elapsed": round(time.monotonic() - started, 3),
        "ansible_facts": current_facts(cache, context, may_publish=not check_mode),
    }


def gather(context: Context) -> dict[str, t.Any]:
    """The result of catalog_cache_facts: reads only, publishes nothing."""
    cache = caches.Cache.open(context.cache.path, create=False)
    return {"changed": False, "ansible_facts": current_facts(cache, context, may_publish=False)}


def check_facts(context: Context) -> None:
    """Before anything is changed: whether the facts of it could be published.

    :raises FactsUnsafe: they could not
    """
    facts.check_publishable(context.cache.facts_directory, context.cache.owner)


def current_facts(
    cache: caches.Cache,
    context: Context,
    *,
    may_publish: bool,
    machines: t.Optional[t.Sequence[VirtualMachine]] = None,
) -> dict[str, t.Any]:
    """``ansible_facts``: the complete document of this host, which is published, too, if it may be.

    ``machines`` spares a call of prlctl to whoever knows them already.
    """
    settings = context.cache
    document = facts.read_published(settings.facts_directory)
    if not cache.exists:
        return {"parallels_catalog": document}
    own = facts.cache_document(cache, settings.owner, utc_text(time.time()))
    for reason in own["unreadable"].values():
        context.warn(reason)
    receipts, unreadable = Receipts(cache.receipts_path).read_all()
    for name in unreadable:
        context.warn(
            f"The receipt {name} in {cache.receipts_path} cannot be read, so its virtual machine is not shown."
        )
    if machines is None and receipts:
        machines = _machines(context)
    documents = facts.vm_documents(receipts, machines)
    if may_publish:
        try:
            facts.publish(settings.facts_directory, settings.owner, cache.path, own, documents)
        except FactsTooLarge as error:
            context.warn(f"The published facts of this host stay as they were. {error}")
    return {"parallels_catalog": facts.with_cache(document, cache.path, own, documents)}


def _machines(context: Context) -> t.Optional[t.Sequence[VirtualMachine]]:
    if context.parallels is None:
        return None
    try:
        return context.parallels.list_machines()
    except PrlctlError as error:
        context.warn(f"The states of the virtual machines are unknown: {error.message}")
        return None


def read_listing(entry: caches.CacheEntry) -> t.Optional[index.Listing]:
    """The listing of an entry, or None when there is none, or not the one that the digest names.

    :raises UnsupportedFormat: a later version of this collection wrote it
    :raises CacheError: it cannot be read now
    """
    with translated(CacheError, f"Reading {entry.listing_path}"):
        try:
            with open(entry.listing_path, "rb") as stream:
                listing = decode_listing(stream.read())
        except UnsupportedFormat:
            raise
        except (FileNotFoundError, PackError):
            return None
    return listing if listing.digest == entry.digest else None


def _examine(entry: caches.CacheEntry, context: Context) -> Chosen:
    stamps = caches.stamps(entry)
    listing = read_listing(entry)
    if listing is None:
        return Chosen(entry, (_ALL_PATHS,))
    context.progress.start("verify", listing.logical_bytes)
    with translated(CacheError, f"Reading {entry.bundle_path}"):
        damaged = verify.damaged_paths(entry.bundle_path, listing, advance=context.progress.advance)
    return Chosen(entry, tuple(damaged), stamps)


def _admits(wanted: t.Union[str, addresses.Range], version: str) -> bool:
    return version == wanted if isinstance(wanted, str) else wanted.admits(version)


def _entry_result(item: Chosen) -> dict[str, t.Any]:
    return {
        "digest": item.entry.digest,
        "addresses": [dataclasses.asdict(address) for address in item.entry.record.addresses],
        "damaged": list(item.damaged),
    }


def _diff(made: Plan) -> dict[str, t.Any]:
    before = dict.fromkeys((*(item.entry.digest for item in made.chosen), *made.victims), "cached")
    return {
        "before": before,
        "after": {digest: state for digest, state in before.items() if digest not in made.victims},
    }
