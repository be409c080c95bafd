# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects that nothing refers to any more, removed behind the transaction that let them go.

Commits and aborts of one upload may cross one another, and store or remove objects before they know who comes first.
So each of them, behind its last write, makes the pack what the database says; whoever is last leaves the right thing.
What a crash leaves over is found by ``packs.tidy_after``, which every such transaction sets: see ``jobs/gc.py``.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import StorageError
from sqlalchemy import select

from catalog_server import clock
from catalog_server.catalog import deltas
from catalog_server.errors import Unavailable
from catalog_server.models.catalog import Catalog
from catalog_server.models.jobs import OutboxEntry
from catalog_server.models.storage import GONE, GROWING, UNSURE, Pack
from catalog_server.models.transfers import ABORTED, OPEN, Upload
from catalog_server.settings import LONGEST_URL_SECONDS
from catalog_server.transfers import packs, queries
from catalog_server.unit_of_work import Services

# While a pack is tidied its version may be replaced, so it is looked at again until nothing has changed.
_LOOKS = 3

_log = logging.getLogger("catalog_server.transfers")


def unfinished_before(services: Services) -> float:
    """Return the Unix time since when every object that is still received has got bytes."""
    return (services.clock() - datetime.timedelta(seconds=LONGEST_URL_SECONDS)).timestamp()


def discard_unfinished(services: Services) -> None:
    """Remove the objects that a server was receiving or writing when it died.

    Only where there can be some: looking through all packs takes too long before the first request.
    """
    before = unfinished_before(services)
    with services.database.reading() as session:
        written = select(Pack.id, Pack.storage).where(
            (Pack.state == GROWING) | Pack.tidy_after.is_not(None) | Pack.id.in_(select(OutboxEntry.pack))
        )
        found = [(row.id, row.storage) for row in session.execute(written)]
    for name in services.storages.marked():
        provider = services.storages.get(name)
        provider.discard_abandoned(provider.prefix, before, deep=False)
        for pack_id, storage in found:
            if storage == name:
                provider.discard_abandoned(packs.folder_of(provider.prefix, pack_id), before)


@dataclass(frozen=True)
class _Known:
    """What the database knows of a pack that is not written to any more."""

    storage: str
    names: frozenset[str]
    record: bytes | None
    # If one of these is there, it was committed in a later state of the database.
    proofs: frozenset[str]


def discard(services: Services, pack_ids: Iterable[str]) -> None:
    """Tidy packs. What fails here is left to the garbage collection."""
    for pack_id in pack_ids:
        try:
            tidy(services, pack_id)
        except (StorageError, Unavailable):
            _log.warning("the pack %s could not be tidied", pack_id, exc_info=True)


def tidy(services: Services, pack_id: str) -> bool:
    """Make a pack what the database says, unless it is still written to or pulls that have begun may read it.

    Returns True if it is as the database says now.
    """
    done: _Known | None = None
    for _look in range(_LOOKS):
        known = _known(services, pack_id)
        if known is None or known == done:
            return known is not None
        objects = packs.pack_of(services, known.storage, pack_id)
        with services.storages.own(known.storage):
            _keep(objects, known)
        # In a volume that is not mounted any more, everything seems to be deleted.
        services.storages.require_own(known.storage)
        done = known
    return False


def _known(services: Services, pack_id: str) -> _Known | None:
    began = services.clock() - datetime.timedelta(seconds=LONGEST_URL_SECONDS)
    with services.database.reading() as session:
        pack, upload = session.get(Pack, pack_id), queries.upload(session, pack_id)
        catalog = session.execute(select(Catalog.gc_enabled, Catalog.clock_noted_at)).one()
        if pack is None or not catalog.gc_enabled:
            return None
        if clock.problem(catalog.clock_noted_at, services.clock()) is not None:
            return None
        if pack.condemned_at is not None and pack.condemned_at > began:
            return None
        if pack.state == GROWING if upload is None else upload.state == OPEN:
            return None
        held, patches = deltas.names_in(session, pack_id)
        names = {
            *queries.segments_in(session, pack_id),
            *map(packs.delta_name, held),
            *map(packs.patches_name, patches),
        }
        proofs = proofs_of_commit(pack, upload)
        manifest = queries.manifest_of(session, pack_id)
        if manifest is None:
            return _Known(pack.storage, frozenset(names), None, proofs)
        index = (manifest.segmented.listing_object, manifest.segmented.locator_object)
        record = packs.record(upload, manifest) if upload is not None else None
        names |= {*index, packs.RECORD, packs.STATE}
        return _Known(pack.storage, frozenset(names), record, proofs)


def proofs_of_commit(pack: Pack, upload: Upload | None) -> frozenset[str]:
    """Names of the objects by which one sees that a pack was committed in a later state of the database.

    A commit stores the record, and the outbox writes the state behind it. A commit that failed has left a record, too,
    so that proves something only of an upload that a restore has found open.
    """
    if pack.state == UNSURE:
        return frozenset({packs.RECORD, packs.STATE})
    # An upload is forgotten after some time, and its pack is not.
    was_aborted = pack.state == GONE if upload is None else upload.state == ABORTED
    return frozenset({packs.STATE} if was_aborted or pack.state == GROWING else ())


def _keep(pack: packs.PackObjects, known: _Known) -> None:
    if known.record is not None:
        pack.put(packs.RECORD, known.record)
    there = pack.names()
    if known.proofs & there:
        # The database is older than the storage, having been restored: this may be all that is left of a push.
        _log.warning("the pack %s was committed in a later state of the database, and is left alone", pack.folder)
    elif known.names:
        pack.remove(there - known.names)
    else:
        pack.remove_all()
