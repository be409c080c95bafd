# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restoring a backup into an installation that has no database.

Whatever the catalog has given out since the backup was made, it does not know any more. So a restore raises the epoch
of the catalog, which ends all tokens and grants, and switches the garbage collection off: packs that the database does
not know may hold what was pushed since.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import StorageError
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.local import LocalStorage
from sqlalchemy import inspect

from catalog_server import keys, schema
from catalog_server.database import POSTGRESQL, SQLITE, Database, database_file
from catalog_server.errors import BadRequest, Unavailable
from catalog_server.operations import archive, postgresql
from catalog_server.settings import Settings

_PARTIAL = ".restored.partial"


def restore(settings: Settings, source: Path) -> tuple[archive.Manifest, int]:
    """Restore a backup. The database appears last, as a whole. Returns its manifest and how many objects are missing.

    :raises BadRequest: it is not a whole backup, is of another kind of database or of a newer release
    :raises BadRequest: there is a database already, or the data directory is not empty
    """
    manifest = archive.read(source)
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
    _restore_secrets(settings, source)
    # Also above that of an earlier restore of the same backup.
    epoch = max(manifest.epoch + 1, int(time.time()))
    if file is not None:
        _restore_file(source / archive.SQLITE_FILE, file, epoch)
    else:
        statement = f"RESET search_path; UPDATE catalog SET epoch = {epoch}, gc_enabled = false"
        postgresql.load(settings.database, source / archive.SQL_FILE, statement)
    return manifest, _missing_objects(settings, source)


def _refuse_what_is_there(settings: Settings, file: Path | None) -> None:
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    # What does not depend on the database: objects that were restored before, and the secret of this installation.
    allowed = {settings.storage, settings.spool, keys.secret_file(settings)}
    found = sorted(
        path.name
        for path in settings.data_dir.absolute().iterdir()
        if path not in {other.absolute() for other in allowed} and not path.name.endswith(_PARTIAL)
    )
    if found:
        raise BadRequest(f"{settings.data_dir} is not empty: it has {', '.join(found)}. Move it away first.")
    if file is not None:
        if file.exists():
            raise BadRequest(f"There is a database {file} already. Move it away first.")
        return
    database = Database(settings.database)
    try:
        if inspect(database.engine).get_table_names():
            raise BadRequest("The database is not empty. Restore into a new one.")
    finally:
        database.close()


def _restore_secrets(settings: Settings, source: Path) -> None:
    """Secrets of the backup stay good for what is encrypted with them; those of this installation go on to sign."""
    saved = source / archive.SECRETS_FILE
    if settings.server_secret is not None or not saved.exists():
        return
    path = keys.secret_file(settings)
    there = keys.read_secrets(path) if path.exists() else []
    known = {secret.kid for secret in there}
    keys.write_secrets(path, [*there, *(one for one in keys.read_secrets(saved) if one.kid not in known)])


def _restore_file(saved: Path, target: Path, epoch: int) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = target.with_name(target.name + _PARTIAL)
    try:
        shutil.copyfile(saved, partial)
        with closing(sqlite3.connect(partial, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
            connection.execute("UPDATE catalog SET epoch = ?, gc_enabled = 0", (epoch,))
            (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
        if verdict != "ok":
            raise Unavailable(f"The database of the backup is damaged: {verdict}")
        partial.chmod(0o600)
        archive.sync(partial)
        partial.rename(target)
        archive.sync(target.parent)
    except sqlite3.Error as error:
        raise Unavailable(f"The database of the backup cannot be used: {error}.") from error
    finally:
        partial.unlink(missing_ok=True)


def _missing_objects(settings: Settings, source: Path) -> int:
    storage = LocalStorage(str(settings.storage))
    missing = 0
    with (source / archive.OBJECTS_FILE).open(encoding="utf-8") as file:
        for line in file:
            wanted = json.loads(line)
            try:
                missing += storage.head(wanted["key"]).size != wanted["bytes"]
            except StorageError:
                missing += 1
    return missing
