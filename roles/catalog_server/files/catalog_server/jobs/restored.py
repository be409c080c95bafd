# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What storage holds that a restored database does not know: it is shown to the administrator, and never touched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from ansible_collections.macfleet.parallels.plugins.module_utils._storage.base import ObjectInfo
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import StorageError
from sqlalchemy import update

from catalog_server.database import changed_rows
from catalog_server.models.catalog import Catalog
from catalog_server.models.storage import Pack
from catalog_server.models.transfers import Upload
from catalog_server.os_user import os_user
from catalog_server.storages.base import Provider
from catalog_server.transfers import leftovers, packs
from catalog_server.unit_of_work import Services, UnitOfWork


@dataclass(frozen=True)
class UnknownPack:
    """A pack that is in storage, and that the database does not know, or believes never to have been committed."""

    storage: str
    id: str
    objects: int
    bytes: int
    # As its record says, if it has one: catalog id, version, architecture.
    address: str


def unknown_packs(services: Services) -> Iterator[UnknownPack]:
    """Yields them, storage by storage."""
    for name in services.storages.survey(reading=True).marked:
        provider = services.storages.get(name)
        # Keys come in their order, so all objects of a pack stand together.
        for folder, group in groupby(provider.list(packs.packs_folder(provider.prefix)), _folder_of):
            found = list(group)
            pack_id = folder.rpartition("/")[2]
            if not _is_known(services, pack_id, {info.key.rpartition("/")[2] for info in found}):
                total = sum(info.size for info in found)
                yield UnknownPack(name, pack_id, len(found), total, _address(provider, folder))


def _folder_of(info: ObjectInfo) -> str:
    return info.key.rpartition("/")[0]


def _is_known(services: Services, pack_id: str, names: set[str]) -> bool:
    with services.database.reading() as session:
        pack = session.get(Pack, pack_id)
        return pack is not None and not names & leftovers.proofs_of_commit(pack, session.get(Upload, pack_id))


def _address(provider: Provider, folder: str) -> str:
    try:
        record = json.loads(provider.get(f"{folder}/{packs.RECORD}"))
        return " ".join(str(record[name]) for name in ("catalog_id", "version", "architecture"))
    except (StorageError, ValueError, KeyError, TypeError):
        return ""


def enable_gc(work: UnitOfWork) -> bool:
    """Switch the garbage collection on again; returns True if it was off."""
    changed = changed_rows(work.session, update(Catalog).where(~Catalog.gc_enabled).values(gc_enabled=True))
    if changed:
        work.record("gc.enable", "catalog", "catalog", **os_user())
    return changed > 0
