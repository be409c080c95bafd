# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backups, made while the server runs.

The database comes first and the lists of objects behind it. So whoever copies the objects of a storage of this machine
behind the backup has all that the database of the backup refers to.
"""

from __future__ import annotations

import datetime
import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.macfleet.parallels.plugins.module_utils._base import files
from sqlalchemy import text

from catalog_server import VERSION
from catalog_server.database import BUSY_SECONDS, POSTGRESQL, SQLITE, Database, database_file
from catalog_server.errors import BadRequest, Unavailable
from catalog_server.keys import existing_keys, secret_file
from catalog_server.operations import archive, postgresql, storages
from catalog_server.settings import Settings
from catalog_server.unit_of_work import utc_now

_PARTIAL = ".catalog-backup-"
_ATTEMPTS = 3
_NAME = "%Y%m%dT%H%M%SZ"
_STATE = "SELECT uuid, epoch, (SELECT version_num FROM alembic_version) FROM catalog"


@dataclass(frozen=True)
class _State:
    """What the database of a backup says."""

    uuid: str
    epoch: int
    revision: str


def into(settings: Settings, parent: Path) -> Path:
    """Make a backup below ``parent``, named by the time; return its path.

    :raises Unavailable: as ``make``
    """
    return make(settings, parent / utc_now().strftime(_NAME))


def remove_older(made: Path, keep: int) -> list[Path]:
    """Remove the oldest backups of the same catalog beside a new one, so that ``keep`` of them are there.

    Returns those that are of a later time than it is now. If there are any, the clock is wrong or was, so nobody can
    say which of them are the oldest, and none is removed.
    """
    found, now = _backups(made.parent, archive.catalog_of(made)), utc_now().strftime(_NAME)
    later = [path for path in found if path.name > now]
    if later:
        return later
    for old in found[:-keep]:
        # Gone at once under its name, and for good, for half a backup is none.
        doomed = old.with_name(f"{_PARTIAL}{old.name}")
        files.rename_durably(str(old), str(doomed))
        shutil.rmtree(doomed, ignore_errors=True)
    return []


def _backups(parent: Path, catalog_uuid: str | None) -> list[Path]:
    """The backups of a catalog, the oldest first; those of another one are not ours to remove."""
    return sorted(path for path in parent.iterdir() if _is_name(path.name) and archive.catalog_of(path) == catalog_uuid)


def _is_name(name: str) -> bool:
    try:
        datetime.datetime.strptime(name, _NAME)
    except ValueError:
        return False
    return True


def make(settings: Settings, target: Path) -> Path:
    """Make a backup; it appears under its name when it is whole. Returns that path.

    :raises BadRequest: something is there already
    :raises Unavailable: the database cannot be read
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BadRequest(f"{target} is there already, and not an empty directory.")
    target = target.absolute()
    files.make_directories(str(target.parent), 0o700)
    _remove_abandoned(target.parent)
    with _partial(target.parent) as partial:
        _fill(settings, partial)
        files.rename_durably(str(partial), str(target))
    return target


@contextmanager
def _partial(parent: Path) -> Iterator[Path]:
    """A directory that is locked as long as it is being filled, and removed unless it gets another name."""
    partial, descriptor = _locked_directory(parent)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        os.close(descriptor)


def _locked_directory(parent: Path) -> tuple[Path, int]:
    """Make a directory and lock it; return its path, and the descriptor that holds the lock."""
    for _attempt in range(_ATTEMPTS):
        partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=parent))
        with suppress(FileNotFoundError):
            descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if partial.exists():
                return partial, descriptor
            # Another backup took it for one that was abandoned, as it was not locked yet.
            os.close(descriptor)
    raise Unavailable(f"Other backups are being made in {parent}; try again.")


def _remove_abandoned(parent: Path) -> None:
    """Remove what backups that were killed have left."""
    for stale in parent.glob(f"{_PARTIAL}*"):
        with suppress(FileNotFoundError, NotADirectoryError):
            descriptor = os.open(stale, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(stale, ignore_errors=True)
            except BlockingIOError:
                # Another backup is being made.
                pass
            finally:
                os.close(descriptor)


def _fill(settings: Settings, directory: Path) -> None:
    state = _database(settings, directory)
    keys = secret_file(settings)
    if settings.server_secret is None and keys.exists():
        shutil.copyfile(keys, directory / archive.SECRETS_FILE)
    saved = _storages(settings, directory / archive.OBJECTS_FILE)
    parts = {}
    for path in sorted(directory.iterdir()):
        path.chmod(0o600)
        parts[path.name] = archive.file_of(path)
        archive.sync(path)
    manifest = archive.Manifest(
        created_at=utc_now().isoformat(timespec="seconds"),
        server_version=VERSION,
        catalog_uuid=state.uuid,
        epoch=state.epoch,
        schema_revision=state.revision,
        database=SQLITE if database_file(settings.database) else POSTGRESQL,
        storages=tuple(saved),
        files=parts,
    )
    written = directory / archive.MANIFEST
    written.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    written.chmod(0o600)
    archive.sync(written)
    archive.sync(directory)


def _storages(settings: Settings, target: Path) -> list[archive.SavedStorage]:
    database = Database(settings.database, 1)
    try:
        return storages.save(database, settings, existing_keys(settings), target)
    finally:
        database.close()


def _database(settings: Settings, directory: Path) -> _State:
    file = database_file(settings.database)
    if file is None:
        database = Database(settings.database)
        try:
            with database.reading() as session:
                row = session.execute(text(_STATE)).one()
        finally:
            database.close()
        postgresql.dump(settings.database, directory / archive.SQL_FILE)
        return _State(*row)
    if not file.exists():
        raise Unavailable(f"There is no database {file}: there is nothing to back up.")
    copy = directory / archive.SQLITE_FILE
    try:
        with closing(sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
            # A copy of one state: writers go on.
            connection.execute("VACUUM INTO ?", (str(copy),))
        with closing(sqlite3.connect(copy)) as connection:
            return _State(*connection.execute(_STATE).fetchone())
    except (sqlite3.Error, TypeError) as error:
        raise Unavailable(f"The database {file} cannot be read: {error}.") from error
