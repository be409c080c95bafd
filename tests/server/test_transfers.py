# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Uploads from begin to commit and abort, and what a pull reads, on a real server."""

from __future__ import annotations

import json
import threading
import time
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import chunk_rows
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import decode_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import decode_locator
from catalog_server.models.audit import AuditEntry
from catalog_server.models.transfers import Upload
from catalog_server.transfers.schemas import SEGMENTS_OF_A_PAGE
from conftest import StartServer
from packs import CHUNK_SIZE, content, make_pack, sha256
from rows import audiences_of, moment, new_catalog_id, segments_of
from running import Server, command_work, wait_until
from transfer_client import FILES, NEXT_FILES, NO_REVISION, Client, Pushed, address, error, good, kept_segments, objects


@pytest.fixture(name="pusher")
def pusher_fixture(server: Server) -> Client:
    return Client.of(server, "pusher")


@pytest.fixture(name="staff")
def staff_fixture(server: Server) -> Client:
    return Client.of(server, "staff")


@pytest.fixture(name="admin")
def admin_fixture(server: Server) -> Client:
    return Client.of(server, "admin")


@pytest.fixture(name="catalog_id")
def catalog_id_fixture() -> str:
    return new_catalog_id()


def fetch_all(client: Client, pushed: Pushed) -> dict[bytes, bytes]:
    """All chunks of a manifest as a puller gets them, by id."""
    listing_file = client.http.get(f"/manifests/{pushed.id}/listing").content
    locator_file = client.http.get(f"/manifests/{pushed.id}/locator").content
    listing = decode_listing(listing_file)
    locator = decode_locator(locator_file, listing, chunk_rows(listing))
    names = [(segment.pack, segment.sha256) for segment in locator.segments]
    urls = {(made["pack"], made["sha256"]): made["url"] for made in good(client.read_urls(pushed.id, names))["urls"]}
    chunks = {}
    for number in range(locator.row_total):
        placed = locator.placement(number)
        wanted = f"bytes={placed.offset}-{placed.offset + placed.length - 1}"
        url = urls[placed.segment.pack, placed.segment.sha256]
        reply = client.anybody.get(url, headers={"Range": wanted})
        assert reply.status_code == 206
        chunks[bytes.fromhex(sha256(reply.content))] = reply.content
    assert chunks.keys() == {
        listing.chunk_id(number) for number in range(listing.chunk_total) if any(listing.chunk_id(number))
    }
    return chunks


# --- the whole way ---------------------------------------------------------------------------------------


def test_a_push_becomes_a_manifest(server: Server, pusher: Client, catalog_id: str) -> None:
    pushed = pusher.push(
        catalog_id,
        "1.0",
        description="a runner",
        tags=["Stable"],
        required_roles=["user"],
        minimum_requirements={"cpu": 4, "memory_mb": 8192},
    )
    manifest = pushed.manifest
    logical = sum(map(len, FILES.values()))
    zeros = 3 * CHUNK_SIZE
    assert {name: manifest[name] for name in ("catalog_id", "version", "architecture", "type", "name")} == {
        "catalog_id": catalog_id,
        "version": "1.0",
        "architecture": "arm64",
        "type": "macvm",
        "name": "Runner.macvm",
    }
    assert manifest["digest"] == pushed.pack.digest
    assert manifest["description"] == "a runner"
    assert manifest["tags"] == ["latest", "stable"]
    assert (manifest["required_roles"], manifest["required_claims"]) == (["USER"], [])
    assert manifest["minimum_requirements"] == {"cpu": 4, "memory_mb": 8192, "disk_mb": 0}
    assert (manifest["format"], manifest["chunk_size"], manifest["storage"]) == ("segmented", CHUNK_SIZE, "local")
    # The chunk behind the last data is cut elsewhere than the data: half of it is zeros.
    assert (manifest["files"], manifest["logical_bytes"], manifest["chunks"]) == (2, logical, 8)
    assert logical - zeros <= manifest["data_bytes"] == manifest["stored_bytes"] < logical
    assert manifest["created_by"] == "pusher"
    assert manifest == pusher.manifest(pushed.id)
    assert len(fetch_all(pusher, pushed)) == pushed.pack.locator.row_total
    names = {f"{sha256(pushed.pack.listing_file)}.listing", f"{sha256(pushed.pack.locator_file)}.locator"}
    assert objects(server, pushed.upload_id) == {*pushed.pack.segments, *names, "manifest.json"}


def test_the_record_in_storage_can_bring_the_manifest_back(server: Server, pusher: Client, catalog_id: str) -> None:
    pushed = pusher.push(catalog_id, description="a runner", tags=["stable"], required_claims=["list_catalog_manifest"])
    folder = server.data_dir / "storage/packs" / pushed.upload_id
    record = json.loads((folder / "manifest.json").read_text())
    assert record["manifest_id"] == pushed.id
    assert record["pack"] == pushed.upload_id
    assert record["tags"] == ["stable"]
    assert json.loads(record["audience"])["claims"] == ["LIST_CATALOG_MANIFEST"]
    for name in ("catalog_id", "version", "architecture", "type", "name", "description", "digest", "chunk_size"):
        assert record[name] == pushed.manifest[name]
    assert (folder / record["listing_object"]).read_bytes() == pushed.pack.listing_file
    assert (folder / record["locator_object"]).read_bytes() == pushed.pack.locator_file


def test_a_second_version_stores_only_what_is_new(server: Server, pusher: Client, catalog_id: str) -> None:
    first = pusher.push(catalog_id, "1.0")
    second = pusher.push(catalog_id, "1.1", NEXT_FILES, first)
    old, new = set(segments_of(server, first.id)), set(segments_of(server, second.id))
    assert old & new
    assert {pack for pack, _sha256 in new - old} == {second.upload_id}
    assert sum(map(len, second.pack.segments.values())) < sum(map(len, first.pack.segments.values()))
    assert len(fetch_all(pusher, second)) == second.pack.locator.row_total
    assert pusher.manifest(first.id)["tags"] == []
    assert second.manifest["tags"] == ["latest"]


def test_latest_does_not_go_back(pusher: Client, catalog_id: str) -> None:
    newer = pusher.push(catalog_id, "1.10")
    older = pusher.push(catalog_id, "1.9")
    assert older.manifest["tags"] == []
    assert pusher.manifest(newer.id)["tags"] == ["latest"]


def test_an_empty_bundle_needs_no_segment(pusher: Client, catalog_id: str) -> None:
    pushed = pusher.push(catalog_id, files={"config.pvs": b"", "zeros": bytes(CHUNK_SIZE)})
    assert (pushed.manifest["files"], pushed.manifest["data_bytes"]) == (2, 0)
    assert good(pusher.read_urls(pushed.id, [])) == {"urls": []}


def test_a_push_with_a_grant(server: Server, pusher: Client, catalog_id: str) -> None:
    base = pusher.push(catalog_id, "1.0")
    grant = pusher.grant("push", catalog_id, "1.1")
    assert [found["id"] for found in grant["bases"]] == [base.id]
    granted = Client(server, grant["grant"])
    pushed = granted.push(catalog_id, "1.1", NEXT_FILES, base)
    assert pushed.manifest["created_by"] == "pusher"
    for part in ("listing", "locator"):
        assert granted.http.get(f"/manifests/{base.id}/{part}").status_code == 200
        error(granted.http.get(f"/manifests/{pushed.id}/{part}"), 403, "grant_scope")
    # Chunks of the base are compared with those of the bundle, to make a delta.
    assert good(granted.read_urls(base.id, segments_of(server, base.id)))["urls"]
    error(granted.read_urls(pushed.id, []), 403, "grant_scope")


def test_index_files_carry_their_digest(pusher: Client, catalog_id: str) -> None:
    pushed = pusher.push(catalog_id)
    for part, expected in (("listing", pushed.pack.listing_file), ("locator", pushed.pack.locator_file)):
        reply = pusher.http.get(f"/manifests/{pushed.id}/{part}")
        assert reply.content == expected
        assert reply.headers["content-type"] == "application/octet-stream"
        assert reply.headers["x-content-sha256"] == sha256(expected)


def test_a_damaged_index_file_is_known_by_its_digest(server: Server, pusher: Client, catalog_id: str) -> None:
    pushed = pusher.push(catalog_id)
    path = server.data_dir / f"storage/packs/{pushed.upload_id}/{sha256(pushed.pack.locator_file)}.locator"
    path.write_bytes(path.read_bytes()[:-1])
    reply = pusher.http.get(f"/manifests/{pushed.id}/locator")
    assert reply.headers["x-content-sha256"] == sha256(pushed.pack.locator_file) != sha256(reply.content)
    path.unlink()
    error(pusher.http.get(f"/manifests/{pushed.id}/locator"), 503, "unavailable")


# --- begin and resume ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"chunk_size": 3 * CHUNK_SIZE},
        {"chunk_size": 1 << 10},
        {"chunk_size": 8 << 20},
        {"version": "1.*"},
        {"version": "latest"},
        {"version": ""},
        {"catalog_id": ""},
        {"architecture": "riscv"},
        {"type": "vmdk"},
        {"name": "Runner.pvm"},
        {"name": "a/Runner.macvm"},
        {"name": "../Runner.macvm"},
        {"name": "/Runner.macvm"},
        {"name": ".."},
        {"name": ""},
        {"name": "Ru\0nner.macvm"},
        {"tags": ["no tag"]},
        {"tags": ["latest"]},
        {"tags": "stable"},
        {"required_roles": [""]},
        {"storage": "elsewhere"},
        {"bases": ["no id"]},
        {"expected_digest": "0"},
        {"minimum_requirements": {"cpu": -1}},
        {"minimum_requirements": {"gpu": 1}},
    ],
)
def test_a_begin_that_makes_no_sense(pusher: Client, catalog_id: str, fields: dict[str, t.Any]) -> None:
    body = {"catalog_id": catalog_id, "version": "1.0", **fields}
    error(pusher.begin(body.pop("catalog_id"), body.pop("version"), **body), 400, "bad_request")


def test_addresses_are_normalised(pusher: Client, catalog_id: str) -> None:
    pushed = pusher.push(catalog_id.upper(), "V1.0", architecture="aarch64")
    assert (pushed.manifest["catalog_id"], pushed.manifest["version"]) == (catalog_id, "v1.0")
    assert pushed.manifest["architecture"] == "arm64"


def test_begin_returns_the_open_upload_with_what_is_there(server: Server, pusher: Client, catalog_id: str) -> None:
    first = good(pusher.begin(catalog_id, description="old"))
    pack = make_pack(first["id"], FILES)
    left_out = next(iter(pack.segments))
    pusher.store(first["id"], pack, leave_out=[left_out])
    again = good(pusher.begin(catalog_id, description="new"))
    assert again["id"] == first["id"]
    stored = {segment["sha256"]: segment for segment in again["segments"]}
    assert stored.keys() == pack.segments.keys() - {left_out}
    for name, segment in stored.items():
        assert segment["size"] == len(pack.segments[name])
        assert pusher.anybody.get(segment["url"]).content == pack.segments[name]
    seen = good(pusher.http.get(f"/uploads/{first['id']}"))
    assert {segment["sha256"] for segment in seen["segments"]} == stored.keys()
    pusher.store(first["id"], pack, leave_out=stored)
    assert good(pusher.commit(first["id"], pack.index))["description"] == "new"


def test_segments_of_an_upload_come_in_pages(server: Server, pusher: Client, catalog_id: str) -> None:
    upload_id = good(pusher.begin(catalog_id))["id"]
    pack = make_pack(upload_id, {"disk": content(9, 7)}, segment_bytes=CHUNK_SIZE)
    pusher.store(upload_id, pack)
    found: list[str] = []
    cursor: str | None = None
    for _page in range(len(pack.segments)):
        page = good(
            pusher.http.get(f"/uploads/{upload_id}", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        )
        assert len(page["segments"]) <= 2
        found += [segment["sha256"] for segment in page["segments"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert cursor is None
    assert found == sorted(pack.segments)
    assert len(found) > 4


def test_a_page_of_segments_has_an_end(server: Server, pusher: Client, catalog_id: str) -> None:
    """However many there are, an answer is far below what clients take."""
    upload_id = good(pusher.begin(catalog_id))["id"]
    folder = server.data_dir / "storage/packs" / upload_id
    folder.mkdir(parents=True)
    for number in range(SEGMENTS_OF_A_PAGE + 1):
        (folder / f"{number:064x}").write_bytes(b"x")
    for reply in (pusher.begin(catalog_id), pusher.http.get(f"/uploads/{upload_id}", params={"limit": 10**6})):
        assert len(good(reply)["segments"]) == SEGMENTS_OF_A_PAGE
        assert len(reply.content) < 1 << 20
    rest = good(pusher.http.get(f"/uploads/{upload_id}", params={"cursor": good(reply)["next"]}))
    assert [segment["sha256"] for segment in rest["segments"]] == [f"{SEGMENTS_OF_A_PAGE:064x}"]
    assert rest["next"] is None


def test_a_push_is_not_committed_with_the_fields_of_another(
    server: Server, pusher: Client, admin: Client, catalog_id: str
) -> None:
    """One user begins the same version twice, for other people: neither becomes what the other asked for."""
    first, second = pusher, Client.of(server, "pusher")
    upload_id = good(first.begin(catalog_id, required_roles=["STAFF"]))["id"]
    pack = make_pack(upload_id, FILES)
    first.store(upload_id, pack)
    assert good(second.begin(catalog_id))["id"] == upload_id
    error(first.commit(upload_id, pack.index), 409, "upload_changed")
    assert good(admin.http.get("/manifests", params={"catalog_id": catalog_id}))["manifests"] == []
    assert good(second.commit(upload_id, pack.index))["required_roles"] == []
    # It is too late now, and the answer is still no.
    error(first.commit(upload_id, pack.index), 409, "upload_changed")


def test_a_begin_that_says_the_same_changes_nothing(server: Server, pusher: Client, catalog_id: str) -> None:
    first, second = pusher, Client.of(server, "pusher")
    fields: dict[str, t.Any] = {"tags": ["b", "a"], "required_roles": ["USER"], "description": "x"}
    upload_id = good(first.begin(catalog_id, **fields))["id"]
    pack = make_pack(upload_id, FILES)
    first.store(upload_id, pack)
    good(second.begin(catalog_id, **fields, force=True))
    good(second.begin(catalog_id, **{**fields, "tags": ["A", "b"]}))
    assert good(first.http.get(f"/uploads/{upload_id}"))["revision"] == first.revisions[upload_id]
    manifest = good(first.commit(upload_id, pack.index))
    assert good(second.commit(upload_id, pack.index)) == manifest


def test_a_begin_is_audited_when_it_changes_something(server: Server, pusher: Client, catalog_id: str) -> None:
    def count() -> int:
        with server.services.database.reading() as session:
            return session.query(AuditEntry).filter_by(action="upload.begin", subject_id=upload_id).count()

    upload_id = good(pusher.begin(catalog_id))["id"]
    assert count() == 1
    for _number in range(20):
        good(pusher.begin(catalog_id))
    assert count() == 1
    good(pusher.begin(catalog_id, description="another one"))
    good(pusher.begin(catalog_id, description="another one"))
    assert count() == 2


def test_whatever_a_begin_says_is_in_its_revision(pusher: Client, catalog_id: str) -> None:
    base = pusher.push(catalog_id, "0.9")
    changes: list[dict[str, t.Any]] = [
        {},
        {"type": "pvm", "name": "Runner.pvm"},
        {"name": "Other.macvm"},
        {"chunk_size": 2 * CHUNK_SIZE},
        {"description": "x"},
        {"tags": ["a"]},
        {"required_roles": ["USER"]},
        {"required_claims": ["LIST"]},
        {"minimum_requirements": {"cpu": 1}},
        {"bases": [base.id]},
        {"force": True},
        {"expected_digest": "0" * 64},
    ]
    assert len({good(pusher.begin(catalog_id, **fields))["revision"] for fields in changes}) == len(changes)


def test_a_commit_names_its_begin(server: Server, pusher: Client, catalog_id: str) -> None:
    upload_id = good(pusher.begin(catalog_id))["id"]
    pack = make_pack(upload_id, FILES)
    pusher.store(upload_id, pack)
    error(pusher.http.post(f"/uploads/{upload_id}/commit", content=pack.index), 400, "bad_request")
    error(pusher.commit(upload_id, pack.index, NO_REVISION), 409, "upload_changed")
    good(pusher.commit(upload_id, pack.index))


def test_what_lies_beside_the_segments_is_none(server: Server, pusher: Client, catalog_id: str) -> None:
    upload_id = good(pusher.begin(catalog_id))["id"]
    pack = make_pack(upload_id, FILES)
    pusher.store(upload_id, pack)
    folder = server.data_dir / "storage/packs" / upload_id
    (folder / ".incoming-left").write_bytes(b"half")
    (folder / "manifest.json").write_bytes(b"{}")
    assert len(good(pusher.begin(catalog_id))["segments"]) == len(pack.segments)


def test_each_address_and_user_has_an_upload_of_its_own(pusher: Client, staff: Client, catalog_id: str) -> None:
    ids = [
        good(pusher.begin(catalog_id))["id"],
        good(pusher.begin(catalog_id, "2.0"))["id"],
        good(pusher.begin(catalog_id, architecture="x86_64"))["id"],
        good(staff.begin(catalog_id))["id"],
    ]
    assert len(set(ids)) == 4
    for method, path in (("GET", ""), ("POST", "/urls"), ("POST", "/commit"), ("DELETE", "")):
        body: dict[str, t.Any] = {"json": {"segments": []}} if path == "/urls" else {"content": b""} if path else {}
        if path == "/commit":
            body["params"] = {"revision": NO_REVISION}
        reply = staff.http.request(method, f"/uploads/{ids[0]}{path}", **body)
        message = error(reply, 404, "unknown_upload")
        unknown = "0" * 32
        reply = staff.http.request(method, f"/uploads/{unknown}{path}", **body)
        assert error(reply, 404, "unknown_upload") == message.replace(ids[0], unknown)


def test_two_begins_at_once_get_the_same_upload(server: Server, catalog_id: str) -> None:
    found: list[str] = []
    together = threading.Barrier(4)

    def begin() -> None:
        client = Client.of(server, "pusher")
        together.wait(10)
        found.append(good(client.begin(catalog_id))["id"])

    threads = [threading.Thread(target=begin) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_two_pushers_of_one_version_and_one_wins(
    server: Server, pusher: Client, staff: Client, catalog_id: str
) -> None:
    uploads = []
    for client, seed in ((pusher, 10), (staff, 11)):
        upload_id = good(client.begin(catalog_id))["id"]
        pack = make_pack(upload_id, {"a": content(seed)})
        client.store(upload_id, pack)
        uploads.append((client, upload_id, pack))
    statuses = []
    together = threading.Barrier(2)

    def commit(client: Client, upload_id: str, index: bytes) -> None:
        together.wait(10)
        reply = client.commit(upload_id, index)
        while reply.status_code == 503:
            reply = client.commit(upload_id, index)
        statuses.append(reply.status_code)

    threads = [threading.Thread(target=commit, args=(client, name, pack.index)) for client, name, pack in uploads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 409]
    assert len(good(pusher.http.get("/manifests", params={"catalog_id": catalog_id}))["manifests"]) == 1


def test_a_reader_cannot_push(server: Server, catalog_id: str) -> None:
    message = error(Client.of(server, "reader").begin(catalog_id), 403, "forbidden")
    assert "PUSH_CATALOG_MANIFEST" in message


def test_nobody_pushes_without_credentials(server: Server, catalog_id: str) -> None:
    error(server.call("POST", "/uploads", json=address(catalog_id)), 401, "unauthenticated")
    path = f"/uploads/{'0' * 32}/commit?revision={NO_REVISION}"
    error(server.call("POST", path, content=b""), 401, "unauthenticated")
    for part in ("listing", "locator"):
        error(server.call("GET", f"/manifests/{'0' * 64}/{part}"), 401, "unauthenticated")


def test_a_push_grant_opens_one_push(server: Server, pusher: Client, catalog_id: str) -> None:
    base = pusher.push(catalog_id, "0.9")
    grant = pusher.granted(server, "push", catalog_id, architecture="arm64", bases=[])
    other_id = good(pusher.begin(catalog_id, "2.0"))["id"]
    error(grant.begin(catalog_id, "2.0"), 403, "grant_scope")
    error(grant.begin(new_catalog_id()), 403, "grant_scope")
    error(grant.begin(catalog_id, architecture="x86_64"), 403, "grant_scope")
    error(grant.begin(catalog_id, bases=[base.id]), 403, "grant_scope")
    error(grant.http.get(f"/uploads/{other_id}"), 403, "grant_scope")
    error(grant.store_urls(other_id, {}), 403, "grant_scope")
    error(grant.commit(other_id, b""), 403, "grant_scope")
    error(grant.http.delete(f"/uploads/{other_id}"), 403, "grant_scope")
    error(grant.http.get(f"/manifests/{base.id}/listing"), 403, "grant_scope")
    good(grant.begin(catalog_id))


def test_a_pull_grant_pushes_nothing(server: Server, pusher: Client, catalog_id: str) -> None:
    pusher.push(catalog_id)
    grant = pusher.granted(server, "pull", catalog_id)
    upload_id = good(pusher.begin(catalog_id, "2.0"))["id"]
    error(grant.begin(catalog_id), 403, "grant_scope")
    error(grant.http.get(f"/uploads/{upload_id}"), 403, "grant_scope")
    error(grant.store_urls(upload_id, {}), 403, "grant_scope")
    error(grant.commit(upload_id, b""), 403, "grant_scope")


# --- URLs to store ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "segment",
    [
        {"sha256": "0" * 64, "size": 0},
        {"sha256": "0" * 64, "size": (64 << 20) + 1},
        {"sha256": "0" * 64, "size": -1},
        {"sha256": "0" * 63, "size": 1},
        {"sha256": "F" * 64, "size": 1},
        {"sha256": "../" + "0" * 61, "size": 1},
        {"sha256": "0" * 64 + "\n", "size": 1},
        {"size": 1},
    ],
)
def test_only_segments_get_urls(pusher: Client, catalog_id: str, segment: dict[str, t.Any]) -> None:
    upload_id = good(pusher.begin(catalog_id))["id"]
    error(pusher.http.post(f"/uploads/{upload_id}/urls", json={"segments": [segment]}), 400, "bad_request")


def test_not_too_many_urls_at_once(pusher: Client, catalog_id: str) -> None:
    upload_id = good(pusher.begin(catalog_id))["id"]
    assert len(good(pusher.store_urls(upload_id, {f"{number:064x}": 5 for number in range(64)}))["urls"]) == 64
    error(pusher.store_urls(upload_id, {f"{number:064x}": 5 for number in range(65)}), 400, "bad_request")
    wanted = [("0" * 32, "0" * 64)] * 501
    error(pusher.read_urls("0" * 64, wanted), 400, "bad_request")


# --- the end of an upload --------------------------------------------------------------------------------


def test_an_abort_leaves_nothing(server: Server, pusher: Client, catalog_id: str) -> None:
    upload_id = good(pusher.begin(catalog_id))["id"]
    pack = make_pack(upload_id, FILES)
    pusher.store(upload_id, pack)
    for _twice in range(2):
        assert pusher.http.delete(f"/uploads/{upload_id}").status_code == 204
        assert not (server.data_dir / "storage/packs" / upload_id).exists()
    error(pusher.http.get(f"/uploads/{upload_id}"), 409, "upload_closed")
    error(pusher.store_urls(upload_id, {}), 409, "upload_closed")
    error(pusher.commit(upload_id, pack.index), 409, "upload_closed")
    assert good(pusher.begin(catalog_id))["id"] != upload_id


def test_a_committed_upload_is_closed(server: Server, pusher: Client, catalog_id: str) -> None:
    pushed = pusher.push(catalog_id)
    there = objects(server, pushed.upload_id)
    error(pusher.store_urls(pushed.upload_id, {"0" * 64: 5}), 409, "upload_closed")
    error(pusher.http.get(f"/uploads/{pushed.upload_id}"), 409, "upload_closed")
    error(pusher.http.delete(f"/uploads/{pushed.upload_id}"), 409, "upload_closed")
    other = make_pack(pushed.upload_id, NEXT_FILES)
    error(pusher.commit(pushed.upload_id, other.index), 409, "upload_closed")
    assert objects(server, pushed.upload_id) == there


def test_a_commit_whose_answer_was_lost_is_answered_again(pusher: Client, catalog_id: str) -> None:
    pushed = pusher.push(catalog_id)
    assert good(pusher.commit(pushed.upload_id, pushed.pack.index)) == pushed.manifest
    pusher.push(catalog_id, "2.0", NEXT_FILES)
    assert good(pusher.commit(pushed.upload_id, pushed.pack.index))["id"] == pushed.id


def expire(server: Server, upload_id: str) -> None:
    """Let the time of an upload be over."""
    with command_work(server.services) as work:
        work.session.get_one(Upload, upload_id).expires_at = work.now


def test_an_upload_lives_two_days(pusher: Client, catalog_id: str) -> None:
    assert abs(good(pusher.begin(catalog_id))["expires_at"] - time.time() - 48 * 3600) < 60


def test_an_upload_expires(server: Server, pusher: Client, catalog_id: str) -> None:
    upload_id = good(pusher.begin(catalog_id))["id"]
    pack = make_pack(upload_id, FILES)
    pusher.store(upload_id, pack)
    assert objects(server, upload_id)
    expire(server, upload_id)
    error(pusher.http.get(f"/uploads/{upload_id}"), 410, "upload_expired")
    error(pusher.store_urls(upload_id, {}), 410, "upload_expired")
    error(pusher.commit(upload_id, pack.index), 410, "upload_expired")
    assert good(pusher.begin(catalog_id))["id"] != upload_id
    assert objects(server, upload_id) == set()
    error(pusher.commit(upload_id, pack.index), 409, "upload_closed")


def test_an_expired_upload_can_be_aborted(server: Server, pusher: Client, catalog_id: str) -> None:
    upload_id = good(pusher.begin(catalog_id))["id"]
    pusher.store(upload_id, make_pack(upload_id, FILES))
    expire(server, upload_id)
    assert pusher.http.delete(f"/uploads/{upload_id}").status_code == 204
    assert objects(server, upload_id) == set()


def test_killed_between_objects_and_commit(start_server: StartServer, catalog_id: str) -> None:
    server = start_server()
    pusher = Client.of(server, "pusher")
    upload_id = good(pusher.begin(catalog_id))["id"]
    pack = make_pack(upload_id, FILES)
    pusher.store(upload_id, pack)
    server.process.kill()
    server.process.wait()
    server.restart()
    pusher = Client.of(server, "pusher")
    assert good(pusher.http.get("/manifests", params={"catalog_id": catalog_id}))["manifests"] == []
    again = good(pusher.begin(catalog_id))
    assert again["id"] == upload_id
    assert {segment["sha256"] for segment in again["segments"]} == pack.segments.keys()
    manifest = good(pusher.commit(upload_id, pack.index))
    server.process.kill()
    server.process.wait()
    server.restart()
    pusher = Client.of(server, "pusher")
    assert pusher.manifest(manifest["id"]) == manifest
    assert good(pusher.commit(upload_id, pack.index, again["revision"])) == manifest


# --- the same version again ------------------------------------------------------------------------------


def test_the_same_content_again_is_the_same_manifest(server: Server, pusher: Client, catalog_id: str) -> None:
    pushed = pusher.push(catalog_id, description="first")
    upload_id = good(pusher.begin(catalog_id, description="second"))["id"]
    pack = make_pack(upload_id, FILES)
    pusher.store(upload_id, pack)
    assert good(pusher.commit(upload_id, pack.index)) == pushed.manifest
    assert objects(server, upload_id) == set()
    assert good(pusher.commit(upload_id, pack.index)) == pushed.manifest
    assert len(fetch_all(pusher, pushed)) == pushed.pack.locator.row_total


def test_the_same_content_for_other_people_is_not_the_same(
    server: Server, pusher: Client, admin: Client, catalog_id: str
) -> None:
    pushed = pusher.push(catalog_id)
    upload_id = good(pusher.begin(catalog_id, required_roles=["USER"]))["id"]
    pack = make_pack(upload_id, FILES)
    pusher.store(upload_id, pack)
    assert "other roles" in error(pusher.commit(upload_id, pack.index), 409, "version_exists")
    assert pusher.manifest(pushed.id) == pushed.manifest
    # What a push does not say stays as it is.
    good(pusher.begin(catalog_id))
    committed = good(pusher.commit(upload_id, pack.index))
    assert committed == pushed.manifest
    # A commit whose answer was lost is answered, whatever has been edited since.
    good(admin.http.patch(f"/manifests/{pushed.id}", json={"required_roles": ["USER"]}))
    assert good(pusher.commit(upload_id, pack.index))["required_roles"] == ["USER"]


def test_other_content_is_no_same_version(server: Server, pusher: Client, catalog_id: str) -> None:
    pushed = pusher.push(catalog_id)
    upload_id = good(pusher.begin(catalog_id))["id"]
    pack = make_pack(upload_id, NEXT_FILES)
    pusher.store(upload_id, pack)
    error(pusher.commit(upload_id, pack.index), 409, "version_exists")
    assert pusher.manifest(pushed.id) == pushed.manifest
    error(pusher.begin(catalog_id, expected_digest=pack.digest), 409, "version_exists")
    assert good(pusher.begin(catalog_id, expected_digest=pushed.pack.digest))["id"] == upload_id


def test_force_replaces_the_content(server: Server, pusher: Client, catalog_id: str) -> None:
    old = pusher.push(catalog_id, description="old", tags=["stable"], required_roles=["USER"])
    kept = pusher.push(catalog_id, "2.0", {"config.pvs": FILES["config.pvs"]}, old, required_roles=["USER"])
    shared = set(segments_of(server, kept.id))
    assert shared
    new = pusher.push(catalog_id, "1.0", NEXT_FILES, force=True, tags=["new"], minimum_requirements={"cpu": 2})
    assert new.id == old.id
    assert new.manifest["digest"] == new.pack.digest != old.pack.digest
    # What the push did not say has stayed; a tag is added, and "latest" is with the higher version.
    assert (new.manifest["description"], new.manifest["tags"]) == ("old", ["new", "stable"])
    assert new.manifest["required_roles"] == ["USER"]
    assert new.manifest["minimum_requirements"]["cpu"] == 2
    assert new.manifest["created_at"] == old.manifest["created_at"]
    assert moment(new.manifest["updated_at"]) > moment(old.manifest["updated_at"])
    assert len(fetch_all(pusher, new)) == new.pack.locator.row_total
    # Of the old segments those are kept that another version uses.
    assert kept_segments(server, old.upload_id) == {name for _pack, name in shared}
    assert len(fetch_all(pusher, kept)) == kept.pack.locator.row_total


def test_force_on_top_of_itself(server: Server, pusher: Client, catalog_id: str) -> None:
    old = pusher.push(catalog_id)
    new = pusher.push(catalog_id, "1.0", NEXT_FILES, old, force=True)
    assert new.id == old.id
    assert {pack for pack, _name in segments_of(server, new.id)} == {old.upload_id, new.upload_id}
    assert len(fetch_all(pusher, new)) == new.pack.locator.row_total
    again = pusher.push(catalog_id, "1.0", NEXT_FILES, force=True)
    assert again.manifest == new.manifest


def test_force_does_not_bring_back_what_is_revoked(pusher: Client, admin: Client, catalog_id: str) -> None:
    pushed = pusher.push(catalog_id)
    upload_id = good(pusher.begin(catalog_id, force=True))["id"]
    pack = make_pack(upload_id, NEXT_FILES)
    pusher.store(upload_id, pack)
    good(admin.http.post(f"/manifests/{pushed.id}/revoke"))
    error(pusher.commit(upload_id, pack.index), 409, "revoked")
    error(pusher.begin(catalog_id, force=True), 409, "revoked")


def test_a_taint_survives_a_replacement(pusher: Client, admin: Client, catalog_id: str) -> None:
    pushed = pusher.push(catalog_id)
    good(admin.http.post(f"/manifests/{pushed.id}/taint"))
    assert pusher.push(catalog_id, files=NEXT_FILES, force=True).manifest["tainted"] is True


def test_what_cannot_be_seen_cannot_be_replaced(pusher: Client, staff: Client, catalog_id: str) -> None:
    hidden = staff.push(catalog_id, required_roles=["STAFF"])
    for force in (False, True):
        error(pusher.begin(catalog_id, force=force), 403, "catalog_id_denied")
        error(pusher.begin(catalog_id, force=force, expected_digest=hidden.pack.digest), 403, "catalog_id_denied")
    assert staff.manifest(hidden.id) == hidden.manifest


# --- what a puller gets ----------------------------------------------------------------------------------


def test_urls_only_of_segments_that_the_manifest_uses(server: Server, pusher: Client, catalog_id: str) -> None:
    first = pusher.push(catalog_id)
    other = pusher.push(new_catalog_id(), files=NEXT_FILES)
    (own, *_rest), (foreign, *_others) = segments_of(server, first.id), segments_of(server, other.id)
    texts = {
        error(pusher.read_urls(first.id, [own, wanted]), 404, "unknown_segment")
        for wanted in (foreign, ("0" * 32, "0" * 64), (own[0], foreign[1]), (foreign[0], own[1]))
    }
    assert len(texts) == 1
    assert len(good(pusher.read_urls(first.id, [own, own]))["urls"]) == 2


def wait_for_downloads(client: Client, manifest_id: str, count: int) -> None:
    """They are counted behind the answer."""
    wait_until(lambda: client.manifest(manifest_id)["download_count"] >= count)


def test_a_pull_is_counted_once_for_a_grant(server: Server, pusher: Client, catalog_id: str) -> None:
    pushed = pusher.push(catalog_id)
    names = segments_of(server, pushed.id)
    good(pusher.read_urls(pushed.id, names))
    assert pusher.manifest(pushed.id)["download_count"] == 0
    reader = Client.of(server, "reader")
    for count in (1, 2):
        grant = reader.granted(server, "pull", catalog_id)
        for _page in range(2):
            good(grant.read_urls(pushed.id, names))
        wait_for_downloads(pusher, pushed.id, count)
        seen = pusher.manifest(pushed.id)
        assert (seen["download_count"], seen["last_downloaded_user"]) == (count, "reader")
        assert seen["last_downloaded_at"]


def test_a_pull_grant_opens_one_manifest(server: Server, pusher: Client, catalog_id: str) -> None:
    pushed, other = pusher.push(catalog_id), pusher.push(catalog_id, "2.0", NEXT_FILES)
    grant = pusher.granted(server, "pull", catalog_id)
    good(grant.read_urls(pushed.id, segments_of(server, pushed.id)))
    for part in ("listing", "locator"):
        assert grant.http.get(f"/manifests/{pushed.id}/{part}").status_code == 200
        error(grant.http.get(f"/manifests/{other.id}/{part}"), 403, "grant_scope")
    error(grant.read_urls(other.id, segments_of(server, other.id)), 403, "grant_scope")


@pytest.mark.parametrize(("verb", "word"), [("taint", "tainted"), ("revoke", "revoked")])
def test_a_blocked_manifest_is_not_pulled(
    server: Server, pusher: Client, admin: Client, catalog_id: str, verb: str, word: str
) -> None:
    pushed = pusher.push(catalog_id)
    grant = pusher.granted(server, "pull", catalog_id)
    good(admin.http.post(f"/manifests/{pushed.id}/{verb}"))
    for caller in (grant, pusher, admin):
        error(caller.read_urls(pushed.id, segments_of(server, pushed.id)), 409, word)
    for part in ("listing", "locator"):
        error(grant.http.get(f"/manifests/{pushed.id}/{part}"), 409, word)
        assert pusher.http.get(f"/manifests/{pushed.id}/{part}").status_code == 200


def test_what_cannot_be_seen_is_not_pulled(server: Server, pusher: Client, staff: Client, catalog_id: str) -> None:
    hidden = staff.push(catalog_id, required_roles=["STAFF"])
    unknown = "0" * 64
    for path in ("listing", "locator"):
        texts = [
            error(pusher.http.get(f"/manifests/{name}/{path}"), 404, "unknown_manifest").replace(name, "")
            for name in (hidden.id, unknown)
        ]
        assert texts[0] == texts[1]
    texts = [
        error(pusher.read_urls(name, segments_of(server, hidden.id)), 404, "unknown_manifest").replace(name, "")
        for name in (hidden.id, unknown)
    ]
    assert texts[0] == texts[1]


def test_a_user_without_claims_reads_nothing(server: Server, pusher: Client, catalog_id: str) -> None:
    pushed = pusher.push(catalog_id)
    nobody = Client.of(server, "nobody")
    error(nobody.http.get(f"/manifests/{pushed.id}/listing"), 403, "forbidden")
    error(nobody.read_urls(pushed.id, []), 403, "forbidden")


# --- audiences -------------------------------------------------------------------------------------------


def test_segments_carry_the_audience_of_their_manifest(server: Server, staff: Client, catalog_id: str) -> None:
    pushed = staff.push(catalog_id, required_roles=["staff"], required_claims=["secret images"])
    texts = set(audiences_of(server, segments_of(server, pushed.id)))
    assert texts == {'{"claims":["SECRET_IMAGES"],"roles":["STAFF"]}'}


def test_who_pushes_and_commits_is_in_the_audit_log(server: Server, pusher: Client, catalog_id: str) -> None:
    pushed = pusher.push(catalog_id)
    with server.services.database.reading() as session:
        rows = session.query(AuditEntry).filter(AuditEntry.subject_id.in_([pushed.id, pushed.upload_id])).all()
    assert [(row.action, row.actor) for row in rows] == [("upload.begin", "pusher"), ("manifest.push", "pusher")]
    assert rows[1].details["digest"] == pushed.pack.digest
