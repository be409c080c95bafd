# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restoring a backup into an installation that has no database.

Whatever the catalog has given out since the backup was made, it does not know any more. So a restore raises the epoch
of the catalog, which ends all tokens and grants. The secrets of the backup are of no use then, and one that leaked and
was dropped since does not come back. The restore switches the garbage collection and the retention off: packs that the
database does not know may hold what was pushed since. For the same reason uploads that were open are closed: one that
is resumed would overwrite what it became since. Their packs stay if they were committed. A storage that has the mark of
another catalog is refused before anything is changed.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.macfleet.parallels.plugins.module_utils._base import files
from sqlalchemy import inspect

from catalog_server import keys, schema
from catalog_server.access import COMMAND
from catalog_server.database import POSTGRESQL, SQLITE, Database, database_file
from catalog_server.errors import BadRequest, Unavailable
from catalog_server.operations import archive, postgresql, storages
from catalog_server.os_user import os_user
from catalog_server.settings import Settings
from catalog_server.unit_of_work import utc_now

_PARTIAL = ".restored.partial"
_OF_SQLITE = ("-wal", "-journal", "-shm")
# In the words of both databases
_CLOSE_UPLOADS = (
    "UPDATE packs SET state = 'unsure', tidy_after = CURRENT_TIMESTAMP "
    "WHERE id IN (SELECT id FROM uploads WHERE state = 'open')",
    "UPDATE uploads SET state = 'aborted', closed_at = CURRENT_TIMESTAMP WHERE state = 'open'",
)
# Whoever restores an old backup knows that time has passed.
_CLOCK = "clock_noted_at = CURRENT_TIMESTAMP"
# The schema is that of the backup: only columns that every release has.
_AUDIT = (
    "INSERT INTO audit (at, actor, credential, action, subject_kind, subject_id, details) "
    "VALUES (:at, :actor, :credential, 'catalog.restore', 'catalog', :subject, :details)"
)


@dataclass(frozen=True)
class Restored:
    """What was restored, and how its storages are now."""

    manifest: archive.Manifest
    storages: list[storages.Found]


def restore(settings: Settings, source: Path) -> Restored:
    """Restore a backup. The database appears last, as a whole, with an entry of this in its audit log.

    :raises BadRequest: it is not a whole backup, is of another kind of database or of a newer release
    :raises BadRequest: there is a database already, or the data directory is not empty
    :raises BadRequest: a storage has the mark of another catalog
    """
    manifest = archive.read(source)
    tidy(settings)
    file = database_file(settings.database)
    kind = SQLITE if file is not None else POSTGRESQL
    if manifest.database != kind:
        raise BadRequest(f"The backup is one of {manifest.database}, and the settings name a database of {kind}.")
    if not schema.knows(manifest.schema_revision):
        raise BadRequest(
            f"The backup has the schema {manifest.schema_revision}, which this release does not know: "
            f"restore it with release {manifest.server_version} or a newer one."
        )
    _refuse_what_is_there(settings, file)
    providers = storages.require_own(manifest.storages, settings, keys.existing_keys(settings), manifest.catalog_uuid)
    # Also above that of another restore of the same backup: one that has started has written it into the storages, and
    # one that has not was made earlier. These are microseconds.
    epoch = max(manifest.epoch + 1, storages.latest_epoch(providers) + 1, time.time_ns() // 1000)
    if file is not None:
        _restore_file(source / archive.SQLITE_FILE, file, epoch, _entry(manifest, epoch))
    else:
        entry = postgresql.filled(_AUDIT, _entry(manifest, epoch, "+00"))
        raised = f"UPDATE catalog SET epoch = {epoch}, gc_enabled = false, signing_key = NULL, {_CLOCK}"
        statements = "; ".join(("RESET search_path", raised, *_CLOSE_UPLOADS, entry))
        postgresql.load(settings.database, source / archive.SQL_FILE, statements)
    return Restored(manifest, storages.compare(providers, source / archive.OBJECTS_FILE))


def _entry(manifest: archive.Manifest, epoch: int, zone: str = "") -> dict[str, str]:
    """The audit entry of a restore, for ``_AUDIT``; SQLite has no zone in its times."""
    details = {**os_user(), "backup": manifest.created_at, "epoch": epoch}
    return {
        "at": utc_now().strftime("%Y-%m-%d %H:%M:%S.%f") + zone,
        "actor": COMMAND.username,
        "credential": COMMAND.credential,
        "subject": manifest.catalog_uuid,
        "details": json.dumps(details),
    }


def tidy(settings: Settings) -> None:
    """Remove what a restore has left that was killed when the database was already there."""
    file = database_file(settings.database)
    if file is not None and file.exists():
        shutil.rmtree(_partial_of(file), ignore_errors=True)


def _partial_of(file: Path) -> Path:
    """A directory, for SQLite's own files, too: none of a restore that was killed may meet the next one's database."""
    return file.with_name(file.name + _PARTIAL)


def _refuse_what_is_there(settings: Settings, file: Path | None) -> None:
    files.make_directories(str(settings.data_dir.absolute()), 0o700)
    # What does not depend on the database: objects that were restored before, and the secret of this installation.
    secrets = keys.secret_file(settings)
    allowed = {settings.storage, settings.spool, secrets, keys.temporary_of(secrets)}
    found = sorted(
        path.name
        for path in settings.data_dir.absolute().iterdir()
        if path not in {other.absolute() for other in allowed} and not path.name.endswith(_PARTIAL)
    )
    if found:
        raise BadRequest(f"{settings.data_dir} is not empty: it has {', '.join(found)}. Move it away first.")
    if file is not None:
        # SQLite would take what lies beside the database for a part of it.
        for there in (file, *(file.with_name(file.name + ending) for ending in _OF_SQLITE)):
            if there.exists():
                raise BadRequest(f"There is a database {there} already. Move it away first.")
        return
    database = Database(settings.database)
    try:
        if inspect(database.engine).get_table_names():
            raise BadRequest("The database is not empty. Restore into a new one.")
    finally:
        database.close()


def _restore_file(saved: Path, target: Path, epoch: int, entry: Mapping[str, str]) -> None:
    files.make_directories(str(target.parent.absolute()), 0o700)
    directory = _partial_of(target)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    partial = directory / target.name
    try:
        shutil.copyfile(saved, partial)
        with closing(sqlite3.connect(partial, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
            connection.execute(f"UPDATE catalog SET epoch = ?, gc_enabled = 0, signing_key = NULL, {_CLOCK}", (epoch,))
            for statement in _CLOSE_UPLOADS:
                connection.execute(statement)
            connection.execute(_AUDIT, entry)
            (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
        if verdict != "ok":
            raise Unavailable(f"The database of the backup is damaged: {verdict}")
        partial.chmod(0o600)
        archive.sync(partial)
        files.rename_durably(str(partial), str(target))
    except sqlite3.Error as error:
        raise Unavailable(f"The database of the backup cannot be used: {error}.") from error
    finally:
        shutil.rmtree(directory)
