# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects that nothing refers to any more, removed behind the transaction that let them go.

Commits and aborts of one upload may cross one another, and store or remove objects before they know who comes first.
So each of them, behind its last write, makes the pack what the database says; whoever is last leaves the right thing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import StorageError

from catalog_server.errors import Unavailable
from catalog_server.models.transfers import ABORTED, COMMITTED
from catalog_server.transfers import packs, queries
from catalog_server.unit_of_work import Services

# While a pack is tidied its version may be replaced, so it is looked at again until nothing has changed.
_LOOKS = 3

_log = logging.getLogger("catalog_server.transfers")


@dataclass(frozen=True)
class Garbage:
    """Objects that nothing refers to any more; without names, what a pack has beside what the database knows of it."""

    storage: str
    pack: str
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class _Known:
    """What the database knows of a pack whose upload is closed."""

    names: frozenset[str]
    record: bytes | None


def discard(services: Services, garbage: Iterable[Garbage]) -> None:
    """Remove what a transaction has let go. What fails here stays for the garbage collection."""
    for item in garbage:
        try:
            if item.names is None:
                tidy(services, item.storage, item.pack)
            else:
                packs.pack_of(services, item.storage, item.pack).remove(item.names)
        except (StorageError, Unavailable):
            _log.warning("objects of the pack %s could not be removed", item.pack, exc_info=True)


def tidy(services: Services, storage: str, pack_id: str) -> None:
    """Make a pack what the database says, if its upload is closed; an open one may still need everything."""
    done: _Known | None = None
    for _look in range(_LOOKS):
        known = _known(services, pack_id)
        if known is None or known == done:
            return
        _keep(packs.pack_of(services, storage, pack_id), known)
        done = known


def _known(services: Services, pack_id: str) -> _Known | None:
    with services.database.reading() as session:
        upload = queries.upload(session, pack_id)
        if upload is None or upload.state not in (ABORTED, COMMITTED):
            return None
        names = set(queries.segments_in(session, pack_id))
        manifest = queries.manifest_of(session, pack_id)
        if manifest is None:
            return _Known(frozenset(names), None)
        index = (manifest.segmented.listing_object, manifest.segmented.locator_object)
        return _Known(frozenset({*names, *index, packs.RECORD}), packs.record(upload, manifest))


def _keep(pack: packs.PackObjects, known: _Known) -> None:
    if known.record is not None:
        pack.put(packs.RECORD, known.record)
    if known.names:
        pack.remove(pack.names() - known.names)
    else:
        pack.remove_all()
