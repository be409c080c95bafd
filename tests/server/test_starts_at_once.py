# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers that start at once on one database: one migrates it, one fills it, one marks the storage; all can work.

Those that do not share their secrets, or the directory of the storage, do not start: all but the first.
"""

from __future__ import annotations

import os
import shutil
import typing as t
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from catalog_server import cli, schema
from catalog_server.access import CLAIMS
from catalog_server.app import open_services
from catalog_server.database import Database
from catalog_server.errors import Unavailable
from catalog_server.models.catalog import Catalog
from catalog_server.models.identity import Claim
from catalog_server.models.storage import Storage
from catalog_server.settings_sources import load_settings
from catalog_server.storages import marks
from forked import PROCESSES
from running import RACES, command, environment
from sqlalchemy import func, select

ROUNDS = range(RACES)
SERVERS = 3
REFUSED = 10


@pytest.fixture(name="url", params=["sqlite", "postgresql"])
def url_fixture(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'catalog.db'}"
        return
    postgres = request.getfixturevalue("postgres")
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)


def migrate(settings: dict[str, str], together: t.Any) -> None:
    os.environ.clear()
    os.environ.update(settings)
    together.wait(30)
    os._exit(cli.main(["migrate"]))


def prepare(settings: dict[str, str], together: t.Any) -> None:
    services = open_services(load_settings(settings))
    together.wait(30)
    try:
        cli.prepare(services)
    except Unavailable as error:
        print(error.message, flush=True)
        os._exit(REFUSED)
    os._exit(0)


def at_once(target: t.Any, settings: list[dict[str, str]]) -> list[int | None]:
    """The exit codes of processes that begin together: none of them waits for imports."""
    together = PROCESSES.Barrier(len(settings))
    processes: list[BaseProcess] = [PROCESSES.Process(target=target, args=(one, together)) for one in settings]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


def servers(directory: Path, url: str, **settings: str) -> list[dict[str, str]]:
    """The settings of servers on one database, each with a data directory of its own."""
    found = []
    for number in range(SERVERS):
        data_dir = directory / f"server-{number}"
        data_dir.mkdir(mode=0o700)
        found.append(environment(data_dir, {"CATALOG_DATABASE_URL": url, **settings}))
    return found


def sharing(directory: Path) -> dict[str, str]:
    """The settings by which servers share their secret and their storage."""
    secret = directory / "secrets"
    secret.write_text("a secret that all servers share, and long enough\n", encoding="ascii")
    return {"CATALOG_SERVER_SECRET_FILE": str(secret), "CATALOG_STORAGE_ROOT": str(directory / "storage")}


def migrated(directory: Path, url: str) -> None:
    """Bring the database to its schema, without anything in it."""
    database = Database(url)
    schema.migrate(database, url)
    database.close()
    if url.startswith("sqlite"):
        (directory / "catalog.db").chmod(0o600)


@pytest.mark.parametrize("_round", ROUNDS)
def test_servers_that_migrate_at_once(url: str, tmp_path: Path, _round: int) -> None:
    assert at_once(migrate, servers(tmp_path, url, **sharing(tmp_path))) == [0] * SERVERS
    assert_filled_once(url)


@pytest.mark.parametrize("_round", ROUNDS)
def test_servers_that_start_at_once(url: str, tmp_path: Path, _round: int) -> None:
    migrated(tmp_path, url)
    assert at_once(prepare, servers(tmp_path, url, **sharing(tmp_path))) == [0] * SERVERS
    assert_filled_once(url)


def assert_filled_once(url: str) -> None:
    database = Database(url)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Catalog)) == 1
        assert set(session.scalars(select(Claim.name))) == set(CLAIMS)
        assert session.scalar(select(func.count()).select_from(Storage)) == 1
    database.close()


@pytest.mark.parametrize("_round", ROUNDS)
@pytest.mark.parametrize("apart", ["CATALOG_SERVER_SECRET_FILE", "CATALOG_STORAGE_ROOT"])
def test_servers_that_do_not_share_what_they_must(url: str, tmp_path: Path, apart: str, _round: int) -> None:
    migrated(tmp_path, url)
    shared = sharing(tmp_path)
    del shared[apart]
    assert sorted(at_once(prepare, servers(tmp_path, url, **shared)), key=str) == [0] + [REFUSED] * (SERVERS - 1)
    if apart == "CATALOG_STORAGE_ROOT":
        marked = [name for name in tmp_path.iterdir() if (name / "storage" / marks.mark_of("")).exists()]
        assert len(marked) == 1


def test_a_server_says_what_it_does_not_share(url: str, tmp_path: Path) -> None:
    migrated(tmp_path, url)
    shared = sharing(tmp_path)
    assert at_once(prepare, servers(tmp_path, url, **shared)[:1]) == [0]
    data_dir = tmp_path / "server-1"
    mine = {"CATALOG_DATABASE_URL": url, **shared}
    elsewhere = command(data_dir, "serve", "--port", "0", settings={**mine, "CATALOG_STORAGE_ROOT": str(data_dir)})
    assert elsewhere.returncode == 1 and "its mark catalog.json is not there" in elsewhere.stderr
    del mine["CATALOG_SERVER_SECRET_FILE"]
    alone = command(data_dir, "serve", "--port", "0", settings=mine)
    assert alone.returncode == 1 and "sign with the key" in alone.stderr
    checked = command(data_dir, "check", settings=mine)
    assert checked.returncode == 1 and "sign with the key" in checked.stdout
    # The others' secret is lost for good.
    assert command(data_dir, "key", "adopt", settings=mine).returncode == 0
    assert at_once(prepare, [environment(data_dir, mine)]) == [0]
    assert at_once(prepare, [environment(data_dir, {**mine, **shared})]) == [REFUSED]
    shutil.copy(data_dir / "server-secret", shared["CATALOG_SERVER_SECRET_FILE"])
    assert at_once(prepare, [environment(data_dir, {**mine, **shared})]) == [0]
