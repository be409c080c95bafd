# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The database: SQLite or PostgreSQL, and the two kinds of transactions.

A transaction that reads sees one state of the database. One that writes is a callable, because it may have to run
again: it names what it decides on as locks, holds them before it reads, and is on the disk when it returns.

* SQLite: a write begins with BEGIN IMMEDIATE, which excludes every other one, so the names of its locks do not matter.
  Writers of one process wait in the order in which they came; SQLite itself lets any of them through.
* PostgreSQL: the locks are advisory ones that end with the transaction, taken in the order of their keys. The
  isolation is READ COMMITTED: each statement behind the locks sees what was committed before they were given.
"""

from __future__ import annotations

import collections
import hashlib
import random
import threading
import time
import typing as t
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import CursorResult, Delete, Engine, String, Update, create_engine, event, exc, func, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.pool import QueuePool
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from catalog_server.errors import Unavailable

SQLITE = "sqlite"
POSTGRESQL = "postgresql"
BUSY_SECONDS = 10
_ATTEMPTS = 6
_FIRST_PAUSE_SECONDS = 0.01
_IMMEDIATE = "catalog_immediate"
# serialization_failure, deadlock_detected, unique_violation, foreign_key_violation: somebody else was faster, and a
# second look sees it.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_AGAIN = frozenset({"40001", "40P01", "23505", "23503"})
# undefined_table: not a mistake of the statement, but of whoever has taken the table away. SQLite calls it operational.
_UNDEFINED_TABLE = "42P01"

Result = t.TypeVar("Result")


@dataclass(frozen=True, order=True)
class Lock:
    """What a write decides on. Those that hold it shared exclude only those that do not."""

    kind: str
    name: str = ""
    shared: bool = False

    @property
    def key(self) -> int:
        """The 64-bit number of an advisory lock of PostgreSQL."""
        digest = hashlib.blake2b(f"{self.kind}\n{self.name}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big", signed=True)


class Database:
    """One database, used by all threads of the process."""

    def __init__(self, url: str, connections: int = 5) -> None:
        self.engine = _engine(url, connections)
        self.connection_limit = connections
        self.dialect = self.engine.dialect.name
        reads = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        writes: dict[str, t.Any] = {"isolation_level": "READ COMMITTED"}
        if self.dialect == SQLITE:
            reads, writes = {}, {_IMMEDIATE: True}
        self._reads = sessionmaker(self.engine.execution_options(**reads), expire_on_commit=False, autoflush=False)
        self._writes = sessionmaker(self.engine.execution_options(**writes), expire_on_commit=False)
        self._line = _Line()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one state of the database and changes nothing."""
        with _translated(), self._reads() as session:
            yield session

    def write(self, unit: Callable[[Session], Result], locks: Iterable[Lock] = ()) -> Result:
        """Call ``unit`` in a transaction, holding ``locks``; its changes are committed, all or none, behind it.

        It is called again if another transaction was in its way, so it must change nothing but the database.

        :raises Unavailable: the database cannot be written now
        """
        wanted = sorted(set(locks), key=lambda lock: (lock.key, lock.shared))
        with _translated():
            for attempt in range(_ATTEMPTS):
                try:
                    with self.writing(wanted) as session:
                        return unit(session)
                except exc.DBAPIError as error:
                    if attempt + 1 == _ATTEMPTS or _sqlstate(error) not in _AGAIN:
                        raise
                time.sleep(random.uniform(0.5, 1.5) * _FIRST_PAUSE_SECONDS * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def writing(self, locks: Sequence[Lock] = ()) -> Iterator[Session]:
        """One attempt of a write, for whoever can make another one: see ``write``."""
        if self.dialect == SQLITE:
            with self._line.turn(BUSY_SECONDS), self._writes.begin() as session:
                yield session
            return
        with self._writes.begin() as session:
            for lock in locks:
                take = func.pg_advisory_xact_lock_shared if lock.shared else func.pg_advisory_xact_lock
                session.execute(select(take(lock.key)))
            yield session

    @property
    def reads_at_once(self) -> bool:
        """True if a few rows are read in less time than a thread takes to begin: nothing is in the way."""
        return self.dialect == SQLITE

    def connections(self) -> int:
        """Return how many connections are in use."""
        pool = self.engine.pool
        return pool.checkedout() if isinstance(pool, QueuePool) else 0

    def writers_waiting(self) -> int:
        """Return how many threads wait to write to SQLite; PostgreSQL itself knows who waits there."""
        return self._line.waiting()

    def close(self) -> None:
        self.engine.dispose()


class _Line:
    """Lets one thread through at a time, in the order in which they came."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: collections.deque[threading.Event] = collections.deque()

    def waiting(self) -> int:
        """Return how many threads are behind the first."""
        return max(0, len(self._waiting) - 1)

    @contextmanager
    def turn(self, seconds: float) -> Iterator[None]:
        """:raises Unavailable: it was not this thread's turn in time"""
        mine = threading.Event()
        with self._lock:
            self._waiting.append(mine)
            if self._waiting[0] is mine:
                mine.set()
        try:
            if not mine.wait(seconds):
                raise Unavailable("The database is busy; try again.", retry_after=1)
            yield
        finally:
            with self._lock:
                self._waiting.remove(mine)
                if self._waiting:
                    self._waiting[0].set()


# Stands in no name that is joined.
NAMES_BETWEEN = "\n"


class JoinedNames(FunctionElement[str]):
    """All values of a column of names as one text, with NAMES_BETWEEN between them; null if there is none.

    ``func.aggregate_strings`` is the same, but puts its separator into the statement at each execution.
    """

    type = String()
    name = "joined_names"
    inherit_cache = True


@compiles(JoinedNames, SQLITE)
def _joined_by_sqlite(element: JoinedNames, compiler: SQLCompiler, **options: t.Any) -> str:
    return f"group_concat({compiler.process(element.clauses, **options)}, char(10))"


@compiles(JoinedNames, POSTGRESQL)
def _joined_by_postgresql(element: JoinedNames, compiler: SQLCompiler, **options: t.Any) -> str:
    return f"string_agg({compiler.process(element.clauses, **options)}, chr(10))"


def upsert(session: Session, table: type[DeclarativeBase]) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT that can say what to do about a row that is there, as both databases write it."""
    module = postgresql if session.get_bind().dialect.name == POSTGRESQL else sqlite
    return module.insert(table)


def changed_rows(session: Session, statement: Update | Delete) -> int:
    """Run a statement that changes rows, and return how many they were. Objects in the session do not learn of it."""
    result = session.execute(statement, execution_options={"synchronize_session": False})
    assert isinstance(result, CursorResult)
    return result.rowcount


def _engine(url: str, connections: int) -> Engine:
    options: dict[str, t.Any] = {"pool_size": connections, "max_overflow": 0, "pool_timeout": BUSY_SECONDS}
    if url.startswith(SQLITE):
        engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, hide_parameters=True, **options)
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
        return engine
    limits = f"-c lock_timeout={BUSY_SECONDS}s -c statement_timeout={6 * BUSY_SECONDS}s"
    arguments = {"connect_timeout": BUSY_SECONDS, "options": limits}
    return create_engine(url, connect_args=arguments, pool_pre_ping=True, hide_parameters=True, **options)


def _prepare(connection: t.Any, _record: object) -> None:
    # The driver begins no transactions of its own: see _begin.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: t.Any) -> None:
    if connection.get_execution_options().get(_IMMEDIATE):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        # It waits for nothing and cannot fail. By the driver itself it takes a tenth of the time.
        connection.connection.dbapi_connection.execute("BEGIN")


def _sqlstate(error: exc.DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (exc.OperationalError, exc.InternalError, exc.TimeoutError, exc.ProgrammingError) as error:
        if isinstance(error, exc.ProgrammingError) and _sqlstate(error) != _UNDEFINED_TABLE:
            raise
        raise Unavailable("The database cannot do this now; try again.", retry_after=1) from error


def database_file(url: str) -> Path | None:
    """The file of an SQLite database, None for another one."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith(SQLITE) else None


def answers(database: Database) -> None:
    """Raise Unavailable unless the database answers."""
    with database.reading() as session:
        session.execute(text("SELECT 1"))
