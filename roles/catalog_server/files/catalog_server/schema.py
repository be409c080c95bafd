# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bringing a database to the schema of this release, and knowing whether it has it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, func, select

from catalog_server.database import Database, Lock, database_file
from catalog_server.errors import Unavailable

_MIGRATIONS = Path(__file__).parent / "migrations"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def migrate(database: Database, url: str, revision: str = "head") -> tuple[str | None, str | None]:
    """Run what is missing up to a revision; the revisions before and after."""
    config = _config()
    with _alone(database, url):
        before = _current(database.engine)
        with database.engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
        return before, _current(database.engine)


def check(database: Database) -> None:
    """Raise Unavailable unless the database has the schema of this release."""
    found, wanted = _current(database.engine), ScriptDirectory.from_config(_config()).get_current_head()
    if found != wanted:
        raise Unavailable(
            f"The database has the schema {found or 'of no release'} and this release needs {wanted}: "
            "run catalog-server migrate."
        )


def _current(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


@contextmanager
def _alone(database: Database, url: str) -> Iterator[None]:
    """Two that migrate at once do so one after the other."""
    file = database_file(url)
    if file is None:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            # It ends with the connection, whatever happens.
            connection.execute(select(func.pg_advisory_lock(Lock("migrate").key)))
            try:
                yield
            finally:
                connection.execute(select(func.pg_advisory_unlock(Lock("migrate").key)))
        return
    descriptor = os.open(file.with_name(file.name + ".migrate"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
