# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Storages as rows: the mark of the catalog, other settings than before, and URLs that end with what they are for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from catalog_server.models.storage import Storage
from conftest import StartServer
from packs import sha256
from rows import new_catalog_id, segments_of
from running import STOP_SECONDS, Server, command, command_work
from transfer_client import NEXT_FILES, Client, Pushed, error, good


def mark(server: Server) -> Path:
    return server.data_dir / "storage/catalog.json"


def stopped(server: Server) -> Server:
    server.process.terminate()
    assert server.process.wait(STOP_SECONDS) == 0
    server.ended = True
    return server


def serve_fails(server: Server, **settings: str) -> str:
    """What the server says when it does not start."""
    answer = command(server.data_dir, "serve", "--port", "0", settings={**server.settings, **settings})
    assert answer.returncode == 1, answer.stderr
    assert "Traceback" not in answer.stderr
    return answer.stderr


def get(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False)


# --- the mark --------------------------------------------------------------------------------------------


def test_a_storage_is_marked_when_it_is_first_used(server: Server) -> None:
    uuid = server.call("GET", "/server").json()["catalog_uuid"]
    assert json.loads(mark(server).read_text()) == {"catalog": uuid, "epoch": 1, "mark_format": 1, "storage": "local"}
    with server.services.database.reading() as session:
        assert session.get_one(Storage, "local").marked_at is not None


def test_a_volume_that_is_not_mounted_gets_no_folders(start_server: StartServer) -> None:
    server = start_server()
    pusher = Client.of(server, "pusher")
    pushed = pusher.push(new_catalog_id())
    upload_id = good(pusher.begin(new_catalog_id()))["id"]
    data = b"that comes too late"
    url = good(pusher.store_urls(upload_id, {sha256(data): len(data)}))["urls"][0]["url"]
    away = server.data_dir / "volume"
    (server.data_dir / "storage").rename(away)
    error(server.call("GET", "/health/ready"), 503, "unavailable")
    error(httpx.put(url, content=data, trust_env=False), 503, "unavailable")
    assert "mount its volume" in serve_fails(stopped(server))
    assert not (server.data_dir / "storage").exists()
    # An empty directory, as a mount point is, is the same.
    (server.data_dir / "storage").mkdir()
    assert "mount its volume" in serve_fails(server)
    assert not list((server.data_dir / "storage").iterdir())
    (server.data_dir / "storage").rmdir()
    away.rename(server.data_dir / "storage")
    server.restart()
    assert server.call("GET", "/health/ready").status_code == 200
    assert Client.of(server, "pusher").manifest(pushed.id) == pushed.manifest


@pytest.mark.parametrize("text", ['{"catalog": "9f1c"}', "no JSON", "[]", "{}"])
def test_a_storage_of_another_catalog_is_refused(start_server: StartServer, text: str) -> None:
    server = start_server()
    mark(server).write_text(text)
    error(server.call("GET", "/health/ready"), 503, "unavailable")
    assert "belongs to the catalog" in serve_fails(stopped(server))
    assert mark(server).read_text() == text
    # Not even by a catalog that has never used it.
    with command_work(server.services) as work:
        work.session.get_one(Storage, "local").marked_at = None
    assert "belongs to the catalog" in serve_fails(server)
    assert mark(server).read_text() == text


def test_a_storage_without_room_is_not_ready(start_server: StartServer) -> None:
    server = start_server(CATALOG_MIN_FREE_BYTES=str(1 << 60))
    message = error(server.call("GET", "/health/ready"), 503, "unavailable")
    assert "bytes left" in message
    assert server.call("GET", "/health/live").status_code == 200


# --- other settings than before --------------------------------------------------------------------------


def restarted(server: Server, **settings: str) -> tuple[Server, Client]:
    stopped(server)
    server.settings = {**server.settings, **settings}
    server.restart()
    server.ended = False
    return server, Client.of(server, "pusher")


def pulls(client: Client, server: Server, pushed: Pushed) -> bool:
    urls = good(client.read_urls(pushed.id, segments_of(server, pushed.id)))["urls"]
    answers = [get(made["url"]).content == pushed.pack.segments[made["sha256"]] for made in urls]
    listing = client.http.get(f"/manifests/{pushed.id}/listing")
    return bool(answers) and all(answers) and listing.content == pushed.pack.listing_file


def test_another_name_is_another_storage_and_the_old_one_stays(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(CATALOG_STORAGE_ROOT=str(tmp_path / "first"), CATALOG_STORAGE_PREFIX="images/one")
    old = Client.of(server, "pusher").push(new_catalog_id())
    server, pusher = restarted(
        server,
        CATALOG_STORAGE_NAME="second",
        CATALOG_STORAGE_ROOT=str(tmp_path / "second"),
        CATALOG_STORAGE_PREFIX="",
    )
    assert server.call("GET", "/health/ready").status_code == 200
    new = pusher.push(new_catalog_id())
    assert [pushed.manifest["storage"] for pushed in (old, new)] == ["local", "second"]
    assert pulls(pusher, server, old) and pulls(pusher, server, new)
    assert (tmp_path / "first/images/one/catalog.json").is_file() and (tmp_path / "second/catalog.json").is_file()


def moved(server: Server, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(server.data_dir / "storage", target)


def test_another_root_is_where_the_objects_were_moved_to(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    old = Client.of(server, "pusher").push(new_catalog_id())
    stopped(server)
    assert "mount its volume" in serve_fails(server, CATALOG_STORAGE_ROOT=str(tmp_path / "moved"))
    assert "mount its volume" in serve_fails(server, CATALOG_STORAGE_PREFIX="elsewhere")
    moved(server, tmp_path / "moved")
    server.settings = {**server.settings, "CATALOG_STORAGE_ROOT": str(tmp_path / "moved")}
    server.restart()
    server.ended = False
    assert pulls(Client.of(server, "pusher"), server, old)


# --- URLs end with what they are for ---------------------------------------------------------------------

ENDS: dict[str, Callable[[Client, str], httpx.Response]] = {
    "taint": lambda admin, manifest_id: admin.http.post(f"/manifests/{manifest_id}/taint"),
    "revoke": lambda admin, manifest_id: admin.http.post(f"/manifests/{manifest_id}/revoke"),
    "delete": lambda admin, manifest_id: admin.http.delete(f"/manifests/{manifest_id}"),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_url_ends_with_its_manifest(server: Server, end: str) -> None:
    pusher, admin = Client.of(server, "pusher"), Client.of(server, "admin")
    base = pusher.push(new_catalog_id())
    other = pusher.push(base.manifest["catalog_id"], "2.0", NEXT_FILES, base)
    shared = sorted(set(segments_of(server, base.id)) & set(segments_of(server, other.id)))
    assert shared
    (url,), (others,) = (
        [one["url"] for one in good(pusher.read_urls(of, shared[:1]))["urls"]] for of in (base.id, other.id)
    )
    assert get(url).status_code == 200
    good(ENDS[end](admin, base.id))
    error(get(url), 403, "forbidden")
    # The same object for another manifest
    assert get(others).status_code == 200
    if end == "taint":
        good(admin.http.post(f"/manifests/{base.id}/untaint"))
        assert get(url).status_code == 200


def test_a_url_outlives_a_replacement(server: Server) -> None:
    """Whoever has begun to pull the old content may finish."""
    pusher = Client.of(server, "pusher")
    base = pusher.push(new_catalog_id())
    (url,) = (one["url"] for one in good(pusher.read_urls(base.id, segments_of(server, base.id)[:1]))["urls"])
    pusher.push(base.manifest["catalog_id"], "1.0", NEXT_FILES, force=True)
    assert get(url).status_code == 200


@pytest.mark.parametrize("end", ["abort", "commit"])
def test_a_url_ends_with_its_upload(server: Server, end: str) -> None:
    pusher = Client.of(server, "pusher")
    catalog_id = new_catalog_id()
    upload_id = good(pusher.begin(catalog_id))["id"]
    data = b"an object"
    url = good(pusher.store_urls(upload_id, {sha256(data): len(data)}))["urls"][0]["url"]
    assert httpx.put(url, content=data, trust_env=False).status_code == 200
    read = good(pusher.http.get(f"/uploads/{upload_id}"))["segments"][0]["url"]
    assert get(read).content == data
    if end == "abort":
        good(pusher.http.delete(f"/uploads/{upload_id}"))
    else:
        pusher.push(catalog_id)
    error(httpx.put(url, content=data, trust_env=False), 403, "forbidden")
    error(get(read), 403, "forbidden")
    assert sha256(data) not in {path.name for path in (server.data_dir / "storage/packs").rglob("*")}
