# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Migrations: they make what the models say, once, whoever runs them at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from ansible_collections.macfleet.parallels.tests.support.postgres import Postgres
from catalog_server import schema
from catalog_server.database import Database
from catalog_server.models import Base
from running import command, wait_until
from sqlalchemy import func, inspect, select, text


def test_no_model_without_its_migration(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'catalog.db'}"
    database = Database(url)
    assert schema.migrate(database, url) == (None, "0001")
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        # Alembic does not compare names of constraints.
        found = inspect(connection)
        for table in Base.metadata.sorted_tables:
            names = {key["name"] for key in found.get_foreign_keys(table.name)}
            assert names == {key.name for key in table.foreign_key_constraints}, table.name
            assert found.get_pk_constraint(table.name)["name"] == table.primary_key.name
    database.close()


def test_the_files_of_the_migrations_are_named_after_their_revisions() -> None:
    scripts = ScriptDirectory(str(Path(schema.__file__).parent / "migrations"))
    assert schema.revisions() == tuple(script.revision for script in scripts.walk_revisions())[::-1]
    assert scripts.get_heads() == [schema.revisions()[-1]]


def test_a_database_of_every_release_becomes_one_of_this(tmp_path: Path) -> None:
    revisions = schema.revisions()
    for revision in revisions[:-1]:
        url = f"sqlite:///{tmp_path / f'{revision}.db'}"
        database = Database(url)
        assert schema.migrate(database, url, revision) == (None, revision)
        assert schema.migrate(database, url) == (revision, revisions[-1])
        with database.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, Base.metadata) == []
        database.close()


def test_whoever_migrates_waits_for_another_as_long_as_it_takes(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request would give up after this second, and a migration of large tables takes minutes."""
    monkeypatch.setattr("catalog_server.database.BUSY_SECONDS", 1)
    name = postgres.create()
    database, other = Database(postgres.url(name)), Database(postgres.url(name))
    waits = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory' AND now() - query_start > '2 s'")
    with other.engine.connect() as connection, ThreadPoolExecutor(1) as pool:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        lock = schema.MIGRATION_LOCK.key
        connection.execute(select(func.pg_advisory_lock(lock)))
        migration = pool.submit(schema.migrate, database, postgres.url(name))
        wait_until(lambda: connection.scalar(waits) == 1 or migration.done())
        connection.execute(select(func.pg_advisory_unlock(lock)))
        assert migration.result(60)[0] is None
    database.close()
    other.close()
    postgres.drop(name)


def test_two_that_migrate_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda _number: command(tmp_path / "data", "migrate"), range(3)))
    assert [answer.returncode for answer in answers] == [0, 0, 0], answers
    assert sorted(answer.stdout for answer in answers) == ["schema 0001\n"] * 2 + ["schema none -> 0001\n"]
