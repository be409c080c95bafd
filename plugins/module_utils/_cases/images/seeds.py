# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Seeds of a pull: cached images whose chunks can be reused. Chosen by what their records tell, read only if chosen."""

from __future__ import annotations

import contextlib
import heapq
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.observe import proved_files, read_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache import locking
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.layout import CacheEntry
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CacheChanged, CacheError
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import sketch
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import UnsupportedFormat
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import Listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.seeds import Seed

# Each more has less that the others have not, and its listing takes memory.
MOST_SEEDS = 3
# How long to wait for a seed that somebody else is changing at this moment.
SEED_WAIT_SECONDS = 5.0

# More than any similarity.
_BEST = 2.0

Seeds = t.Dict[str, Seed]


def find_seeds(cache: Cache, listing: Listing, first: t.Optional[str] = None) -> Seeds:
    """Return the best seeds by digest, best first, without holding them: for a plan that is not carried out.

    The image with the digest ``first`` is taken to be the best.
    """
    found = {}
    for entry in _ranked(cache, listing, first):
        seed = _seed(entry, listing)
        if seed is not None:
            found[entry.digest] = seed
        if len(found) == MOST_SEEDS:
            break
    return found


def hold_seeds(
    stack: contextlib.ExitStack, cache: Cache, listing: Listing, context: Context, first: t.Optional[str] = None
) -> Seeds:
    """Return the best seeds by digest, best first; nobody removes or repairs them until ``stack`` is left.

    The image with the digest ``first`` is taken to be the best.

    A seed that cannot be held is a warning, since what it has must be downloaded.
    """
    held: Seeds = {}
    for entry in _ranked(cache, listing, first):
        with contextlib.ExitStack() as own:
            try:
                own.enter_context(
                    cache.lock(
                        entry.digest, locking.READ, context.doing, SEED_WAIT_SECONDS, alive=context.progress.alive
                    )
                )
                present = cache.find(entry.digest)
            except CacheError as error:
                shared = int(_similarity(entry, sketch.of(listing)) * entry.record.logical_bytes)
                context.warn(
                    f"The cached image {_name(entry)} cannot be reused, so up to {shared} bytes more are downloaded: "
                    f"{error.message}"
                )
                continue
            seed = None if present is None else _seed(present, listing)
            if seed is not None:
                held[entry.digest] = seed
                stack.push(own.pop_all())
        if len(held) == MOST_SEEDS:
            break
    return held


def require_unchanged(seeds: Seeds, cache: Cache) -> None:
    """Check, after they were copied from, that what was believed of seeds still is.

    :raises CacheChanged: somebody has written to a seed meanwhile, so what was copied from it may be wrong
    """
    for digest, seed in seeds.items():
        entry = cache.find(digest)
        written = seed.trusted - (proved_files(entry) if entry is not None else frozenset())
        if written:
            raise CacheChanged(
                f"{seed.root} was changed by somebody else while it was copied from "
                f"({', '.join(sorted(written)[:3])}).",
                "Find out what writes to the cache, then run the task again.",
            )


def _ranked(cache: Cache, listing: Listing, first: t.Optional[str]) -> t.List[CacheEntry]:
    """Return the entries that have most in common with a listing, a few more than are needed; used last goes first."""
    own = sketch.of(listing)
    scored = (
        (_BEST if entry.digest == first else _similarity(entry, own), -number, entry)
        for number, entry in enumerate(cache.entries())
        if entry.digest != listing.digest
    )
    # The number is unique, so entries are never compared.
    best = heapq.nlargest(2 * MOST_SEEDS, (item for item in scored if item[0] > 0))
    return [entry for _score, _number, entry in best]


def _similarity(entry: CacheEntry, own: sketch.Sketch) -> float:
    known = sketch.decode(entry.record.sketch)
    return 0.0 if known is None else sketch.similarity(own, known)


def _seed(entry: CacheEntry, listing: Listing) -> t.Optional[Seed]:
    try:
        other = read_listing(entry)
        if other is None or other.chunk_size != listing.chunk_size:
            return None
        return Seed(entry.bundle_path, other, proved_files(entry))
    except (CacheError, UnsupportedFormat):
        return None


def _name(entry: CacheEntry) -> str:
    if not entry.record.addresses:
        return entry.digest
    address = entry.record.addresses[-1]
    return f"{address.catalog_id} {address.version}"
