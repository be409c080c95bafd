# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The mark of a catalog in a storage: an object that says whose the objects below a prefix are.

It is written when a storage is used for the first time. From then on it has to be there. Where it is missing, the
volume is not mounted or another folder was named, so nothing may be stored there or deleted. Another catalog's mark is
refused.

It also has the epoch of the catalog, which a restore raises. A restored server that starts writes its epoch into the
mark. A server that finds a later epoch there than its own is the original of a restore. Each of the two has packs that
the other one does not know, so the original must neither store nor delete anything any more. Nor may the restored one,
before it has taken the storage over.
"""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import StorageMissing
from sqlalchemy import select

from catalog_server.database import Database
from catalog_server.errors import Unavailable
from catalog_server.models.catalog import Catalog
from catalog_server.models.storage import Storage

if t.TYPE_CHECKING:
    from catalog_server.storages.base import Provider

_FORMAT = 1


class MissingMark(Unavailable):
    """A storage that was used has no mark where it is looked for."""


class OtherCatalog(Unavailable):
    """A storage belongs to another catalog, or to nobody knows whom."""


class Superseded(Unavailable):
    """A restore of this catalog has taken a storage over."""


class NotTakenOver(Unavailable):
    """A storage is still that of the catalog as it was before a restore."""


@dataclass(frozen=True)
class Mark:
    """Which catalog a mark names, and the epoch of that catalog when it was written; no name if it cannot be read."""

    catalog: str
    epoch: int = 0


def mark_of(prefix: str) -> str:
    """The key of the mark of a storage."""
    return f"{prefix}/catalog.json" if prefix else "catalog.json"


def write(provider: Provider, mine: Mark) -> None:
    """Mark a storage that is used for the first time, or take it over after a restore.

    :raises OtherCatalog, Superseded: it has the mark of another catalog, or of a later restore of this one
    """
    there = found(provider)
    if there is None or (there.catalog == mine.catalog and there.epoch < mine.epoch):
        mark = {"mark_format": _FORMAT, "catalog": mine.catalog, "epoch": mine.epoch, "storage": provider.name}
        with provider.replacing_mark():
            provider.put(mark_of(provider.prefix), json.dumps(mark, indent=1, sort_keys=True).encode())
    require_own(provider, mine)


def require_own(provider: Provider, mine: Mark) -> None:
    """Check that a storage has the mark of this catalog and of its epoch, so that one may store and delete there.

    :raises MissingMark, OtherCatalog, Superseded, NotTakenOver: it has not
    """
    if not is_taken_over(check(provider, mine), mine):
        raise NotTakenOver(
            f"The storage {provider.name!r} still has the mark of this catalog from before it was restored, so nothing "
            "is stored or deleted there: start the server anew, which takes it over."
        )


def is_taken_over(there: Mark, mine: Mark) -> bool:
    """Return True if a mark of this catalog is of no earlier epoch."""
    return there.epoch >= mine.epoch


def check(provider: Provider, mine: Mark) -> Mark:
    """Check that a storage has the mark of this catalog, and of no later epoch; return the mark.

    :raises MissingMark, OtherCatalog, Superseded: it has not
    """
    there = found(provider)
    if there is None:
        raise MissingMark(
            f"The storage {provider.name!r} has been used, and its mark {mark_of(provider.prefix)} is not there: mount "
            "its volume, or set root and prefix to where its objects are."
        )
    if there.catalog != mine.catalog:
        raise OtherCatalog(
            f"The storage {provider.name!r} belongs to the catalog {_name(there)}, and this is {mine.catalog}: choose "
            "another root or prefix."
        )
    if there.epoch > mine.epoch:
        raise Superseded(
            f"A restore of this catalog has taken over the storage {provider.name!r}, so this server stores and "
            "deletes nothing any more: stop it, and use the restored one. To go on with its database, make a backup of "
            "that and restore it."
        )
    return there


def require_none(provider: Provider) -> None:
    """Check that a storage has no mark, since there is no database that could be its catalog's.

    :raises OtherCatalog: it has one
    """
    there = found(provider)
    if there is not None:
        raise OtherCatalog(
            f"There is no database, and the storage {provider.name!r} ({provider.where}) belongs to the catalog "
            f"{_name(there)}. If its database is elsewhere, correct database_url. If it is lost, run catalog-server "
            "restore with a backup. A new catalog needs another root or prefix."
        )


def _name(mark: Mark) -> str:
    return mark.catalog or "that its mark does not name"


def owner(provider: Provider) -> str | None:
    """The catalog that the mark names; None if there is no mark, nothing if it cannot be read."""
    there = found(provider)
    return None if there is None else there.catalog


def found(provider: Provider) -> Mark | None:
    """The mark of a storage; None if there is none."""
    try:
        data = json.loads(provider.get(mark_of(provider.prefix)))
    except StorageMissing:
        return None
    except ValueError:
        return Mark("")
    data = data if isinstance(data, dict) else {}
    named, epoch = data.get("catalog"), data.get("epoch", 0)
    is_number = isinstance(epoch, int) and not isinstance(epoch, bool)
    # Without its epoch nobody knows whether it was taken over.
    return Mark(named, epoch) if isinstance(named, str) and is_number else Mark("")


def of_catalog(database: Database) -> Mark:
    """The mark of this catalog as it is now."""
    with database.reading() as session:
        row = session.execute(select(Catalog.uuid, Catalog.epoch)).one()
        return Mark(row.uuid, row.epoch)


def used_storages(database: Database) -> dict[str, bool]:
    """Names of all storages; of each, True if it has been marked."""
    with database.reading() as session:
        rows = session.execute(select(Storage.name, Storage.marked_at).order_by(Storage.name))
        return {row.name: row.marked_at is not None for row in rows}
