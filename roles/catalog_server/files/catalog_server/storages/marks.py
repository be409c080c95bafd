# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The mark of a catalog in a storage: an object that says whose the objects below a prefix are.

It is written when a storage is used for the first time. From then on it has to be there. Where it is missing, the
volume is not mounted or another folder was named, so nothing may be stored there or deleted. Another catalog's mark is
refused.
"""

from __future__ import annotations

import json
import typing as t

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


def mark_of(prefix: str) -> str:
    """The key of the mark of a storage."""
    return f"{prefix}/catalog.json" if prefix else "catalog.json"


def write(provider: Provider, catalog_uuid: str) -> None:
    """Mark a storage that is used for the first time.

    :raises OtherCatalog: it has the mark of another catalog
    """
    if owner(provider) is None:
        mark = {"mark_format": _FORMAT, "catalog": catalog_uuid, "storage": provider.name}
        provider.put(mark_of(provider.prefix), json.dumps(mark, indent=1, sort_keys=True).encode())
    check(provider, catalog_uuid)


def check(provider: Provider, catalog_uuid: str) -> None:
    """Check that a storage has the mark of this catalog.

    :raises MissingMark, OtherCatalog: it has not
    """
    found = owner(provider)
    if found is None:
        raise MissingMark(
            f"The storage {provider.name!r} has been used, and its mark {mark_of(provider.prefix)} is not there: mount "
            "its volume, or set root and prefix to where its objects are."
        )
    if found != catalog_uuid:
        raise OtherCatalog(
            f"The storage {provider.name!r} belongs to the catalog {found or 'that its mark does not name'}, and this "
            f"is {catalog_uuid}: choose another root or prefix."
        )


def require_none(provider: Provider) -> None:
    """Check that a storage has no mark, since there is no database that could be its catalog's.

    :raises OtherCatalog: it has one
    """
    found = owner(provider)
    if found is not None:
        raise OtherCatalog(
            f"There is no database, and the storage {provider.name!r} ({provider.where}) belongs to the catalog "
            f"{found or 'that its mark does not name'}. If its database is elsewhere, correct database_url. If it is "
            "lost, run catalog-server restore with a backup. A new catalog needs another root or prefix."
        )


def owner(provider: Provider) -> str | None:
    """The catalog that the mark names; None if there is no mark, nothing if it cannot be read."""
    try:
        data = json.loads(provider.get(mark_of(provider.prefix)))
    except StorageMissing:
        return None
    except ValueError:
        return ""
    named = data.get("catalog") if isinstance(data, dict) else None
    return named if isinstance(named, str) else ""


def catalog_uuid(database: Database) -> str:
    """The id of this catalog."""
    with database.reading() as session:
        return session.scalars(select(Catalog.uuid)).one()


def used_storages(database: Database) -> dict[str, bool]:
    """Names of all storages; of each, True if it has been marked."""
    with database.reading() as session:
        rows = session.execute(select(Storage.name, Storage.marked_at).order_by(Storage.name))
        return {row.name: row.marked_at is not None for row in rows}
