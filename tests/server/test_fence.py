# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A restored catalog and its original on one storage: the original stores and deletes nothing there any more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from catalog_server.jobs.kinds import kind_called
from catalog_server.jobs.runner import run
from catalog_server.operations import backup, restore
from catalog_server.settings import Settings
from catalog_server.storages.marks import Superseded
from catalog_server.transfers import leftovers
from conftest import StartServer
from freeing import Scene, age, all_files
from packs import make_pack
from rows import new_catalog_id
from running import Server, command, start
from transfer_client import FILES, NEXT_FILES, Client, error, good

pytestmark = pytest.mark.parametrize("template", ["sqlite"], indirect=True, scope="session")

SENTENCE = "A restore of this catalog has taken over the storage 'local'"


class Original:
    """A server with an upload that is open, segments that may be removed, and a backup of before it let them go."""

    def __init__(self, server: Server, place: Path) -> None:
        self.server, self.place = server, place
        self.scene = Scene(server)
        self.client = self.scene.client
        self.upload_id = str(good(self.client.begin(new_catalog_id()))["id"])
        self.pack = make_pack(self.upload_id, NEXT_FILES)
        self.client.store(self.upload_id, self.pack)
        backup.make(server.services.settings, place / "backup")
        self.scene.delete()
        age(server)
        self.files = all_files(server, self.scene.base.upload_id)

    def restored(self) -> Server:
        """The restored one, as it runs on the same storage, in a data directory of its own."""
        values = {"CATALOG_STORAGE_ROOT": str(self.server.data_dir / "storage"), "CATALOG_JOBS_SECONDS": "0"}
        settings = Settings(data_dir=self.place / "restored", storage_root=self.server.data_dir / "storage")
        restore.restore(settings, self.place / "backup")
        return start(settings.data_dir, values)


@pytest.fixture(name="original")
def original_fixture(start_server: StartServer, tmp_path: Path) -> Original:
    return Original(start_server(CATALOG_JOBS_SECONDS="0"), tmp_path)


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
    assert json.loads((original.server.data_dir / "storage/catalog.json").read_text())["epoch"] > 1


def test_a_restore_that_does_not_serve_takes_nothing_over(original: Original) -> None:
    settings = Settings(data_dir=original.place / "restored", storage_root=original.server.data_dir / "storage")
    restore.restore(settings, original.place / "backup")
    good(original.client.commit(original.upload_id, original.pack.index))
