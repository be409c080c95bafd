# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bringing a database to the schema of this release, and knowing whether it has it."""

from __future__ import annotations

import fcntl
import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, String, column, func, inspect, select, table

from catalog_server.database import POSTGRESQL, Database, Lock, database_file
from catalog_server.errors import Unavailable
from catalog_server.models.catalog import SchemaInfo

# What the schema of a database is to this release.
SAME = "same"
OLDER = "older"
NEWER = "newer, and can be used"
TOO_NEW = "too new"

# Held by whoever migrates.
MIGRATION_LOCK = Lock("migrate")

_MIGRATIONS = Path(__file__).parent / "migrations"
# Alembic's own table: one row with the revision of the database.
_VERSION = column("version_num", String)
_VERSIONS = table("alembic_version", _VERSION)


def migrate(database: Database, url: str, revision: str = "head") -> tuple[str | None, str | None]:
    """Run what is missing up to a revision; return the revisions before and after.

    :raises Unavailable: a newer release has migrated it, and not said that this one can work with it
    """
    # Whoever does not migrate, and that is nearly everybody, starts faster without it.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with _alone(database, url):
        before = _current(database.engine)
        if before is not None and not knows(before):
            check(database)
            return before, before
        with database.engine.connect() as connection:
            _let_it_take_its_time(connection)
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, revision)
            except CommandError as error:
                raise Unavailable(f"The database cannot be migrated: {error}") from error
        return before, _current(database.engine)


@dataclass(frozen=True)
class State:
    """The revision of a database (None: it has no tables), that of this release, and what the one is to the other."""

    found: str | None
    wanted: str | None
    verdict: str


def check(database: Database) -> None:
    """Raise Unavailable unless this release can work with the database."""
    state = state_of(database)
    if state.verdict == OLDER:
        raise Unavailable(
            f"The database has the schema {state.found or 'of no release'} and this release needs {state.wanted}: "
            "run catalog-server migrate."
        )
    if state.verdict == TOO_NEW:
        raise Unavailable(too_new(state))


def too_new(state: State) -> str:
    """Return the sentence about a database that a newer release has migrated."""
    return (
        f"The database has the schema {state.found} of a newer release, and this release knows {state.wanted}: "
        "run the newer release, or restore a backup of before."
    )


def state_of(database: Database) -> State:
    """Return what the schema of the database is to this release.

    A newer one can be used if it says that it is compatible with a revision which this release knows.
    """
    found, wanted = _current(database.engine), revisions()[-1]
    if found == wanted:
        return State(found, wanted, SAME)
    if found is None or knows(found):
        return State(found, wanted, OLDER)
    compatible = _compatible_from(database.engine)
    return State(found, wanted, NEWER if compatible is not None and knows(compatible) else TOO_NEW)


def knows(revision: str) -> bool:
    """Return True if this release has the migration to that revision."""
    return revision in revisions()


@functools.cache
def revisions() -> tuple[str, ...]:
    """Return the revisions that this release has migrations to, the oldest first.

    The file of a migration is named after its revision, as 0001_first_tables.py is after 0001.
    """
    return tuple(sorted(path.stem.partition("_")[0] for path in _MIGRATIONS.glob("versions/[0-9]*.py")))


def has_tables(database: Database, url: str) -> bool:
    """Return True if a database has been migrated ever; looking makes no file."""
    file = database_file(url)
    return (file is None or file.exists()) and _current(database.engine) is not None


def _compatible_from(engine: Engine) -> str | None:
    if not inspect(engine).has_table(SchemaInfo.__tablename__):
        return None
    with engine.connect() as connection:
        return connection.scalar(select(SchemaInfo.compatible_from))


def _current(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table(_VERSIONS.name):
            return None
        return connection.scalar(select(_VERSION).select_from(_VERSIONS))


def _let_it_take_its_time(connection: Connection) -> None:
    """Lift the limits of requests from a connection: a large table takes longer, and so does whoever waits for it."""
    if connection.dialect.name == POSTGRESQL:
        for limit in ("lock_timeout", "statement_timeout"):
            connection.exec_driver_sql(f"SET {limit} = 0")
        if connection.in_transaction():
            connection.commit()


@contextmanager
def _alone(database: Database, url: str) -> Iterator[None]:
    """Two that migrate at once do so one after the other."""
    file = database_file(url)
    if file is None:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            _let_it_take_its_time(connection)
            # It ends with the connection, whatever happens.
            connection.execute(select(func.pg_advisory_lock(MIGRATION_LOCK.key)))
            try:
                yield
            finally:
                connection.execute(select(func.pg_advisory_unlock(MIGRATION_LOCK.key)))
        return
    descriptor = os.open(file.with_name(file.name + ".migrate"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
