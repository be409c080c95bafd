# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What commits may take of the server: nothing is read for strangers, and few are worked on at once."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest
from conftest import StartServer
from packs import make_pack
from rows import new_catalog_id
from running import Server, wait_until
from sqlalchemy import text
from transfer_client import FILES, NO_REVISION, Client, error, good, objects

LONG = 100 << 20


@pytest.fixture(name="pusher")
def pusher_fixture(server: Server) -> Client:
    return Client.of(server, "pusher")


def begun(server: Server, upload_id: str, headers: str, revision: str = NO_REVISION) -> socket.socket:
    """A connection on which the head of a commit was sent, and nothing of its body."""
    parts = urlsplit(server.url)
    connection = socket.create_connection((parts.hostname or "", parts.port or 0), 10)
    path = f"/api/v1/uploads/{upload_id}/commit?revision={revision}"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {LONG}\r\n{headers}\r\n"
    connection.sendall(head.encode())
    return connection


def announced(server: Server, upload_id: str, headers: str = "") -> tuple[int, str]:
    """Status and word of the answer to a commit that does not wait for its body."""
    with begun(server, upload_id, headers) as connection:
        answer = b""
        while b"}" not in answer:
            answer += connection.recv(65536)
    return int(answer.split()[1]), json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


def bearer(server: Server, name: str) -> str:
    return f"Authorization: Bearer {server.token(name)}\r\n"


def test_nothing_is_read_for_whoever_may_not_commit(server: Server, pusher: Client) -> None:
    upload_id = good(pusher.begin(new_catalog_id()))["id"]
    assert announced(server, upload_id) == (401, "unauthenticated")
    assert announced(server, upload_id, "Authorization: Bearer rubbish\r\n") == (401, "unauthenticated")
    assert announced(server, upload_id, bearer(server, "reader")) == (403, "forbidden")
    assert announced(server, upload_id, bearer(server, "staff")) == (404, "unknown_upload")
    assert announced(server, "0" * 32, bearer(server, "pusher")) == (404, "unknown_upload")
    assert announced(server, upload_id, bearer(server, "pusher")) == (409, "upload_changed")


def test_an_index_that_breaks_off_is_no_mistake(server: Server, pusher: Client) -> None:
    upload_id = good(pusher.begin(new_catalog_id()))["id"]
    with begun(server, upload_id, bearer(server, "pusher"), pusher.revisions[upload_id]) as connection:
        connection.sendall(bytes(5 << 20))
    path = f"/api/v1/uploads/{upload_id}/commit"
    wait_until(lambda: path in server.log)
    lines = [json.loads(line) for line in server.log.splitlines() if path in line]
    assert [(line["level"], line["status"]) for line in lines] == [("info", 400)]


def test_few_commits_are_worked_on_at_once(start_server: StartServer) -> None:
    server = start_server(CATALOG_COMMITS_AT_ONCE="1")
    pusher = Client.of(server, "pusher")
    first, second = (good(pusher.begin(new_catalog_id()))["id"] for _number in range(2))
    pack = make_pack(first, FILES)
    pusher.store(first, pack)
    with ThreadPoolExecutor(1) as pool:
        with server.house.database.writing() as session:
            # It waits for its turn to write, with everything else done.
            session.execute(text("SELECT 1"))
            waiting = pool.submit(pusher.commit, first, pack.index)
            wait_until(lambda: "manifest.json" in objects(server, first))
            pusher.http.timeout = httpx.Timeout(1.0)
            with pytest.raises(httpx.ReadTimeout):
                pusher.commit(second, b"no index")
            assert server.call("GET", "/health/ready").status_code == 200
        good(waiting.result(30))
    error(pusher.commit(second, b"no index"), 400, "invalid_index")
