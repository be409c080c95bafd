# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The storages of an installation, as a backup records them and a restore finds them again.

The objects themselves are not in a backup: a storage of this machine is copied by whoever copies the machine, and
others do not end with it. A backup has their names and sizes, so that a restore can tell what is missing.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from ansible_collections.macfleet.parallels.plugins.module_utils._storage.base import ObjectInfo
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import StorageError
from sqlalchemy import select

from catalog_server.database import Database
from catalog_server.errors import BadRequest, Unavailable
from catalog_server.keys import KeyRing
from catalog_server.models.storage import Storage
from catalog_server.operations.archive import SavedStorage
from catalog_server.settings import Settings
from catalog_server.storages import marks
from catalog_server.storages.base import Place, Provider
from catalog_server.storages.kinds import provider_of
from catalog_server.storages.registry import place_of_settings
from catalog_server.transfers.packs import packs_folder


@dataclass(frozen=True)
class Known:
    """A storage of the database: where it is, and whether it has been used."""

    place: Place
    is_used: bool


def known(database: Database, settings: Settings) -> list[Known]:
    """Returns the storages of a database by their names. Where that of the settings is, the settings say."""
    columns = (Storage.name, Storage.kind, Storage.prefix, Storage.settings, Storage.secret, Storage.marked_at)
    with database.reading() as session:
        rows = session.execute(select(*columns).order_by(Storage.name)).all()
    of_settings = place_of_settings(settings)
    return [
        Known(
            of_settings
            if row.name == of_settings.name
            else Place(row.name, row.kind, row.prefix, row.settings, row.secret),
            row.marked_at is not None,
        )
        for row in rows
    ]


def save(database: Database, settings: Settings, keys: KeyRing, target: Path) -> list[SavedStorage]:
    """Write key and size of every object of every storage into a file; returns what to record of the storages.

    One that cannot be read now is recorded with the problem: the backup of the database is worth having without it.
    """
    saved = []
    with target.open("w", encoding="utf-8") as file:
        for one in known(database, settings):
            mark, objects, problem = None, 0, None
            try:
                provider = provider_of(one.place, settings, keys)
                mark = marks.owner(provider)
                for entry in provider.list(packs_folder(provider.prefix)):
                    line = {"storage": one.place.name, "key": entry.key, "bytes": entry.size}
                    file.write(json.dumps(line) + "\n")
                    objects += 1
            except (StorageError, Unavailable) as error:
                problem = error.message
            saved.append(SavedStorage.of(one.place, mark, objects, problem))
    return saved


@dataclass(frozen=True)
class Found:
    """A storage of a backup as it is now: how many objects of the backup it lacks, or why nobody knows."""

    name: str
    where: str
    missing: int
    problem: str | None


def require_own(
    saved: Iterable[SavedStorage], settings: Settings, keys: KeyRing, catalog_uuid: str
) -> dict[str, Provider | str]:
    """Returns the providers of the storages of a backup by their names, or why one cannot be used.

    :raises BadRequest: one has the mark of another catalog
    """
    providers: dict[str, Provider | str] = {}
    for one in saved:
        try:
            provider = provider_of(_place_now(one, settings), settings, keys)
            owner = marks.owner(provider)
        except (StorageError, Unavailable) as error:
            providers[one.name] = error.message
            continue
        if owner is not None and owner != catalog_uuid:
            raise BadRequest(
                f"The storage {one.name!r} ({provider.where}) belongs to the catalog "
                f"{owner or 'that its mark does not name'}, and the backup is one of {catalog_uuid}: set root and "
                "prefix to where the objects of the backup are, or mount their volume."
            )
        providers[one.name] = provider
    return providers


def latest_epoch(providers: Mapping[str, Provider | str]) -> int:
    """Returns the latest epoch that a mark has, 0 if there is none; storages that cannot be used are left out."""
    latest = 0
    for provider in providers.values():
        if not isinstance(provider, str):
            there = marks.found(provider)
            latest = max(latest, there.epoch if there is not None else 0)
    return latest


def compare(providers: Mapping[str, Provider | str], objects: Path) -> list[Found]:
    """Returns of each storage how many of the objects that a backup lists it lacks."""
    missing: dict[str, Found] = {}
    with objects.open(encoding="utf-8") as file:
        for name, lines in groupby(map(json.loads, file), lambda line: str(line["storage"])):
            missing[name] = _compare_one(name, providers.get(name, "The backup does not say where it is."), lines)
    for name, provider in providers.items():
        missing.setdefault(name, _compare_one(name, provider, iter(())))
    return [missing[name] for name in sorted(missing)]


def _compare_one(name: str, provider: Provider | str, wanted: Iterator[Mapping[str, t.Any]]) -> Found:
    if isinstance(provider, str):
        return Found(name, "", 0, provider)
    try:
        there = provider.list(packs_folder(provider.prefix))
        return Found(name, provider.where, lacking(wanted, there), None)
    except StorageError as error:
        return Found(name, provider.where, 0, error.message)


def lacking(wanted: Iterator[Mapping[str, t.Any]], there: Iterator[ObjectInfo]) -> int:
    """Returns how many wanted objects are not there in that size; both come in the order of their keys."""
    count = 0
    found = next(there, None)
    for one in wanted:
        while found is not None and found.key < one["key"]:
            found = next(there, None)
        count += found is None or (found.key, found.size) != (one["key"], one["bytes"])
    return count


def _place_now(saved: SavedStorage, settings: Settings) -> Place:
    """Where a storage of a backup is now: that of the settings may have moved with them."""
    of_settings = place_of_settings(settings)
    return of_settings if saved.name == of_settings.name else saved.place()
