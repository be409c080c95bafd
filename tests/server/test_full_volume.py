# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A volume of database and storage that is full to its last block."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from catalog_server import started_with
from catalog_server.models.identity import LoginFailure
from packs import make_pack
from rows import new_catalog_id
from running import Server, Template, running
from sqlalchemy import func, select
from transfer_client import NEXT_FILES, Client, error, good, objects

pytestmark = pytest.mark.parametrize("template", ["sqlite"], indirect=True, scope="session")

SETTINGS = {"CATALOG_MIN_FREE_BYTES": "0", "CATALOG_DATABASE_FREE_BYTES": "0", "CATALOG_JOBS_SECONDS": "0"}
BLOCK = 4096
ROOM_FOR_A_START = 16 * BLOCK
# Far more than what SQLite has left in its pages and its log.
MOST_BEGINS = 2000


@pytest.fixture(name="volume")
def volume_fixture(tmp_path: Path) -> Iterator[Path]:
    """A small volume of its own."""
    place = tmp_path / "volume"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a volume")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a volume cannot be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill(file: Path) -> None:
    with file.open("ab", buffering=0) as opened:
        try:
            while True:
                opened.write(bytes(BLOCK))
        except OSError:
            pass


def fill_the_database(client: Client) -> None:
    """Write until the database has no page left, too."""
    for _number in range(MOST_BEGINS):
        answer = client.begin(new_catalog_id(), description="x" * 9000)
        if answer.status_code != 200:
            assert answer.status_code in (503, 507), answer.text
            return
    raise AssertionError("the volume does not become full")


def counted(server: Server) -> int:
    with server.services.database.reading() as session:
        return session.scalar(select(func.coalesce(func.sum(LoginFailure.failures), 0))) or 0


def test_a_full_volume_stops_what_writes_and_nothing_else(template: Template, volume: Path) -> None:
    with running(template, volume / "data", SETTINGS) as server:
        pusher, reader = Client.of(server, "pusher"), Client.of(server, "reader")
        pushed = pusher.push(new_catalog_id())
        upload_id = good(pusher.begin(new_catalog_id()))["id"]
        pack = make_pack(upload_id, NEXT_FILES)
        urls = good(pusher.store_urls(upload_id, {name: len(data) for name, data in pack.segments.items()}))["urls"]
        filling = volume / "filling"
        fill(filling)
        fill_the_database(pusher)
        fill(filling)

        for url in urls:
            error(pusher.anybody.put(url["url"], content=pack.segments[url["sha256"]]), 507, "insufficient_storage")
        assert objects(server, upload_id) == set()
        assert reader.manifest(pushed.id)["digest"] == pushed.pack.digest
        assert reader.http.get(f"/manifests/{pushed.id}/listing").content == pushed.pack.listing_file
        good(reader.http.post("/grants", json={"verb": "pull", "catalog_id": pushed.manifest["catalog_id"]}))
        # A server starts there, too.
        running_file = volume / "running.json"
        with started_with.published(running_file, []):
            assert started_with.differences(running_file, []) == ["It runs the release unknown."]
        # No password is checked whose attempt is not counted.
        answers = [server.login(new_catalog_id(), "wrong password").status_code for _attempt in range(20)]
        assert set(answers) <= {401, 503}
        assert counted(server) == 2 * answers.count(401)
        # Nor is a right one then: whoever guesses would learn which it is, without end.
        assert (server.login("reader").status_code == 200) == (answers[-1] == 401)

        server.kill()
        # The tests keep its log, and the file that says it is ready, on the same volume.
        os.truncate(filling, filling.stat().st_size - ROOM_FOR_A_START)
        server.restart()
        filling.unlink()
        again = Client(server, good(server.login("pusher"))["token"])
        again.revisions[upload_id] = good(again.http.get(f"/uploads/{upload_id}"))["revision"]
        again.store(upload_id, pack)
        good(again.commit(upload_id, pack.index))
        with server.services.database.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
