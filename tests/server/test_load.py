# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What some clients cost others: readers that are slow, writers that wait, an index that is meant to hurt."""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import httpx
import pytest
from ansible_collections.macfleet.parallels.tests.support.hostile_index import hostile_index
from catalog_server.models.catalog import Manifest
from catalog_server.transfers.packs import pack_of
from conftest import StartServer
from rows import new_catalog_id, put_manifest, segments_of
from running import Program, Server
from sockets import connect, reset_peak, resident_mib
from transfer_client import Client, good

LENGTH = 18 << 20
# 1000 readers and the server take 300 MiB, of which it takes 120 itself.
MIB_OF_A_READER = 180 / 1000
READERS = 60


def listing_of(server: Server, manifest_id: str) -> str:
    """The path of a long listing."""
    with server.services.database.reading() as session:
        content = session.get_one(Manifest, manifest_id).segmented
        pack, name = pack_of(server.services, content.storage, content.pack), content.listing_object
    (server.data_dir / "storage" / pack.key(name)).write_bytes(b"x" * LENGTH)
    return f"/api/v1/manifests/{manifest_id}/listing"


def object_of(server: Server, manifest_id: str) -> str:
    """The path of the URL of a long segment."""
    pack, name = segments_of(server, manifest_id)[0]
    (server.data_dir / "storage/packs" / pack / name).write_bytes(b"x" * LENGTH)
    reader = Client.of(server, "reader")
    return str(good(reader.read_urls(manifest_id, [(pack, name)]))["urls"][0]["url"]).removeprefix(server.url)


@pytest.mark.parametrize("path_of", [listing_of, object_of])
def test_slow_readers_hold_little(start_server: StartServer, path_of: Callable[[Server, str], str]) -> None:
    server = start_server(Program(), CATALOG_LOG_LEVEL="info")
    manifest_id = put_manifest(server)
    path = path_of(server, manifest_id)
    headers = {"Authorization": f"Bearer {server.token('reader')}"} if "listing" in path else {}
    fields = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "x", **headers}.items())
    request = f"GET {path} HTTP/1.1\r\n{fields}\r\n".encode()
    # One that is not slow, so that what is needed once is there.
    assert len(httpx.get(f"{server.url}{path}", headers=headers, trust_env=False).content) == LENGTH
    before = resident_mib(server)
    reset_peak(server)
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(server, receive_bytes=4096)) for _number in range(READERS)]
        for connection in connections:
            connection.sendall(request)
        for connection in connections:
            assert connection.recv(1024).startswith(b"HTTP/1.1 200")
        # All of them are served to the end of what buffers take.
        assert server.call("GET", f"/manifests/{manifest_id}", "reader").status_code == 200
        held = (resident_mib(server, "VmHWM") - before) / READERS
    assert held < MIB_OF_A_READER


def test_an_index_that_is_meant_to_fill_the_memory_is_refused(start_server: StartServer) -> None:
    server = start_server(Program())
    index = hostile_index()
    assert len(index) < 3 << 20
    pusher = Client.of(server, "pusher")
    upload_id = good(pusher.begin(new_catalog_id()))["id"]
    reset_peak(server)
    reply = pusher.commit(upload_id, index)
    assert (reply.status_code, reply.json()["error"]) == (400, "invalid_index")
    assert "MiB of memory" in reply.json()["message"]
    assert resident_mib(server, "VmHWM") < 300


@pytest.mark.parametrize("template", ["sqlite"], indirect=True, scope="session")
def test_writers_that_wait_keep_no_reader_waiting(start_server: StartServer) -> None:
    # With fewer threads than writers, none may be held by one that waits.
    server = start_server(CATALOG_THREADS="4", CATALOG_WRITERS="2")
    manifest_id = put_manifest(server)
    server.token("pusher")
    server.token("reader")

    def read() -> float:
        begun = time.perf_counter()
        assert server.call("GET", f"/manifests/{manifest_id}", "reader").status_code == 200
        return time.perf_counter() - begun

    calm = [read() for _number in range(20)]
    with closing(sqlite3.connect(server.data_dir / "catalog.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(60) as pool:
            begins = [pool.submit(begin, server) for _number in range(60)]
            # All of them wait now, and time is measured until the lock is let go.
            time.sleep(1)
            busy = [read() for _number in range(20)]
            assert not any(begin.done() for begin in begins)
            other.execute("COMMIT")
            assert {begin.result(60) for begin in begins} == {200}
    # They would wait for the lock, seconds; that the machine is busy costs less than that.
    assert statistics.median(busy) < max(10 * statistics.median(calm), 0.1)
    assert max(busy) < 2


def begin(server: Server) -> int:
    """The status of a begin for an address of its own."""
    body = {"catalog_id": new_catalog_id(), "version": "1", "architecture": "arm64", "type": "pvm", "name": "a.pvm"}
    reply = server.call("POST", "/uploads", "pusher", json={**body, "chunk_size": 65536})
    return reply.status_code
