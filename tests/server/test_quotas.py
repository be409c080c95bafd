# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


"""What the versions of a catalog id may take in storage, and what becomes free when they are deleted."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from catalog_server.catalog.service import SEGMENTS_LOCK, catalog_id_lock
from catalog_server.jobs.kinds import kind_called
from catalog_server.jobs.runner import run
from catalog_server.models.catalog import CatalogId
from conftest import StartServer
from freeing import age
from packs import HandMade, content, make_pack
from rows import new_catalog_id
from running import Server, command_work, wait_until
from sqlalchemy import text
from transfer_client import Client, Pushed, error, good, objects

BOTH = pytest.mark.parametrize("template", ["sqlite", "postgresql"], indirect=True)
OTHER_FILES = {"config.pvs": content(20, 1), "disk/data": content(21)}


@pytest.fixture(name="pusher")
def pusher_fixture(server: Server) -> Client:
    return Client.of(server, "pusher")


def allow(server: Server, catalog_id: str, quota: int) -> None:
    with command_work(server.services) as work:
        work.session.get_one(CatalogId, catalog_id).quota_bytes = quota


def size_of(pack: HandMade) -> int:
    return sum(len(data) for data in pack.segments.values())


def stored(client: Client, catalog_id: str, version: str, seed: int) -> tuple[str, HandMade]:
    """An upload that only has to be committed."""
    upload_id = good(client.begin(catalog_id, version))["id"]
    pack = make_pack(upload_id, {"disk/data": content(seed)})
    client.store(upload_id, pack)
    return upload_id, pack


def test_a_catalog_id_takes_no_more_than_its_quota(server: Server, pusher: Client) -> None:
    pushed = pusher.push(new_catalog_id())
    catalog_id = pushed.manifest["catalog_id"]
    used = size_of(pushed.pack)
    allow(server, catalog_id, used + 1000)
    upload_id = good(pusher.begin(catalog_id, "2.0"))["id"]
    pack = make_pack(upload_id, OTHER_FILES)
    pusher.store(upload_id, pack)
    assert error(pusher.commit(upload_id, pack.index), 413, "quota_exceeded") == (
        f"The versions of the catalog id {catalog_id!r} take {used} bytes in storage, this one would add "
        f"{size_of(pack)}, and its quota is {used + 1000}: delete versions that nobody needs, or have the quota raised."
    )
    assert [
        one["version"] for one in good(pusher.http.get("/manifests", params={"catalog_id": catalog_id}))["manifests"]
    ] == ["1.0"]
    allow(server, catalog_id, used)
    assert error(pusher.begin(catalog_id, "3.0"), 413, "quota_exceeded") == (
        f"The versions of the catalog id {catalog_id!r} take {used} bytes in storage, and its quota is {used}, so "
        "nothing more can be pushed: delete versions that nobody needs, or have the quota raised."
    )
    allow(server, catalog_id, used * 3)
    good(pusher.commit(upload_id, pack.index))


@BOTH
def test_commits_at_once_take_no_more_than_the_quota_together(start_server: StartServer) -> None:
    """Both have done everything but their last transaction, and wait for the lock; either fits alone."""
    server = start_server(CATALOG_JOBS_SECONDS="0")
    clients = [Client.of(server, name) for name in ("pusher", "staff")]
    catalog_id = new_catalog_id()
    base = clients[0].push(catalog_id, "0")
    uploads = [stored(client, catalog_id, str(number), 40 + number) for number, client in enumerate(clients, 1)]
    sizes = [size_of(pack) for _id, pack in uploads]
    limit = size_of(base.pack) + sum(sizes) - 1
    allow(server, catalog_id, limit)

    def commit(number: int) -> httpx.Response:
        upload_id, pack = uploads[number]
        return clients[number].commit(upload_id, pack.index)

    def is_prepared(number: int) -> bool:
        """Listing, locator and record are stored: only the transaction that writes is left."""
        return "manifest.json" in objects(server, uploads[number][0])

    with ThreadPoolExecutor(2) as pool:
        with server.services.database.writing([catalog_id_lock(catalog_id), SEGMENTS_LOCK]) as session:
            session.execute(text("SELECT 1"))
            answers = []
            for number in (0, 1):
                answers.append(pool.submit(commit, number))
                wait_until(lambda number=number: is_prepared(number))
        replies = [answer.result(30) for answer in answers]
    assert sorted(reply.status_code for reply in replies) == [200, 413]
    winner = [reply.status_code for reply in replies].index(200)
    message = error(next(reply for reply in replies if reply.status_code == 413), 413, "quota_exceeded")
    used = size_of(base.pack) + sizes[winner]
    assert f"take {used} bytes in storage, this one would add {sizes[1 - winner]}, and its quota is {limit}" in message
    # What was refused is not there, and can be committed once there is room.
    loser, pack = uploads[1 - winner]
    assert pack.segments.keys() <= objects(server, loser)
    good(Client.of(server, "admin").http.delete(f"/manifests/{base.id}"))
    good(clients[1 - winner].commit(loser, pack.index))


SHARED, PAIR, OWN = content(50), content(51), content(52)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_what_is_freed_is_what_nobody_else_uses(server: Server, order: tuple[int, ...]) -> None:
    """Three versions, of which the second shares with the first, and the third with both."""
    admin, catalog_id = Client.of(server, "admin"), new_catalog_id()
    first = admin.push(catalog_id, "1", {"a": SHARED, "b": content(53)})
    second = admin.push(catalog_id, "2", {"a": SHARED, "b": PAIR}, first)
    third = admin.push(catalog_id, "3", {"a": SHARED, "b": PAIR, "c": OWN}, second)
    pushed = [first, second, third]
    sizes = {(one.upload_id, name): len(data) for one in pushed for name, data in one.pack.segments.items()}
    uses = [{(segment.pack, segment.sha256) for segment in one.pack.locator.segments} for one in pushed]
    assert uses[0] & uses[1] & uses[2] and (uses[1] & uses[2]) - uses[0]
    left = {0, 1, 2}
    for number in order:
        left.remove(number)
        needed = set().union(*(uses[other] for other in left))
        freed = good(admin.http.delete(f"/manifests/{pushed[number].id}"))
        assert freed["freed_bytes"] == sum(sizes[name] for name in uses[number] - needed)
        age(server)
        # The server may collect at this moment.
        wait_until(lambda: run(server.services, kind_called("gc"), "test") is not None)
        there = {(one.upload_id, name) for one in pushed for name in segments_there(server, one)}
        assert there == needed


def segments_there(server: Server, pushed: Pushed) -> set[str]:
    return {name for name in objects(server, pushed.upload_id) if name in pushed.pack.segments}
