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
from ansible_collections.macfleet.parallels.plugins.module_utils._host import cache as caches
from ansible_collections.macfleet.parallels.plugins.module_utils._host import facts
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CacheError,
    PrlctlError,
    translated,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.machines import VirtualMachine
from ansible_collections.macfleet.parallels.plugins.module_utils._host.moments import utc_text
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import Prlctl
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import Receipts
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import index, verify
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import PackError, UnsupportedFormat
from ansible_collections.macfleet.parallels.plugins.module_utils._progress import Progress

VERIFIED = "verified"
ABSENT = "absent"
# What stands for a listing that cannot be read: the whole entry is of no use.
_ALL_PATHS = "listing"


@dataclass(frozen=True)
class CacheSettings:
    """Where the cache lies, whose it is, and how long to wait for its locks (seconds)."""

    path: str
    facts_directory: str
    owner: str
    lock_timeout_seconds: float


@dataclass(frozen=True)
class Tools:
    """What the use case works with; ``prlctl`` is None where Parallels Desktop is not installed."""

    settings: CacheSettings
    prlctl: t.Optional[Prlctl]
    warn: t.Callable[[str], None]
    progress: Progress


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
    """The chosen entries, and the digests of those, and of leftovers, that go."""

    chosen: tuple[Chosen, ...]
    victims: tuple[str, ...]
    freed_bytes: int

    @property
    def changed(self) -> bool:
        """Whether the cache would hold less."""
        return bool(self.victims)


def plan(request: CacheRequest, cache: caches.Cache, tools: Tools) -> Plan:
    """Choose the entries, and read them if they are to be verified; changes nothing."""
    entries = matching(cache, request.digest, request.catalog_id, request.version)
    if request.state == VERIFIED:
        chosen = tuple(_examine(entry, tools) for entry in entries)
        gone = [item.entry for item in chosen if item.damaged]
        unreadable = cache.damaged() if request.catalog_id is None else []
        victims = [entry.digest for entry in gone] + _named(unreadable, request.digest)
    else:
        chosen, gone = tuple(Chosen(entry) for entry in entries), entries
        leftovers = [state.partial.digest for state in cache.partials()] + cache.damaged()
        victims = [entry.digest for entry in gone]
        if request.catalog_id is None:
            victims += _named(leftovers, request.digest)
    return Plan(chosen, tuple(dict.fromkeys(victims)), sum(entry.record.allocated_bytes for entry in gone))


def apply(made: Plan, cache: caches.Cache, tools: Tools) -> None:
    """Remove the victims, and remember which entries were found whole."""
    settings = tools.settings
    now = utc_text(time.time())
    for digest in made.victims:
        with cache.lock(digest, "removing a cache entry", settings.lock_timeout_seconds, on_wait=tools.warn):
            cache.remove(digest)
            cache.discard_partial(digest)
    for item in made.chosen:
        if item.stamps and not item.damaged and cache.find(item.entry.digest) is not None:
            cache.set_verified(item.entry.digest, now, item.stamps)


def matching(
    cache: caches.Cache, digest: t.Optional[str], catalog_id: t.Optional[str], version: t.Optional[str]
) -> list[caches.CacheEntry]:
    """Entries with a digest, or pulled as a catalog id in a version (exact, or a range); all without either."""
    wanted_id = addresses.normalise_catalog_id(catalog_id) if catalog_id else None
    wanted = addresses.parse_wanted(version) if version else None

    def is_wanted(entry: caches.CacheEntry) -> bool:
        if digest and entry.digest != digest:
            return False
        if wanted_id is None:
            return True
        return any(
            known.catalog_id == wanted_id and (wanted is None or _admits(wanted, known.version))
            for known in entry.record.addresses
        )

    return [entry for entry in cache.entries() if is_wanted(entry)]


def change(request: CacheRequest, tools: Tools, *, check_mode: bool) -> dict[str, t.Any]:
    """The result of catalog_cache."""
    started = time.monotonic()
    check_facts(tools)
    cache = caches.Cache.open(tools.settings.path, create=False)
    made = plan(request, cache, tools)
    if not check_mode and cache.exists:
        apply(made, cache, tools)
    return {
        "changed": made.changed,
        "entries": [_entry_result(item) for item in made.chosen],
        "removed": list(made.victims),
        "freed_bytes": made.freed_bytes,
        "diff": _diff(made),
        "elapsed": round(time.monotonic() - started, 3),
        "ansible_facts": current_facts(cache, tools, may_publish=not check_mode),
    }


def gather(tools: Tools) -> dict[str, t.Any]:
    """The result of catalog_cache_facts: reads only, publishes nothing."""
    cache = caches.Cache.open(tools.settings.path, create=False)
    return {"changed": False, "ansible_facts": current_facts(cache, tools, may_publish=False)}


def check_facts(tools: Tools) -> None:
    """Before anything is changed: whether the facts of it could be published.

    :raises FactsUnsafe: they could not
    """
    facts.check_publishable(tools.settings.facts_directory, tools.settings.owner)


def current_facts(
    cache: caches.Cache,
    tools: Tools,
    *,
    may_publish: bool,
    machines: t.Optional[t.Sequence[VirtualMachine]] = None,
) -> dict[str, t.Any]:
    """``ansible_facts``: the complete document of this host, which is published, too, if it may be.

    ``machines`` spares a call of prlctl to whoever knows them already.
    """
    settings = tools.settings
    document = facts.read_published(settings.facts_directory)
    if not cache.exists:
        return {"parallels_catalog": document}
    own = facts.cache_document(cache, settings.owner, utc_text(time.time()))
    receipts, unreadable = Receipts(cache.receipts_path).read_all()
    for name in unreadable:
        tools.warn(f"The receipt {name} in {cache.receipts_path} cannot be read, so its virtual machine is not shown.")
    if machines is None and receipts:
        machines = _machines(tools)
    documents = facts.vm_documents(receipts, machines)
    if may_publish:
        facts.publish(settings.facts_directory, settings.owner, cache.path, own, documents)
    return {"parallels_catalog": facts.with_cache(document, cache.path, own, documents)}


def _machines(tools: Tools) -> t.Optional[t.Sequence[VirtualMachine]]:
    if tools.prlctl is None:
        return None
    try:
        return tools.prlctl.list_machines()
    except PrlctlError as error:
        tools.warn(f"The states of the virtual machines are unknown: {error.message}")
        return None


def read_listing(entry: caches.CacheEntry) -> t.Optional[index.Listing]:
    """The listing of an entry, or None when there is none, or not the one that the digest names.

    :raises UnsupportedFormat: a later version of this collection wrote it
    :raises CacheError: it cannot be read now
    """
    with translated(CacheError, f"Reading {entry.listing_path}"):
        try:
            with open(entry.listing_path, "rb") as stream:
                listing = index.decode_listing(stream.read())
        except UnsupportedFormat:
            raise
        except (FileNotFoundError, PackError):
            return None
    return listing if listing.digest == entry.digest else None


def _examine(entry: caches.CacheEntry, tools: Tools) -> Chosen:
    stamps = caches.stamps(entry)
    listing = read_listing(entry)
    if listing is None:
        return Chosen(entry, (_ALL_PATHS,))
    tools.progress.start("verify", listing.logical_bytes)
    with translated(CacheError, f"Reading {entry.bundle_path}"):
        damaged = verify.damaged_paths(entry.bundle_path, listing, advance=tools.progress.advance)
    return Chosen(entry, tuple(damaged), stamps)


def _named(digests: t.Iterable[str], wanted: t.Optional[str]) -> list[str]:
    return [digest for digest in digests if wanted is None or digest == wanted]


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
