# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The providers of all storages, by the names of their rows."""

from __future__ import annotations

import datetime
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import StorageError
from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog_server.database import Database, Lock
from catalog_server.errors import Unavailable
from catalog_server.keys import KeyRing
from catalog_server.models.storage import Storage
from catalog_server.settings import Settings
from catalog_server.storages import marks
from catalog_server.storages.base import Place, Provider
from catalog_server.storages.embedded import KIND, ROOT, EmbeddedStorage
from catalog_server.storages.kinds import provider_of

_LOCK = Lock("storages")

_log = logging.getLogger("catalog_server.storages")


@dataclass(frozen=True)
class Survey:
    """Names of the storages that can be used, and of each of the others why not."""

    marked: list[str]
    left_alone: dict[str, str]


def place_of(row: Storage) -> Place:
    """Where the storage of a row is."""
    return Place(row.name, row.kind, row.prefix, row.settings, row.secret)


def place_of_settings(settings: Settings) -> Place:
    """Where the storage that the settings name is, whatever its row remembers."""
    return Place(settings.storage_name, KIND, settings.storage_prefix, {ROOT: str(settings.storage)})


def check_room(provider: Provider, least_bytes: int) -> None:
    """Raise Unavailable if a storage has less room than that."""
    free = provider.free_bytes()
    if free is not None and free < least_bytes:
        raise Unavailable(
            f"The storage {provider.name!r} has {free} bytes left, and less than {least_bytes} is too little."
        )


class Registry:
    """Makes the provider of a storage when it is asked for first, and keeps it.

    Where the storage of the settings lies, the settings say; its row remembers it for the day they name another one.
    """

    def __init__(self, database: Database, settings: Settings, keys: KeyRing) -> None:
        self._database = database
        self._settings = settings
        self._keys = keys
        self._lock = threading.Lock()
        # Why this server must not write any more; it stays so until it ends.
        self._superseded: str | None = None
        first = place_of_settings(settings)
        self._known: dict[str, Provider] = {first.name: provider_of(first, settings, keys)}

    def get(self, name: str) -> Provider:
        """Return the provider of a storage.

        :raises Unavailable: there is none of that name, or of a kind that this release does not know
        """
        with self._lock:
            known = self._known.get(name)
        return known if known is not None else self._load(name)

    def embedded(self, name: str) -> EmbeddedStorage | None:
        """Return a storage whose objects the server itself serves; None if it is another one."""
        try:
            found = self.get(name)
        except Unavailable:
            return None
        return found if isinstance(found, EmbeddedStorage) else None

    def _load(self, name: str) -> Provider:
        with self._database.reading() as session:
            row = session.get(Storage, name)
        if row is None:
            raise Unavailable(f"There is no storage {name!r}.")
        made = provider_of(place_of(row), self._settings, self._keys)
        with self._lock:
            return self._known.setdefault(name, made)

    def prepare(self, now: datetime.datetime) -> None:
        """Mark the storages that are used for the first time, and check all others.

        One server after the other: of two that start at once with directories of their own, the second one finds that
        the storage has a mark, and not in its directory.

        :raises MissingMark, OtherCatalog, Superseded: one of them is not what it was
        """
        mine = marks.of_catalog(self._database)
        self._database.write(lambda session: self._prepare(session, mine, now), [_LOCK])

    @contextmanager
    def own(self, name: str) -> Iterator[None]:
        """Hold a storage while something is stored or deleted there, behind a look at its mark.

        :raises MissingMark, OtherCatalog, Superseded, NotTakenOver: it is not this catalog's, not any more, or not yet
        """
        provider = self.get(name)
        mine = marks.of_catalog(self._database)
        with provider.held():
            self._require_own(provider, mine)
            yield

    def require_own(self, name: str) -> None:
        """Look at the mark of a storage.

        :raises MissingMark, OtherCatalog, Superseded, NotTakenOver: it is not this catalog's, not any more, or not yet
        """
        self._require_own(self.get(name), marks.of_catalog(self._database))

    def require_current(self) -> None:
        """Check that no storage was found to be taken over by a restore of this catalog. No storage is asked.

        :raises Superseded: one was
        """
        if self._superseded is not None:
            raise marks.Superseded(self._superseded)

    def _require_own(self, provider: Provider, mine: marks.Mark) -> None:
        try:
            marks.require_own(provider, mine)
        except marks.Superseded as error:
            self._superseded = error.message
            raise

    def check(self) -> None:
        """Check that every storage that is used is there, is this catalog's, and has room.

        :raises Unavailable: one of them is not, or has not
        """
        mine = marks.of_catalog(self._database)
        for name, is_used in marks.used_storages(self._database).items():
            if is_used:
                provider = self.get(name)
                self._require_own(provider, mine)
                check_room(provider, self._settings.min_free_bytes)

    def marked(self) -> list[str]:
        """Names of the storages that are this catalog's now; the log names the others."""
        found = self.survey()
        for name, why in found.left_alone.items():
            _log.warning("the storage %s is left alone: %s", name, why)
        return found.marked

    def survey(self, *, deleting: bool = False, reading: bool = False) -> Survey:
        """Which storages are this catalog's now.

        With ``deleting``, only those where the server may delete. With ``reading``, also those that the server takes
        over when it starts.
        """
        mine = marks.of_catalog(self._database)
        found = Survey([], {})
        for name, is_used in marks.used_storages(self._database).items():
            if not is_used:
                continue
            try:
                provider = self.get(name)
                if reading:
                    marks.check(provider, mine)
                else:
                    self._require_own(provider, mine)
                if deleting and not provider.capabilities.deletes:
                    raise Unavailable(f"The server may not delete objects in the storage {name!r}.")
                found.marked.append(name)
            except (StorageError, Unavailable) as error:
                found.left_alone[name] = error.message
        return found

    def _prepare(self, session: Session, mine: marks.Mark, now: datetime.datetime) -> None:
        for row in session.scalars(select(Storage).order_by(Storage.name)):
            provider = self.get(row.name)
            if row.marked_at is not None and marks.found(provider) is None:
                marks.check(provider, mine)
            marks.write(provider, mine)
            row.marked_at = row.marked_at or now
            if row.name == self._settings.storage_name:
                # A root that follows the data directory stays so.
                root = self._settings.storage_root
                row.settings = {ROOT: str(root.absolute()) if root is not None else None}
                row.prefix = self._settings.storage_prefix
