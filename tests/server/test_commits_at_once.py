# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commits at once: nothing is read for strangers, few are worked on, and what crosses another leaves nothing behind."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest
from catalog_server.catalog.service import SEGMENTS_LOCK
from catalog_server.models.transfers import ABORTED, Upload
from conftest import StartServer
from packs import HandMade, make_pack, sha256
from rows import new_catalog_id
from running import Server, wait_until
from sqlalchemy import text
from transfer_client import FILES, NEXT_FILES, NO_REVISION, Client, error, good, objects

LONG = 100 << 20
# A transaction that writes begins with its first statement. Commits then wait for it, with everything else done.
THE_LOCK = text("SELECT 1")


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


def names_of(pack: HandMade) -> set[str]:
    """Names of all objects of a pack that is committed."""
    index = {f"{sha256(pack.listing_file)}.listing", f"{sha256(pack.locator_file)}.locator"}
    return {*pack.segments, *index, "manifest.json"}


def bearer(server: Server, name: str) -> str:
    return f"Authorization: Bearer {server.token(name)}\r\n"


def test_nothing_is_read_for_whoever_may_not_commit(server: Server, pusher: Client) -> None:
    upload_id = good(pusher.begin(new_catalog_id()))["id"]
    assert announced(server, upload_id) == (401, "unauthenticated")
    assert announced(server, upload_id, "Authorization: Bearer rubbish\r\n") == (401, "unauthenticated")
    assert announced(server, upload_id, bearer(server, "reader")) == (404, "unknown_upload")
    assert announced(server, upload_id, bearer(server, "staff")) == (404, "unknown_upload")
    assert announced(server, "0" * 32, bearer(server, "pusher")) == (404, "unknown_upload")
    assert announced(server, upload_id, bearer(server, "pusher")) == (409, "upload_changed")


def test_an_index_that_breaks_off_is_no_mistake(server: Server, pusher: Client) -> None:
    upload_id = good(pusher.begin(new_catalog_id()))["id"]
    with begun(server, upload_id, bearer(server, "pusher"), pusher.revisions[upload_id]) as connection:
        connection.sendall(bytes(5 << 20))
    path = f"/api/v1/uploads/{upload_id}/commit"
    lines = server.lines_with(path)
    assert [(line["level"], line["status"]) for line in lines] == [("info", 499)]


def test_few_commits_are_worked_on_at_once(start_server: StartServer) -> None:
    server = start_server(CATALOG_COMMITS_AT_ONCE="1")
    pusher = Client.of(server, "pusher")
    first, second = (good(pusher.begin(new_catalog_id()))["id"] for _number in range(2))
    pack = make_pack(first, FILES)
    pusher.store(first, pack)
    with ThreadPoolExecutor(1) as pool:
        with server.services.database.writing([SEGMENTS_LOCK]) as session:
            session.execute(THE_LOCK)
            waiting = pool.submit(pusher.commit, first, pack.index)
            wait_until(lambda: names_of(pack) <= objects(server, first))
            pusher.http.timeout = httpx.Timeout(1.0)
            with pytest.raises(httpx.ReadTimeout):
                pusher.commit(second, b"no index")
            assert server.call("GET", "/health/ready").status_code == 200
        good(waiting.result(30))
    error(pusher.commit(second, b"no index"), 400, "invalid_index")


# --- what is left behind ---------------------------------------------------------------------------------


def stored(client: Client, upload_id: str, *bundles: dict[str, bytes]) -> list[HandMade]:
    """Packs of one upload, all of whose segments are stored."""
    packs = [make_pack(upload_id, files) for files in bundles]
    for pack in packs:
        client.store(upload_id, pack)
    return packs


def test_segments_that_the_index_does_not_name_are_removed(server: Server, pusher: Client) -> None:
    """The bundle changed between the push that was cut off and the one that went on with it."""
    upload_id = good(pusher.begin(new_catalog_id()))["id"]
    before, after = stored(pusher, upload_id, FILES, NEXT_FILES)
    assert before.segments.keys() - after.segments.keys()
    good(pusher.commit(upload_id, after.index))
    assert objects(server, upload_id) == names_of(after)


def test_of_two_commits_of_one_upload_the_loser_leaves_nothing(server: Server, pusher: Client) -> None:
    upload_id = good(pusher.begin(new_catalog_id()))["id"]
    packs = stored(pusher, upload_id, FILES, NEXT_FILES)
    with ThreadPoolExecutor(2) as pool:
        with server.services.database.writing([SEGMENTS_LOCK]) as session:
            session.execute(THE_LOCK)
            waiting = [pool.submit(pusher.commit, upload_id, pack.index) for pack in packs]
            wait_until(lambda: set.union(*map(names_of, packs)) <= objects(server, upload_id))
        replies = [reply.result(30) for reply in waiting]
    (won,) = [number for number, reply in enumerate(replies) if reply.status_code == 200]
    error(replies[1 - won], 409, "upload_closed")
    assert objects(server, upload_id) == names_of(packs[won])
    record = json.loads((server.data_dir / "storage/packs" / upload_id / "manifest.json").read_text())
    manifest = good(replies[won])
    assert {name: record[name] for name in ("manifest_id", "digest", "files", "stored_bytes", "listing_object")} == {
        "manifest_id": manifest["id"],
        "digest": packs[won].digest,
        "files": manifest["files"],
        "stored_bytes": manifest["stored_bytes"],
        "listing_object": f"{sha256(packs[won].listing_file)}.listing",
    }


def test_a_commit_after_an_abort_leaves_nothing(server: Server, pusher: Client) -> None:
    upload_id = good(pusher.begin(new_catalog_id()))["id"]
    (pack,) = stored(pusher, upload_id, FILES)
    with ThreadPoolExecutor(1) as pool:
        with server.services.database.writing([SEGMENTS_LOCK]) as session:
            # What an abort does, while the commit stands before its last step.
            session.get_one(Upload, upload_id).state = ABORTED
            session.flush()
            waiting = pool.submit(pusher.commit, upload_id, pack.index)
            wait_until(lambda: names_of(pack) <= objects(server, upload_id))
        error(waiting.result(30), 409, "upload_closed")
    assert objects(server, upload_id) == set()
