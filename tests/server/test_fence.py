# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A restored catalog and its original on one storage: the original stores and deletes nothing there any more."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
import time
import typing as t
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from ansible_collections.macfleet.parallels.tests.support.postgres import Postgres
from catalog_server.app import open_services
from catalog_server.errors import Unavailable
from catalog_server.jobs import leases
from catalog_server.jobs import restored as after_restore
from catalog_server.jobs.kinds import KINDS, kind_called
from catalog_server.jobs.outbox import write_state
from catalog_server.jobs.runner import JobKind, run
from catalog_server.models.catalog import Catalog
from catalog_server.models.jobs import Job
from catalog_server.operations import backup, restore
from catalog_server.settings import Settings
from catalog_server.storages import holding
from catalog_server.storages.marks import NotTakenOver, OtherCatalog, Superseded
from catalog_server.transfers import leftovers, packs
from catalog_server.unit_of_work import Services, utc_now
from conftest import StartServer
from freeing import Scene, age, all_files
from packs import make_pack, sha256
from rows import new_catalog_id
from running import Server, Template, command, command_work, start, wait_until
from sockets import connect, one_answer, status_of
from sqlalchemy import update
from test_monitoring import value
from transfer_client import FILES, NEXT_FILES, Client, error, good

SENTENCE = "A restore of this catalog has taken over the storage 'local'"
DATA = b"an object that comes late"


class Original:
    """A server with an upload that is open, segments that may be removed, and a backup of before it let them go."""

    def __init__(self, server: Server, place: Path, postgres: Postgres | None) -> None:
        self.server, self.place = server, place
        self._postgres = postgres
        self._databases: list[str] = []
        self.scene = Scene(server)
        self.client = self.scene.client
        self.upload_id = str(good(self.client.begin(new_catalog_id()))["id"])
        self.pack = make_pack(self.upload_id, NEXT_FILES)
        self.client.store(self.upload_id, self.pack)
        backup.make(server.services.settings, place / "backup")
        self.scene.delete()
        age(server)
        self.files = all_files(server, self.scene.base.upload_id)

    @property
    def mark(self) -> Path:
        return self.server.data_dir / "storage/catalog.json"

    def restore(self, name: str = "restored", saved: Path | None = None) -> Settings:
        """Restore a backup into an installation of its own, on the same storage."""
        values: dict[str, t.Any] = {"storage_root": self.server.data_dir / "storage"}
        if self._postgres is not None:
            self._databases.append(self._postgres.create())
            values["database_url"] = self._postgres.url(self._databases[-1])
        settings = Settings(data_dir=self.place / name, **values)
        restore.restore(settings, saved or self.place / "backup")
        return settings

    def restored(self) -> Server:
        """The restored one, as it runs."""
        settings = self.restore()
        return start(settings.data_dir, variables_of(settings))

    def close(self) -> None:
        for name in self._databases:
            t.cast("Postgres", self._postgres).drop(name)


def variables_of(settings: Settings) -> dict[str, str]:
    """Those of a restored installation; its jobs do not run by themselves."""
    found = {"CATALOG_STORAGE_ROOT": str(settings.storage_root), "CATALOG_JOBS_SECONDS": "0"}
    if settings.database_url is not None:
        found["CATALOG_DATABASE_URL"] = settings.database_url.get_secret_value()
    return found


@pytest.fixture(name="original")
def original_fixture(start_server: StartServer, template: Template, tmp_path: Path) -> Iterator[Original]:
    original = Original(start_server(CATALOG_JOBS_SECONDS="0"), tmp_path, template.postgres)
    yield original
    original.close()


@pytest.fixture(name="restored")
def restored_fixture(original: Original) -> Iterator[Server]:
    server = original.restored()
    yield server
    server.stop()


def test_the_original_commits_nothing_any_more(original: Original, restored: Server) -> None:
    before = all_files(original.server, original.upload_id)
    assert error(original.client.commit(original.upload_id, original.pack.index), 503, "unavailable").startswith(
        SENTENCE
    )
    assert all_files(original.server, original.upload_id) == before
    # It knows by now, so it does not take what it could not tell its storage either.
    assert error(original.client.begin(new_catalog_id()), 503, "unavailable").startswith(SENTENCE)
    assert error(original.server.call("GET", "/health/ready"), 503, "unavailable").startswith(SENTENCE)
    # Reading goes on, and the restored one does everything.
    assert original.server.call("GET", "/manifests", "reader").status_code == 200
    pushed = Client.of(restored, "admin").push(new_catalog_id(), "1.0", FILES)
    assert pushed.manifest["version"] == "1.0"
    assert good(restored.call("GET", "/health/ready"))["status"] == "OK"


def test_all_workers_learn_of_it_though_only_the_database_is_changed(
    start_server: StartServer, template: Template, tmp_path: Path
) -> None:
    original = Original(start_server(CATALOG_WORKERS="2", CATALOG_JOBS_SECONDS="1"), tmp_path, template.postgres)
    # No job is due any more, and none of what is changed now has to do with a storage.
    wait_until(lambda: all(is_idle(original.server.services, kind) for kind in KINDS))
    server = original.restored()

    def refused() -> int:
        """How many of ten changes, each by a connection of its own, are refused."""
        change = {"name": "Reader"}
        answers = [original.server.call("PATCH", "/users/reader", "admin", json=change) for _number in range(10)]
        return [answer.status_code for answer in answers].count(503)

    try:
        wait_until(lambda: refused() == 10)
    finally:
        server.stop()
        original.close()


def is_idle(services: Services, kind: JobKind) -> bool:
    """Whether nobody runs a job, and nobody has to."""
    with services.database.reading() as session:
        job = session.get(Job, kind.name)
        is_due = leases.is_due(session, kind.name, services.clock(), kind.period_seconds)
    return (job is None or job.owner is None) and not (is_due and kind.has_work(services))


def test_the_original_deletes_nothing_any_more(original: Original, restored: Server) -> None:
    services = original.server.services
    counts = run(services, kind_called("gc"), "test")
    assert counts is not None and counts["left_alone"]["local"].startswith(SENTENCE)
    leftovers.discard(services, [original.scene.base.upload_id])
    written = run(services, kind_called("outbox"), "test")
    assert written is not None and written.keys() == {"postponed"}
    for name in ("gc", "retention", "housekeeping"):
        with pytest.raises(Superseded, match=SENTENCE):
            run(services, kind_called(name), "test")
    assert all_files(original.server, original.scene.base.upload_id) == original.files


def test_the_original_does_not_start_again(original: Original, restored: Server) -> None:
    original.server.ended = True
    assert original.server.stop() == 0
    answer = command(original.server.data_dir, "serve", "--port", "0", settings=original.server.settings)
    assert (answer.returncode, answer.stderr.count(SENTENCE)) == (1, 1)
    answer = command(original.server.data_dir, "check", settings=original.server.settings)
    assert answer.returncode == 1 and SENTENCE in answer.stdout
    assert json.loads(original.mark.read_text())["epoch"] > 1


def test_a_restore_that_does_not_serve_takes_nothing_over(original: Original) -> None:
    original.restore()
    good(original.client.commit(original.upload_id, original.pack.index))


# --- what happens while the storage is taken over --------------------------------------------------------------------


@pytest.fixture(name="waiting")
def waiting_fixture(original: Original) -> Iterator[Services]:
    """A restored catalog that has taken nothing over yet."""
    services = open_services(original.restore())
    yield services
    services.database.close()


class TakeOver:
    """A server that starts and takes the storage over while another one is at something there."""

    def __init__(self, original: Original, waiting: Services) -> None:
        self._mark = original.mark
        self._waiting = waiting
        self._before = self._mark.read_bytes()
        self._thread = threading.Thread(target=lambda: waiting.storages.prepare(utc_now()))

    def begin(self) -> None:
        """Begin, and go on until the mark is another one; it must not have come to its end by then."""
        self._thread.start()
        wait_until(lambda: self._mark.read_bytes() != self._before)
        self._thread.join(0.5)
        assert self._thread.is_alive()

    def end(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()
        with self._waiting.storages.own("local"):
            pass


def test_whoever_deletes_is_waited_for(original: Original, waiting: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    take_over, removed = TakeOver(original, waiting), []
    remove = packs.PackObjects.remove

    def removing(self: packs.PackObjects, names: Iterable[str]) -> None:
        take_over.begin()
        removed.extend(names)
        remove(self, removed)

    monkeypatch.setattr(packs.PackObjects, "remove", removing)
    leftovers.discard(original.server.services, [original.scene.base.upload_id])
    assert removed
    take_over.end()
    monkeypatch.undo()
    before = all_files(original.server, original.scene.base.upload_id)
    assert before == original.files - set(removed)
    with pytest.raises(Superseded, match=SENTENCE):
        leftovers.tidy(original.server.services, original.scene.base.upload_id)
    assert all_files(original.server, original.scene.base.upload_id) == before


def test_whoever_stores_is_waited_for(original: Original, waiting: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    take_over = TakeOver(original, waiting)
    put, stored = packs.PackObjects.put, []

    def putting(self: packs.PackObjects, name: str, data: bytes) -> None:
        take_over.begin()
        put(self, name, data)
        stored.append(name)

    monkeypatch.setattr(packs.PackObjects, "put", putting)
    write_state(original.server.services, original.scene.other.upload_id)
    take_over.end()
    assert stored == [packs.STATE]
    with pytest.raises(Superseded, match=SENTENCE):
        write_state(original.server.services, original.scene.other.upload_id)


def test_a_storage_is_not_waited_for_for_ever(original: Original, tmp_path: Path) -> None:
    mark = original.mark
    with original.server.services.storages.own("local"):
        with pytest.raises(Unavailable, match="still stores or deletes something there: stop it"):
            with holding.replacing(mark, 0.1):
                os.replace(shutil.copy(mark, tmp_path / "copy"), mark)
        # Whoever comes now holds the new one.
        with holding.held(mark), holding.held(mark):
            pass


def test_a_mark_that_is_replaced_is_not_held_any_more(
    original: Original, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is replaced when it is open, and before it is locked. What is held is the one that is there."""
    opened, times = holding._opened, 1

    def opening(path: Path, mode: int) -> int | None:
        nonlocal times
        descriptor = opened(path, mode)
        if times > 0:
            times -= 1
            os.replace(shutil.copy(path, tmp_path / "copy"), path)
        return descriptor

    monkeypatch.setattr(holding, "_opened", opening)
    with holding.held(original.mark), original.mark.open() as there:
        with pytest.raises(BlockingIOError):
            fcntl.flock(there, fcntl.LOCK_EX | fcntl.LOCK_NB)
    times = 100
    with pytest.raises(Unavailable, match="is being replaced; try again"), holding.held(original.mark):
        pass


# --- objects ---------------------------------------------------------------------------------------------------------


@pytest.fixture(name="url")
def url_fixture(original: Original) -> str:
    """A URL of the original that stores an object."""
    urls = good(original.client.store_urls(original.upload_id, {sha256(DATA): len(DATA)}))["urls"]
    return str(urls[0]["url"])


def head_of(url: str) -> bytes:
    """The head of a request that stores it."""
    parts = urlsplit(url)
    return (
        f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(DATA)}\r\n\r\n"
    ).encode()


def test_the_original_stores_no_object_any_more(original: Original, url: str, restored: Server) -> None:
    before = all_files(original.server, original.upload_id)
    assert error(httpx.put(url, content=DATA, trust_env=False), 503, "unavailable").startswith(SENTENCE)
    assert all_files(original.server, original.upload_id) == before
    # It knows by now, and neither takes another byte nor makes URLs.
    with connect(original.server) as connection:
        connection.sendall(head_of(url))
        assert status_of(one_answer(connection)) == 503
    wanted = original.client.store_urls(original.upload_id, {sha256(DATA): len(DATA)})
    assert error(wanted, 503, "unavailable").startswith(SENTENCE)


def test_an_object_that_arrives_while_the_storage_is_taken_over_is_not_stored(
    original: Original, url: str, waiting: Services
) -> None:
    before = all_files(original.server, original.upload_id)
    with connect(original.server) as connection:
        connection.sendall(head_of(url) + DATA[:-1])
        wait_until(lambda: all_files(original.server, original.upload_id) != before)
        waiting.storages.prepare(utc_now())
        connection.sendall(DATA[-1:])
        assert status_of(one_answer(connection)) == 503
    wait_until(lambda: all_files(original.server, original.upload_id) == before)


def test_an_object_is_not_stored_in_the_storage_of_another_catalog(original: Original, url: str) -> None:
    before = all_files(original.server, original.upload_id)
    original.mark.write_text('{"catalog": "another", "epoch": 1}')
    assert "belongs to the catalog another" in error(httpx.put(url, content=DATA, trust_env=False), 503, "unavailable")
    assert all_files(original.server, original.upload_id) == before


# --- epochs ----------------------------------------------------------------------------------------------------------


def test_the_latest_restore_takes_over_whatever_the_clock_says(
    original: Original, restored: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As its sentence says, the original goes on by a restore of its backup. The restored one had a clock ahead."""
    saved = backup.make(original.server.services.settings, tmp_path / "again")
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    latest = open_services(original.restore("latest", saved))
    latest.storages.prepare(utc_now())
    with latest.storages.own("local"):
        pass
    with pytest.raises(Superseded), restored.services.storages.own("local"):
        pass
    latest.database.close()


def test_two_restores_of_one_backup_are_not_the_same(original: Original) -> None:
    first, second = (open_services(original.restore(name)) for name in ("first", "second"))
    first.storages.prepare(utc_now())
    second.storages.prepare(utc_now())
    with pytest.raises(Superseded), first.storages.own("local"):
        pass
    for services in (first, second):
        services.database.close()


def test_the_restored_one_changes_nothing_before_it_has_taken_over(original: Original, waiting: Services) -> None:
    """Its commands run before its first start, while the original still serves."""
    with command_work(waiting) as work:
        after_restore.enable_gc(work)
    said = "The storage 'local' still has the mark of this catalog from before it was restored"
    counts = run(waiting, kind_called("gc"), "test")
    assert counts is not None and counts["left_alone"]["local"].startswith(said)
    with pytest.raises(NotTakenOver, match=said), waiting.storages.own("local"):
        pass
    answer = command(waiting.settings.data_dir, "check", settings=variables_of(waiting.settings))
    assert answer.returncode == 0 and "the restored server takes it over when it starts" in answer.stdout
    # It may look at what is there.
    answer = command(waiting.settings.data_dir, "gc", "--after-restore", settings=variables_of(waiting.settings))
    assert answer.returncode == 0 and "left alone:" not in answer.stdout
    good(original.client.commit(original.upload_id, original.pack.index))


@pytest.mark.parametrize("epoch", ['"2"', "true", "2.5", "null", "[]"])
def test_an_epoch_that_cannot_be_read_takes_nobody_in(original: Original, epoch: str) -> None:
    mark = original.mark
    catalog = json.loads(mark.read_text())["catalog"]
    text = f'{{"catalog": "{catalog}", "epoch": {epoch}}}'
    mark.write_text(text)
    services = original.server.services
    with pytest.raises(OtherCatalog), services.storages.own("local"):
        pass
    with pytest.raises(OtherCatalog):
        services.storages.prepare(utc_now())
    assert mark.read_text() == text


def test_a_storage_is_up_that_a_restore_has_taken_over_under_a_running_server(start_server: StartServer) -> None:
    server = start_server()
    assert value(server, "catalog_storage_up", storage="local") == 1
    with command_work(server.services) as work:
        work.session.execute(update(Catalog).values(epoch=Catalog.epoch + 1))
    server.services.storages.prepare(utc_now())
    assert value(server, "catalog_storage_up", storage="local") == 1
