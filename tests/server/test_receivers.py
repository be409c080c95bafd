# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What unfinished requests may hold: places, bytes, free space. And what is left of them when they end."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import httpx
import pytest
from catalog_server.errors import InsufficientStorage, Unavailable
from catalog_server.receivers import Body, Receivers
from catalog_server.settings import Settings
from catalog_server.shares import of_one_worker
from conftest import StartServer
from packs import content, make_pack, sha256
from rows import new_catalog_id
from running import Server, wait_until
from sockets import connect, everything, open_files_below, status_of
from transfer_client import FILES, Client, error, good, objects

DATA = content(1, 4)


class Push:
    """An open upload of one of the people, with a URL for DATA."""

    def __init__(self, server: Server, who: str = "pusher", data: bytes = DATA) -> None:
        self.server = server
        self.client = Client.of(server, who)
        self.id = str(good(self.client.begin(new_catalog_id()))["id"])
        self.data = data
        self.url = str(good(self.client.store_urls(self.id, {sha256(data): len(data)}))["urls"][0]["url"])

    def put(self) -> httpx.Response:
        return httpx.put(self.url, content=self.data, trust_env=False)

    @contextmanager
    def stalled(self) -> Iterator[socket.socket]:
        """A connection that has sent all but the last byte, and that the server has taken a place for."""
        parts = urlsplit(self.url)
        head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(self.data)}\r\n\r\n"
        with connect(self.server) as connection:
            connection.sendall(head.encode() + self.data[:-1])
            wait_until(lambda: self.being_received)
            yield connection
        wait_until(lambda: not self.being_received)

    @property
    def being_received(self) -> list[str]:
        return open_files_below(self.server, self.server.data_dir / "storage/packs" / self.id)

    def commit(self) -> httpx.Response:
        return self.client.commit(self.id, make_pack(self.id, FILES).index)


def test_one_object_is_received_from_one_connection(server: Server) -> None:
    push = Push(server)
    with push.stalled() as connection:
        refused = push.put()
        error(refused, 503, "being_received")
        assert refused.headers["retry-after"] == "5"
        # Another object of the same upload is another thing.
        other = Push(server, data=content(2))
        assert other.put().status_code == 200
        connection.sendall(push.data[-1:])
        assert status_of(connection.recv(100)) == 200
    assert push.put().status_code == 200
    assert objects(server, push.id) == {sha256(DATA)}


def test_one_user_has_no_more_than_its_places(start_server: StartServer) -> None:
    server = start_server(CATALOG_RECEIVERS_EACH="2")
    with ExitStack() as stack:
        for _number in range(2):
            stack.enter_context(Push(server).stalled())
        mine, theirs = Push(server), Push(server, "staff")
        refused = mine.put()
        assert "2 objects" in error(refused, 429, "too_many_receivers")
        assert refused.headers["retry-after"] == "5"
        error(mine.commit(), 429, "too_many_receivers")
        assert theirs.put().status_code == 200
    assert mine.put().status_code == 200


def test_there_are_no_more_places_than_the_settings_say(start_server: StartServer) -> None:
    server = start_server(CATALOG_RECEIVERS="1")
    with Push(server).stalled():
        other = Push(server, "staff")
        error(other.put(), 503, "unavailable")
        error(other.commit(), 503, "unavailable")
        assert server.call("GET", "/health/ready").status_code == 200
    assert other.put().status_code == 200


def test_what_is_announced_has_a_limit(start_server: StartServer) -> None:
    large = content(3, 40)
    server = start_server(CATALOG_RECEIVE_BYTES=str(len(large) + 100))
    with Push(server, data=large).stalled():
        other = Push(server, "staff")
        error(other.put(), 503, "unavailable")
    assert other.put().status_code == 200


def test_what_is_larger_than_the_share_of_a_worker_is_received_alone(server: Server) -> None:
    places = Receivers(of_one_worker(Settings(data_dir=server.data_dir, workers=64, receive_bytes=1 << 20), 0))
    volume = places.volume(server.data_dir)
    large, small = Body("a", 2 << 20), Body("b", 1)
    with places.place(large, volume):
        with pytest.raises(Unavailable), places.place(small, volume):
            pass
    with places.place(small, volume), pytest.raises(Unavailable), places.place(large, volume):
        pass


def test_a_volume_keeps_its_free_space(start_server: StartServer) -> None:
    keeps_free_space(start_server(CATALOG_MIN_FREE_BYTES=str(1 << 60)))


@pytest.mark.parametrize("template", ["sqlite"], indirect=True)
def test_the_volume_of_the_database_keeps_its_free_space(start_server: StartServer) -> None:
    keeps_free_space(start_server(CATALOG_DATABASE_FREE_BYTES=str(1 << 60)))


def keeps_free_space(server: Server) -> None:
    """Check that objects and indexes are refused, and nothing else."""
    push = Push(server)
    refused = push.put()
    assert str(1 << 60) in error(refused, 507, "insufficient_storage")
    assert objects(server, push.id) == set()
    error(push.commit(), 507, "insufficient_storage")
    assert server.call("GET", "/manifests", "reader").status_code == 200


def test_what_others_announce_counts_as_written(server: Server) -> None:
    settings = server.services.settings.model_copy(update={"receive_bytes": 1 << 60})
    places = Receivers(settings)
    # Each has room, and both have not.
    size = shutil.disk_usage(server.data_dir).free * 6 // 10
    one, other = (Body(user, size) for user in ("a", "b"))
    volume = places.volume(server.data_dir)
    with places.place(one, volume):
        with pytest.raises(InsufficientStorage), places.place(other, volume):
            pass
        assert (places.count, places.announced) == (1, size)
    with places.place(other, volume):
        pass
    assert (places.count, places.announced) == (0, 0)


@pytest.mark.parametrize("what", ["object", "commit"])
def test_a_client_that_stalls_frees_its_place(start_server: StartServer, what: str) -> None:
    server = start_server(CATALOG_RECEIVERS="1", CATALOG_BODY_SECONDS="1")
    push = Push(server)
    parts = urlsplit(push.url)
    paths = {
        "object": f"PUT {parts.path}?{parts.query}",
        "commit": f"POST /api/v1/uploads/{push.id}/commit?revision={push.client.revisions[push.id]}",
    }
    bearer = f"Authorization: Bearer {server.token('pusher')}\r\n"
    with connect(server, timeout=60) as connection:
        head = f"{paths[what]} HTTP/1.1\r\nHost: x\r\n{bearer}Content-Length: {len(DATA)}\r\n\r\n"
        connection.sendall(head.encode() + DATA[:-1])
        assert everything(connection) == b""
    wait_until(lambda: push.put().status_code == 200)
    assert objects(server, push.id) == {sha256(DATA)}
    assert list((server.data_dir / "spool").iterdir()) == []


def test_kill_9_leaves_nothing_of_what_was_being_received(start_server: StartServer) -> None:
    server = start_server()
    push = Push(server)
    parts = urlsplit(push.url)
    with connect(server) as connection:
        head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(DATA)}\r\n\r\n"
        connection.sendall(head.encode() + DATA[:-1])
        wait_until(lambda: push.being_received)
        server.process.kill()
        server.process.wait()
    server.restart()
    assert objects(server, push.id) == set()
    assert list((server.data_dir / "spool").iterdir()) == []


def test_a_request_that_the_server_does_not_wait_for_is_unavailable(start_server: StartServer) -> None:
    server = start_server(CATALOG_SHUTDOWN_SECONDS="1")
    push = Push(server)
    with push.stalled() as connection:
        server.process.terminate()
        assert server.process.wait(15) == 0
        server.ended = True
        answer = everything(connection)
    assert status_of(answer) == 503
    assert b"connection: close" in answer.lower()
    (line,) = server.lines_with('"method": "PUT"')
    assert (line["status"], line["ended"]) == (503, "shutdown")
    assert '"status": 500' not in server.log
    assert objects(server, push.id) == set()


@pytest.mark.parametrize("what", ["object", "commit", "JSON"])
def test_a_client_that_leaves_is_logged_as_that(server: Server, what: str) -> None:
    push = Push(server)
    marker = f"{what}-{time.time_ns()}"
    parts = urlsplit(push.url)
    paths = {
        "object": f"PUT {parts.path}?{parts.query}&marker={marker}",
        "commit": f"POST /api/v1/uploads/{push.id}/commit?revision={push.client.revisions[push.id]}",
        "JSON": "POST /api/v1/uploads",
    }
    bearer = f"Authorization: Bearer {server.token('pusher')}\r\nContent-Type: application/json\r\n"
    head = f"{paths[what]} HTTP/1.1\r\nHost: x\r\n{bearer}Content-Length: {len(DATA)}\r\n\r\n"
    left = '"status": 499'
    before = len(server.lines(left))
    with connect(server) as connection:
        connection.sendall(head.encode() + DATA[:-1])
        # The server has the head when it answers another connection that was opened later, and its body is awaited.
        server.call("GET", "/health/live")
    wait_until(lambda: len(server.lines(left)) > before)
    (line,) = server.lines(left)[before:]
    assert line["method"] == paths[what].partition(" ")[0]
    assert line["bytes_in"] <= len(DATA) - 1


def test_the_line_of_a_request_counts_its_bytes(server: Server) -> None:
    push = Push(server)
    line = server.line_of(push.put())
    assert (line["bytes_in"], line["bytes_out"]) == (len(DATA), 0)
    assert line["route"].endswith("/objects/{storage}/{key:path}")
    read = server.call("GET", "/server")
    line = server.line_of(read)
    assert (line["bytes_in"], line["bytes_out"]) == (0, len(read.content))
