# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A storage whose volume does not answer: what needs it waits, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from ansible_collections.macfleet.parallels.tests.support import hanging, power_cut
from ansible_collections.macfleet.parallels.tests.support.hanging import Hanging
from catalog_server.health.readiness import SLOW_SECONDS
from rows import new_catalog_id
from running import Program, Server, Template, start, wait_until
from test_monitoring import value
from test_receivers import Push
from transfer_client import Client, error

# So few that requests for the storage would take them all.
THREADS = 2
SETTINGS = {
    "CATALOG_THREADS": str(THREADS),
    "CATALOG_WRITERS": str(THREADS),
    "CATALOG_OBJECT_THREADS": str(THREADS),
    "CATALOG_JOBS_SECONDS": "0",
    "CATALOG_SHUTDOWN_SECONDS": "1",
}


@pytest.fixture(name="library", scope="module")
def library_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that lets a directory hang."""
    try:
        return hanging.build(tmp_path_factory.mktemp("hanging"))
    except power_cut.NoPowerCuts as reason:
        pytest.skip(str(reason))


@pytest.fixture(name="hung")
def hung_fixture(template: Template, library: Path, tmp_path: Path) -> Iterator[tuple[Server, Hanging]]:
    """A server, and its storage that can hang."""
    data_dir = tmp_path / "data"
    storage = Hanging(library, data_dir / "storage", tmp_path / "away")
    with template.copied(data_dir, SETTINGS) as settings:
        server = start(data_dir, settings, Program(variables=storage.variables))
        try:
            yield server, storage
        finally:
            server.stop()


def put(push: Push) -> httpx.Response:
    """Store an object, however long it takes."""
    return httpx.put(push.url, content=push.data, trust_env=False, timeout=60)


@pytest.mark.parametrize("what", ["index", "begin", "resume", "abort", "object"])
def test_nobody_waits_for_a_storage_that_others_need(hung: tuple[Server, Hanging], what: str) -> None:
    server, storage = hung
    client = Client.of(server, "pusher")
    pushed = client.push(new_catalog_id())
    pushes = [Push(server) for _number in range(2 * THREADS)]
    server.token("reader")
    calls = {
        "index": lambda push: client.http.get(f"/manifests/{pushed.id}/listing"),
        "begin": lambda push: client.begin(new_catalog_id()),
        "resume": lambda push: client.http.get(f"/uploads/{push.id}"),
        "abort": lambda push: client.http.delete(f"/uploads/{push.id}"),
        "object": put,
    }
    with ThreadPoolExecutor(len(pushes)) as threads:
        with storage.away():
            waiting = [threads.submit(calls[what], push) for push in pushes]
            wait_until(lambda: value(server, "catalog_pool_waiting", pool="objects") >= len(pushes) - THREADS)
            assert server.call("GET", "/health/live").status_code == 200
            assert server.call("GET", "/manifests", "reader").status_code == 200
            assert (
                server.call("PATCH", f"/manifests/{pushed.id}", "admin", json={"description": "x"}).status_code == 200
            )
            assert not any(one.done() for one in waiting)
        for one in waiting:
            assert one.result().status_code in (200, 204), one.result().text


def test_metrics_and_readiness_say_that_a_storage_hangs(hung: tuple[Server, Hanging]) -> None:
    server, storage = hung
    assert value(server, "catalog_storage_up", storage="local") == 1
    assert server.call("GET", "/health/ready").status_code == 200
    with storage.away():
        for _scrape in range(2):
            assert value(server, "catalog_storage_up", storage="local") == 0
            assert value(server, "catalog_database_up") == 1
        wait_until(lambda: server.call("GET", "/health/ready").status_code == 503, SLOW_SECONDS + 10)
        assert server.call("GET", "/manifests", "reader").status_code == 200
    wait_until(lambda: server.call("GET", "/health/ready").status_code == 200)
    assert value(server, "catalog_storage_up", storage="local") == 1


def test_a_server_ends_though_a_storage_hangs(hung: tuple[Server, Hanging]) -> None:
    server, storage = hung
    pushes = [Push(server) for _number in range(2 * THREADS)]
    with ThreadPoolExecutor(len(pushes)) as threads, storage.away():
        waiting = [threads.submit(put, push) for push in pushes]
        wait_until(lambda: value(server, "catalog_pool_waiting", pool="objects") >= len(pushes) - THREADS)
        server.process.terminate()
        assert server.process.wait(30) == 0
        for one in waiting:
            error(one.result(), 503, "unavailable")
