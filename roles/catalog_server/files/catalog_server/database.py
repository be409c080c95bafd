# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The database: engine, pragmas, and the two kinds of transactions.

A read begins with BEGIN and sees one state of the database. A write begins with BEGIN IMMEDIATE, so that it holds the
lock before it reads what it decides on: one that began as a read could never get it from a stale snapshot. A commit is
on the disk when it returns.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, create_engine, event, exc, text
from sqlalchemy.orm import Session, sessionmaker

from catalog_server.errors import Unavailable

BUSY_SECONDS = 10
_IMMEDIATE = "catalog_immediate"


class Database:
    """One database, used by all threads of the process."""

    def __init__(self, url: str, connections: int = 5) -> None:
        self.engine = _engine(url, connections)
        self._reads = sessionmaker(self.engine, expire_on_commit=False, autoflush=False)
        self._writes = sessionmaker(self.engine.execution_options(**{_IMMEDIATE: True}), expire_on_commit=False)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one state of the database and changes nothing."""
        with _translated(), self._reads() as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session whose changes are committed, all or none, when the block ends without an exception."""
        with _translated(), self._writes.begin() as session:
            yield session

    def close(self) -> None:
        self.engine.dispose()


def _engine(url: str, connections: int) -> Engine:
    engine = create_engine(
        url, pool_size=connections, max_overflow=0, pool_timeout=BUSY_SECONDS, connect_args={"timeout": BUSY_SECONDS}
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: t.Any, _record: object) -> None:
    # The driver begins no transactions of its own: see _begin.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: t.Any) -> None:
    immediate = connection.get_execution_options().get(_IMMEDIATE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (exc.OperationalError, exc.TimeoutError) as error:
        raise Unavailable("The database cannot do this now; try again.", retry_after=1) from error


def database_file(url: str) -> Path:
    """The file of an SQLite database."""
    return Path(url.removeprefix("sqlite:///"))


def answers(database: Database) -> None:
    """Raise Unavailable unless the database answers."""
    with database.reading() as session:
        session.execute(text("SELECT 1"))
