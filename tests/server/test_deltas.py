# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deltas on the server: what a commit accepts, who gets them, and what ends them."""

from __future__ import annotations

import dataclasses
import sqlite3
import typing as t
from array import array

import delta_packs
import pytest
import sqlalchemy
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.chunks import MIN_CHUNK_SIZE
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta_file import decode_delta, encode_delta
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta_make import StoredPatches, make_delta
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    FILE,
    Entry,
    Locator,
    PatchesRef,
    chunk_rows,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import make_listing, numbered
from catalog_server.catalog import deltas
from catalog_server.models.audit import AuditEntry
from catalog_server.models.catalog import CatalogId, SegmentedContent
from catalog_server.models.transfers import Delta
from delta_packs import Updated, begin_update, commit, leading, read, update
from freeing import age
from packs import HandMade, content, sha256
from rows import new_catalog_id
from running import Server, command, command_work, wait_until
from transfer_client import FILES, Client, error, good, objects

# What a bundle of the default chunk size has at most.
CHUNKS_OF_LARGEST = 2_097_152


@pytest.fixture(name="pusher")
def pusher_fixture(server: Server) -> Client:
    return Client.of(server, "pusher")


@pytest.fixture(name="updated")
def updated_fixture(pusher: Client) -> Updated:
    """A second version with a delta from the first one."""
    catalog_id = new_catalog_id()
    return update(pusher, catalog_id, "1.1", pusher.push(catalog_id))


def names(updated: Updated) -> set[str]:
    """The objects of a delta."""
    return {f"{updated.made.sha256}.delta", *(f"{name}.patches" for name in updated.made.objects)}


def gc(server: Server, *words: str) -> str:
    """Collect at the command line; return what it printed."""
    done = command(server.data_dir, "gc", *words, settings=server.settings)
    assert done.returncode == 0, done.stderr
    return done.stdout


def base_of(client: Client, updated: Updated) -> str:
    """Id of the first version."""
    found = good(client.http.get("/manifests", params={"catalog_id": updated.pushed.manifest["catalog_id"]}))
    return next(str(item["id"]) for item in found["manifests"] if item["version"] == "1.0")


def test_a_delta_is_told_and_read_with_its_patches(pusher: Client, updated: Updated) -> None:
    (told,) = leading(pusher, updated.id)
    assert told["digest"] == updated.pushed.pack.digest and told["base_digest"] == updated.made.delta.base
    assert told["size"] == len(updated.made.file) and told["sha256"] == updated.made.sha256
    assert told["patch_bytes"] == updated.made.delta.patches.stored_bytes > 0
    assert told["chunk_bytes"] == updated.made.delta.rows.stored_bytes
    asked = good(read(pusher, updated.id, "deltas", told["pack"], told["sha256"]))["urls"]
    file = pusher.anybody.get(asked[0]["url"]).content
    assert file == updated.made.file and decode_delta(file, told["pack"]) == updated.made.delta
    for name, data in updated.made.objects.items():
        (made,) = good(read(pusher, updated.id, "patches", told["pack"], name))["urls"]
        assert made["sha256"] == name
        reply = pusher.anybody.get(made["url"], headers={"Range": "bytes=0-7"})
        assert reply.status_code == 206 and reply.content == data[:8] == b"MFPTCH1\n"
    index = good(pusher.http.get(f"/manifests/{updated.id}/deltas"))["index_bytes"]
    assert index == len(updated.pushed.pack.listing_file) + len(updated.pushed.pack.locator_file)


def test_deltas_to_versions_of_the_same_content_are_kept_apart(pusher: Client) -> None:
    """Their rows are those of different packs, and the segments of another version are refused."""
    catalog_id = new_catalog_id()
    first = pusher.push(catalog_id)
    same = [update(pusher, catalog_id, version, first) for version in ("1.1", "1.2")]
    assert same[0].pushed.pack.digest == same[1].pushed.pack.digest
    for one in same:
        (told,) = leading(pusher, one.id)
        assert told["pack"] == one.pushed.upload_id
    last = update(pusher, catalog_id, "1.3", same[0].pushed, same[0].files, blocks=(2,))
    assert [told["pack"] for told in leading(pusher, last.id)] == [last.pushed.upload_id, same[0].pushed.upload_id]


def test_a_grant_to_pull_reads_deltas(server: Server, pusher: Client, updated: Updated) -> None:
    manifest = updated.pushed.manifest
    host = pusher.granted(server, "pull", manifest["catalog_id"], "1.1")
    (told,) = leading(host, updated.id)
    good(read(host, updated.id, "deltas", told["pack"], told["sha256"]))
    other = pusher.granted(server, "pull", manifest["catalog_id"], "1.0")
    error(other.http.get(f"/manifests/{updated.id}/deltas"), 403, "grant_scope")


def test_who_only_looks_at_what_a_pull_would_do_has_not_pulled(
    server: Server, pusher: Client, updated: Updated
) -> None:
    """Check mode reads deltas as it reads an index; patches are content."""
    catalog_id = updated.pushed.manifest["catalog_id"]
    looking, pulling = (pusher.grant("pull", catalog_id, "1.1") for _number in range(2))
    host = Client(server, looking["grant"])
    (told,) = leading(host, updated.id)
    good(read(host, updated.id, "deltas", told["pack"], told["sha256"]))
    (name,) = updated.made.objects
    good(read(Client(server, pulling["grant"]), updated.id, "patches", told["pack"], name))

    def grants() -> list[str]:
        with server.services.database.reading() as session:
            wanted = AuditEntry.action == "manifest.read_urls", AuditEntry.subject_id == updated.id
            return [entry.details["grant"] for entry in session.scalars(sqlalchemy.select(AuditEntry).where(*wanted))]

    wait_until(lambda: pulling["id"] in grants())
    assert grants() == [pulling["id"]]
    assert pusher.manifest(updated.id)["download_count"] == 1


def test_deltas_are_told_one_after_another(pusher: Client) -> None:
    catalog_id = new_catalog_id()
    first = pusher.push(catalog_id)
    second = update(pusher, catalog_id, "1.1", first)
    third = update(pusher, catalog_id, "1.2", second.pushed, second.files, blocks=(2, 33))
    assert [told["digest"] for told in leading(pusher, third.id)] == [
        third.pushed.pack.digest,
        second.pushed.pack.digest,
    ]
    assert len(leading(pusher, second.id)) == 1 and leading(pusher, first.id) == []
    # What leads to an earlier version is read for the newest one.
    good(read(pusher, third.id, "deltas", second.pushed.upload_id, second.made.sha256))
    (name,) = second.made.objects
    good(read(pusher, third.id, "patches", second.pushed.upload_id, name))
    error(read(pusher, second.id, "deltas", third.pushed.upload_id, third.made.sha256), 404, "unknown_segment")


@pytest.mark.parametrize("how", ["taint", "revoke"])
def test_no_delta_leads_to_what_may_not_be_pulled_and_one_may_start_from_it(
    how: str, server: Server, pusher: Client
) -> None:
    catalog_id = new_catalog_id()
    first = pusher.push(catalog_id)
    second = update(pusher, catalog_id, "1.1", first)
    third = update(pusher, catalog_id, "1.2", second.pushed, second.files, blocks=(2, 33))
    good(Client.of(server, "admin").http.post(f"/manifests/{second.id}/{how}", json={}))
    assert [told["base_digest"] for told in leading(pusher, third.id)] == [second.pushed.pack.digest]
    error(pusher.http.get(f"/manifests/{second.id}/deltas"), 409, "tainted" if how == "taint" else "revoked")


def test_a_base_that_is_deleted_is_still_one_of_hosts(server: Server, pusher: Client, updated: Updated) -> None:
    good(Client.of(server, "admin").http.delete(f"/manifests/{base_of(pusher, updated)}"))
    assert len(leading(pusher, updated.id)) == 1


# What a commit refuses


Spoil = t.Callable[[delta_packs.HandMadeDelta], bytes]


def _with(part: str, **changes: t.Any) -> Spoil:
    def spoil(made: delta_packs.HandMadeDelta) -> bytes:
        delta = made.delta
        values = {name: change(delta) for name, change in changes.items()}
        return encode_delta(dataclasses.replace(delta, **{part: dataclasses.replace(getattr(delta, part), **values)}))

    return spoil


def _moved(column: array[int]) -> array[int]:
    return array("I", [column[0] + 1, *column[1:]])


REFUSED: dict[str, tuple[Spoil, int, str]] = {
    "no delta": (lambda made: b"MFDELT1\n", 400, "invalid_index"),
    "another target": (
        lambda made: encode_delta(dataclasses.replace(made.delta, digest="1" * 64)),
        400,
        "invalid_index",
    ),
    "an unknown base": (
        lambda made: encode_delta(dataclasses.replace(made.delta, base="1" * 64)),
        404,
        "unknown_segment",
    ),
    "another id": (
        lambda made: encode_delta(dataclasses.replace(made.delta, chunk_ids=b"\1" * 32 + made.delta.chunk_ids[32:])),
        400,
        "invalid_index",
    ),
    "a chunk elsewhere": (_with("rows", offsets=lambda delta: _moved(delta.rows.offsets)), 400, "invalid_index"),
    "patches that are not there": (
        _with("patches", objects=lambda delta: (PatchesRef("", "2" * 64, delta.patches.objects[0].size),)),
        409,
        "missing_segment",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_delta_that_does_not_lead_there_is_refused(fault: str, server: Server, pusher: Client) -> None:
    catalog_id = new_catalog_id()
    base = pusher.push(catalog_id)
    upload_id, pack, _files, made = begin_update(pusher, catalog_id, "1.1", base, FILES)
    spoil, status, word = REFUSED[fault]
    error(commit(pusher, upload_id, pack, spoil(made)), status, word)
    # The upload is open as before, and the right delta is accepted.
    good(commit(pusher, upload_id, pack, made.file))
    assert {name for name in objects(server, upload_id) if name.endswith((".delta", ".patches"))} == {
        f"{made.sha256}.delta",
        *(f"{name}.patches" for name in made.objects),
    }


def test_a_large_disk_that_is_mostly_holes_may_have_a_delta(server: Server, pusher: Client) -> None:
    """Its base was accepted, so what that takes in memory is no reason to refuse what starts from it."""
    catalog_id = new_catalog_id()
    base = pusher.push(catalog_id)
    upload_id, pack, _files, made = begin_update(pusher, catalog_id, "1.1", base, FILES)
    with command_work(server.services) as work:
        work.session.get_one(SegmentedContent, base.id).chunks = 2 << 20
    good(commit(pusher, upload_id, pack, made.file))


def test_one_base_has_one_delta(pusher: Client) -> None:
    catalog_id = new_catalog_id()
    upload_id, pack, _files, made = begin_update(pusher, catalog_id, "1.1", pusher.push(catalog_id), FILES)
    said = error(commit(pusher, upload_id, pack, made.file, made.file), 400, "invalid_index")
    assert "Two deltas" in said


def test_a_version_that_was_not_named_at_begin_is_no_base(pusher: Client) -> None:
    catalog_id = new_catalog_id()
    base, other = pusher.push(catalog_id), pusher.push(catalog_id, "0.9", {"config.pvs": content(7, 1)})
    upload_id, pack, _files, made = begin_update(pusher, catalog_id, "1.1", base, FILES)
    made_from_other = delta_packs.make(
        upload_id, other.pack, {"config.pvs": content(7, 1)}, pack, delta_packs.written(FILES, 1, 17)
    )
    error(commit(pusher, upload_id, pack, made_from_other.file), 404, "unknown_segment")
    good(commit(pusher, upload_id, pack, made.file))


def test_a_base_that_is_replaced_during_a_push_starts_no_delta(pusher: Client) -> None:
    """What the push refers to of the old content is leased, so without the delta it is accepted."""
    catalog_id = new_catalog_id()
    base = pusher.push(catalog_id)
    upload_id, pack, _files, made = begin_update(pusher, catalog_id, "1.1", base, FILES)
    pusher.push(catalog_id, "1.0", {"config.pvs": content(8, 1)}, force=True)
    error(commit(pusher, upload_id, pack, made.file), 404, "unknown_segment")
    good(commit(pusher, upload_id, pack))


def test_patches_that_no_delta_names_go_with_the_commit(server: Server, pusher: Client) -> None:
    catalog_id = new_catalog_id()
    upload_id, pack, _files, made = begin_update(pusher, catalog_id, "1.1", pusher.push(catalog_id), FILES)
    delta_packs.store_patches(pusher, upload_id, {sha256(b"unused"): b"unused"})
    good(commit(pusher, upload_id, pack))
    assert not [name for name in objects(server, upload_id) if name.endswith((".delta", ".patches"))]
    assert made.objects


def test_an_aborted_upload_leaves_no_patches(server: Server, pusher: Client) -> None:
    catalog_id = new_catalog_id()
    upload_id, _pack, _files, _made = begin_update(pusher, catalog_id, "1.1", pusher.push(catalog_id), FILES)
    good(pusher.http.delete(f"/uploads/{upload_id}"))
    assert objects(server, upload_id) == set()


# What ends a delta


@pytest.mark.parametrize("which", ["version", "base"])
def test_a_change_of_who_may_see_either_drops_a_delta(which: str, server: Server, updated: Updated) -> None:
    admin = Client.of(server, "admin")
    manifest_id = updated.id if which == "version" else base_of(admin, updated)
    good(admin.http.patch(f"/manifests/{manifest_id}", json={"required_roles": ["PUBLISHER"]}))
    assert leading(admin, updated.id) == []
    error(read(admin, updated.id, "deltas", updated.pushed.upload_id, updated.made.sha256), 404, "unknown_segment")
    _collected(server, updated)


def test_what_is_replaced_has_no_deltas(server: Server, pusher: Client, updated: Updated) -> None:
    catalog_id = updated.pushed.manifest["catalog_id"]
    pusher.push(catalog_id, "1.1", {"config.pvs": content(8, 1)}, force=True)
    assert leading(pusher, updated.id) == []
    _collected(server, updated)


def test_a_base_that_is_replaced_for_others_has_no_deltas(server: Server, pusher: Client, updated: Updated) -> None:
    """A delta is handed out as long as both have the audience of the commit, however that of the base has changed."""
    catalog_id = updated.pushed.manifest["catalog_id"]
    files = {"config.pvs": content(8, 1)}
    pusher.push(catalog_id, "1.0", files, force=True)
    assert len(leading(pusher, updated.id)) == 1
    admin = Client.of(server, "admin")
    admin.push(catalog_id, "1.0", {"config.pvs": content(9, 1)}, force=True, required_roles=["PUBLISHER"])
    assert leading(pusher, updated.id) == []
    _collected(server, updated)


def test_old_deltas_are_dropped_by_a_command(server: Server, pusher: Client, updated: Updated) -> None:
    assert "0 deltas are dropped" in gc(server, "--drop-deltas", "1")
    assert len(leading(pusher, updated.id)) == 1
    assert "deltas are dropped" in gc(server, "--drop-deltas", "0")
    assert leading(pusher, updated.id) == []
    _collected(server, updated)
    # Nothing else is lost.
    for segment in updated.pushed.pack.locator.segments:
        good(pusher.read_urls(updated.id, [(segment.pack, segment.sha256)]))


def test_more_deltas_are_dropped_than_a_statement_has_parameters(
    server: Server, pusher: Client, updated: Updated
) -> None:
    with command_work(server.services) as work:
        one = work.session.get_one(Delta, (updated.pushed.upload_id, updated.made.sha256))
        columns = {column.key: getattr(one, column.key) for column in sqlalchemy.inspect(Delta).columns}
        rows = [{**columns, "sha256": sha256(b"%d" % number)} for number in range(17_000)]
        work.session.execute(sqlalchemy.insert(Delta), rows)
    assert len(leading(pusher, updated.id)) == 200
    with command_work(server.services) as work:
        driver = work.session.connection().connection.driver_connection
        if isinstance(driver, sqlite3.Connection):
            # That of most builds. PostgreSQL has 65535.
            driver.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 32_766)
        assert deltas.drop_of(work, updated.id) == len(rows) + 1
    assert leading(pusher, updated.id) == []
    _collected(server, updated)


def _collected(server: Server, updated: Updated) -> None:
    """The objects of a delta stay while signed URLs may open them, and are then removed."""
    upload_id = updated.pushed.upload_id
    gc(server)
    assert names(updated) <= objects(server, upload_id)
    age(server)
    gc(server)
    assert not names(updated) & objects(server, upload_id)


def test_a_quota_counts_deltas(server: Server, pusher: Client) -> None:
    catalog_id = new_catalog_id()
    base = pusher.push(catalog_id)
    used = sum(segment.size for segment in base.pack.locator.segments)
    upload_id, pack, _files, made = begin_update(pusher, catalog_id, "1.1", base, FILES)
    more = sum(len(data) for data in pack.segments.values())
    with command_work(server.services) as work:
        work.session.get_one(CatalogId, catalog_id).quota_bytes = used + more
    error(commit(pusher, upload_id, pack, made.file), 413, "quota_exceeded")
    good(commit(pusher, upload_id, pack))


def test_the_largest_disk_that_has_hardly_any_data_is_updated(pusher: Client) -> None:
    """Its index is small, and what it needs of memory is not."""
    catalog_id = new_catalog_id()
    base, update = (_holes(CHUNKS_OF_LARGEST, *others) for others in ((), ("note",)))
    upload_id = good(pusher.begin(catalog_id, "1.0", chunk_size=MIN_CHUNK_SIZE))["id"]
    pushed = good(pusher.commit(upload_id, base.index))
    upload_id = good(pusher.begin(catalog_id, "1.1", chunk_size=MIN_CHUNK_SIZE, bases=[pushed["id"]]))["id"]
    delta = make_delta(base.listing, update.listing, chunk_rows(update.listing), update.locator, StoredPatches())
    manifest = good(commit(pusher, upload_id, update, encode_delta(delta)))
    assert [told["base_digest"] for told in leading(pusher, manifest["id"])] == [base.digest]


def _holes(count: int, *others: str) -> HandMade:
    """A disk of holes, and empty files."""
    files = [Entry(FILE, "disk", size=count * MIN_CHUNK_SIZE), *(Entry(FILE, path) for path in others)]
    listing = make_listing(MIN_CHUNK_SIZE, numbered(files, MIN_CHUNK_SIZE), bytes(32 * count))
    return HandMade(listing, Locator(listing.digest, (), array("I"), array("I"), array("I"), b""))
