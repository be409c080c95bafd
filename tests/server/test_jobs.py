# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Jobs: their leases, the outbox, housekeeping and the garbage collection; each killed between any two of its steps."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from catalog_server.access import Audience
from catalog_server.catalog import service as manifests
from catalog_server.jobs import gc, leases
from catalog_server.jobs.kinds import KINDS
from catalog_server.jobs.leases import LEASE_SECONDS
from catalog_server.jobs.runner import Counts, JobKind, Run, run
from catalog_server.models.audit import AuditEntry
from catalog_server.models.catalog import AudienceText, Catalog
from catalog_server.models.identity import DeniedGrant, GrantUse, LoginFailure
from catalog_server.models.jobs import Job, OutboxEntry
from catalog_server.models.storage import GONE, Pack
from catalog_server.models.transfers import ABORTED, OPEN, Upload
from catalog_server.operations import backup, restore
from catalog_server.transfers import leftovers, packs, removal
from catalog_server.transfers.packs import PackObjects
from catalog_server.unit_of_work import Services, utc_now
from clocks import another_time
from conftest import StartServer
from freeing import HOUR, Scene, age, all_files, pulls
from killed import killed_job
from packs import content, make_pack
from rows import new_catalog_id
from running import Server, Template, command, command_work, running
from sqlalchemy import func, select
from transfer_client import NEXT_FILES, Client, good, kept_segments, objects

OTHER_FILES = {"config.pvs": content(20, 1), "disk/data": content(21)}


@pytest.fixture(name="quiet", scope="module")
def quiet_fixture(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that runs no jobs by itself."""
    with running(template, tmp_path_factory.mktemp("quiet") / "data", {"CATALOG_JOBS_SECONDS": "0"}) as server:
        yield server


@pytest.fixture(name="pusher")
def pusher_fixture(quiet: Server) -> Client:
    return Client.of(quiet, "pusher")


def later(server: Server, ahead: datetime.timedelta = HOUR) -> Services:
    """The services of the test at another time."""
    return dataclasses.replace(server.services, clock=lambda: utc_now() + ahead)


def kind(name: str) -> JobKind:
    return next(one for one in KINDS if one.name == name)


def done(services: Services, name: str) -> Counts:
    """Run a job by the clock of these services, which is right."""
    with another_time(services):
        counts = run(services, kind(name), "test")
    assert counts is not None
    return counts


def state_file(server: Server, pack: str) -> Path:
    return server.data_dir / "storage/packs" / pack / "state.json"


def state(server: Server, pack: str) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", json.loads(state_file(server, pack).read_text()))


# --- leases ----------------------------------------------------------------------------------------------


def test_a_job_is_run_by_one_process_at_a_time(quiet: Server) -> None:
    seen: list[object] = []

    def work(one: Run) -> None:
        seen.append(run(quiet.services, leased, "second"))
        one.add("steps")
        one.checkpoint()

    leased = JobKind(new_catalog_id(), "a test", 3600, work)
    assert run(quiet.services, leased, "first") == {"steps": 1}
    assert seen == [None]
    with quiet.services.database.reading() as session:
        job = session.get_one(Job, leased.name)
        assert (job.owner, job.error, job.result, job.progress) == (None, None, {"steps": 1}, {})
        assert not leases.is_due(session, leased.name, utc_now(), 3600)
        assert leases.is_due(session, leased.name, utc_now() + HOUR, 3600)


def test_a_job_whose_process_died_is_taken_over_and_resumed(quiet: Server) -> None:
    name, overtaken = new_catalog_id(), later(quiet, datetime.timedelta(seconds=LEASE_SECONDS + 1))
    assert leases.take(quiet.services, name, "dead") == {}
    leases.extend(quiet.services, name, "dead", {"steps": 3})
    assert leases.take(quiet.services, name, "other") is None
    assert leases.take(overtaken, name, "other") == {"steps": 3}
    # The first one was only slow.
    for late in (
        lambda: leases.extend(quiet.services, name, "dead", {}),
        lambda: leases.end(quiet.services, name, "dead", {}, None),
    ):
        with pytest.raises(leases.LeaseLost):
            late()


def test_a_job_that_fails_says_so(quiet: Server) -> None:
    def work(_one: Run) -> None:
        raise OSError("no such thing")

    failing = JobKind(new_catalog_id(), "a test", 3600, work)
    with pytest.raises(OSError, match="no such thing"):
        run(quiet.services, failing, "test")
    with quiet.services.database.reading() as session:
        job = session.get_one(Job, failing.name)
        assert (job.owner, job.error) == (None, "no such thing")


def test_two_processes_run_a_job_once(quiet: Server) -> None:
    """One of them is the command, while the lease is held."""
    assert leases.take(quiet.services, "housekeeping", "test") is not None
    answer = command(quiet.data_dir, "job", "run", "housekeeping", settings=quiet.settings)
    assert (answer.returncode, answer.stdout) == (os.EX_TEMPFAIL, "housekeeping: another process runs it now\n")
    leases.end(quiet.services, "housekeeping", "test", {}, None)
    answer = command(quiet.data_dir, "job", "run", "housekeeping", settings=quiet.settings)
    assert answer.returncode == 0, answer.stderr
    listed = json.loads(command(quiet.data_dir, "job", "list", "--json", settings=quiet.settings).stdout)
    assert [row["name"] for row in listed] == [one.name for one in KINDS]
    assert listed[1]["finished_at"] and not listed[1]["running"]


def test_the_server_runs_jobs_by_itself(start_server: StartServer) -> None:
    from running import wait_until

    server = start_server(CATALOG_JOBS_SECONDS="1")
    pushed = Client.of(server, "pusher").push(new_catalog_id())
    wait_until(lambda: state_file(server, pushed.upload_id).exists(), 30)
    good(Client.of(server, "admin").http.post(f"/manifests/{pushed.id}/revoke"))
    wait_until(lambda: state(server, pushed.upload_id)["revoked"], 30)


# --- the outbox ------------------------------------------------------------------------------------------


def test_the_state_in_storage_follows_every_change(quiet: Server) -> None:
    admin = Client.of(quiet, "admin")
    pushed = admin.push(new_catalog_id(), tags=["stable"], required_roles=["STAFF", "USER"])
    path = f"/manifests/{pushed.id}"
    done(quiet.services, "outbox")
    first = state(quiet, pushed.upload_id)
    assert {name: first[name] for name in ("manifest_id", "tainted", "revoked", "tags", "deleted_at")} == {
        "manifest_id": pushed.id,
        "tainted": False,
        "revoked": False,
        "tags": ["latest", "stable"],
        "deleted_at": None,
    }
    assert first["audience"] == {"claims": [], "roles": ["STAFF", "USER"]}
    changes: list[tuple[Callable[[], object], str, object]] = [
        (
            lambda: admin.http.patch(path, json={"required_roles": ["STAFF"]}),
            "audience",
            {"claims": [], "roles": ["STAFF"]},
        ),
        (lambda: admin.http.patch(path, json={"tags": ["tested"]}), "tags", ["latest", "tested"]),
        (lambda: admin.http.post(f"{path}/taint"), "tainted", True),
        (lambda: admin.http.post(f"{path}/untaint"), "tainted", False),
        # Another version takes its tags.
        (lambda: admin.push(pushed.manifest["catalog_id"], "2.0", NEXT_FILES, tags=["tested"]), "tags", []),
        (lambda: admin.http.post(f"{path}/revoke"), "revoked", True),
    ]
    numbers = [first["sequence"]]
    for change, name, value in changes:
        change()
        assert done(quiet.services, "outbox")["written"] >= 1
        found = state(quiet, pushed.upload_id)
        assert found[name] == value
        numbers.append(found["sequence"])
    assert numbers == sorted(set(numbers))
    good(admin.http.delete(path))
    done(quiet.services, "outbox")
    assert state(quiet, pushed.upload_id)["deleted_at"] is not None
    assert done(quiet.services, "outbox") == {}


def test_a_replaced_pack_is_marked_as_deleted(quiet: Server, pusher: Client) -> None:
    old = pusher.push(new_catalog_id())
    new = pusher.push(old.manifest["catalog_id"], "1.0", NEXT_FILES, force=True)
    done(quiet.services, "outbox")
    assert state(quiet, old.upload_id)["deleted_at"] is not None
    assert state(quiet, new.upload_id)["deleted_at"] is None


def test_what_cannot_be_written_now_is_written_later(quiet: Server, pusher: Client) -> None:
    done(quiet.services, "outbox")
    pushed = pusher.push(new_catalog_id())
    mark = quiet.data_dir / "storage/catalog.json"
    mark.rename(mark.with_name("away.json"))
    try:
        assert done(quiet.services, "outbox") == {"postponed": 1}
    finally:
        mark.with_name("away.json").rename(mark)
    assert done(quiet.services, "outbox") == {}
    assert done(later(quiet), "outbox") == {"written": 1}
    assert state(quiet, pushed.upload_id)["manifest_id"] == pushed.id


@pytest.mark.parametrize("step", ["before storing", "behind storing", "before write 2", "behind write 2"])
def test_an_outbox_that_is_killed_loses_nothing(quiet: Server, pusher: Client, step: str) -> None:
    done(quiet.services, "outbox")
    pushed = pusher.push(new_catalog_id())
    assert killed_job(quiet.data_dir, quiet.settings, "outbox", step)
    done(later(quiet), "outbox")
    assert state(quiet, pushed.upload_id)["manifest_id"] == pushed.id
    with quiet.services.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(OutboxEntry)) == 0


# --- housekeeping ----------------------------------------------------------------------------------------


def test_expired_uploads_are_closed_and_leave_nothing(quiet: Server, pusher: Client) -> None:
    upload_id = good(pusher.begin(new_catalog_id()))["id"]
    pusher.store(upload_id, make_pack(upload_id, OTHER_FILES))
    living = good(pusher.begin(new_catalog_id()))["id"]
    with command_work(quiet.services) as work:
        work.session.get_one(Upload, upload_id).expires_at = work.now
    assert done(quiet.services, "housekeeping")["uploads_closed"] == 1
    assert objects(quiet, upload_id) == set()
    with quiet.services.database.reading() as session:
        assert session.get_one(Upload, upload_id).state == ABORTED
        assert session.get_one(Upload, living).state == OPEN


@pytest.mark.parametrize("step", ["behind write 2", "before deleting objects", "behind deleting objects"])
def test_housekeeping_that_is_killed_leaves_nothing_wrong(quiet: Server, pusher: Client, step: str) -> None:
    upload_id = good(pusher.begin(new_catalog_id()))["id"]
    pusher.store(upload_id, make_pack(upload_id, OTHER_FILES))
    with command_work(quiet.services) as work:
        work.session.get_one(Upload, upload_id).expires_at = work.now
    assert killed_job(quiet.data_dir, quiet.settings, "housekeeping", step)
    done(later(quiet), "housekeeping")
    done(later(quiet), "gc")
    assert all_files(quiet, upload_id) == set()


def test_what_is_too_old_is_forgotten(quiet: Server, pusher: Client) -> None:
    pushed = pusher.push(new_catalog_id())
    now, year = utc_now(), datetime.timedelta(days=366)
    with command_work(quiet.services) as work:
        work.session.add(DeniedGrant(jti="a", denied_at=now, forget_at=now - HOUR))
        work.session.add(DeniedGrant(jti="b", denied_at=now, forget_at=now + HOUR))
        work.session.add(GrantUse(jti="a", manifest_id=pushed.id, used_at=now, forget_at=now - HOUR))
        work.session.add(LoginFailure(subject="a", failures=1, last_at=now - HOUR))
        work.session.add(LoginFailure(subject="b", failures=1, last_at=now))
        old = work.session.scalars(select(AuditEntry).where(AuditEntry.subject_id == pushed.id)).one()
        old.at = now - year
        number = old.id
        work.session.get_one(Upload, pushed.upload_id).closed_at = now - year
    counts = done(quiet.services, "housekeeping")
    assert {name: counts[name] for name in ("denials", "grant_uses", "uploads", "audit")} == {
        "denials": 1,
        "grant_uses": 1,
        "uploads": 1,
        "audit": 1,
    }
    with quiet.services.database.reading() as session:
        assert session.get(DeniedGrant, "b") is not None and session.get(DeniedGrant, "a") is None
        assert session.get(LoginFailure, "b") is not None and session.get(LoginFailure, "a") is None
        assert session.get(AuditEntry, number) is None
        assert session.get(Upload, pushed.upload_id) is None and session.get(Pack, pushed.upload_id) is not None
    assert pusher.manifest(pushed.id) == pushed.manifest
    # Its pack is still tidied, and still there.
    assert done(later(quiet), "gc")["packs"] >= 1
    assert pushed.pack.segments.keys() <= objects(quiet, pushed.upload_id)


def test_audiences_that_no_manifest_has_cost_nobody_anything(start_server: StartServer) -> None:
    server = start_server(CATALOG_JOBS_SECONDS="0")
    pusher = Client.of(server, "pusher")
    pushed = pusher.push(new_catalog_id(), required_roles=["USER"])
    good(pusher.begin(new_catalog_id(), required_roles=["USER", "SOME"]))
    texts = [Audience.of(["USER", f"ROLE_{number}"], []).text() for number in range(40_000)]
    with command_work(server.services) as work:
        # As many begins make them; all of them let a reader in.
        work.session.execute(AudienceText.__table__.insert(), [{"text": text} for text in texts])
    reader = Client.of(server, "reader")
    assert [one["id"] for one in good(reader.http.get("/manifests"))["manifests"]] == [pushed.id]
    assert [one["name"] for one in good(reader.http.get("/catalog_ids"))["catalog_ids"]] == [
        pushed.manifest["catalog_id"]
    ]
    assert done(server.services, "housekeeping")["audiences"] == len(texts)
    with server.services.database.reading() as session:
        left = set(session.scalars(select(AudienceText.text)))
    assert left >= {Audience.of(["USER"], []).text(), Audience.of(["USER", "SOME"], []).text()}
    assert pusher.manifest(pushed.id) == pushed.manifest


def test_objects_of_receivers_that_died_are_removed(quiet: Server, pusher: Client) -> None:
    pushed = pusher.push(new_catalog_id())
    folder = quiet.data_dir / "storage/packs" / pushed.upload_id
    (folder / ".incoming-dead").write_bytes(b"half")
    storage = quiet.services.storages.embedded("local")
    assert storage is not None
    with storage.files.receive(f"packs/{pushed.upload_id}/object", "0" * 64, 8) as received:
        received.write(b"half")
        assert done(later(quiet), "housekeeping")["unfinished_objects"] == 1
        assert len(list(folder.glob(".incoming-*"))) == 1


def test_bodies_of_commits_that_a_dead_process_left_are_removed(quiet: Server) -> None:
    old, new = (quiet.data_dir / "spool" / name for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1000, 1000))
    assert done(quiet.services, "housekeeping")["unfinished_bodies"] == 1
    assert (old.exists(), new.exists()) == (False, True)
    new.unlink()


# --- freeing space ---------------------------------------------------------------------------------------


def test_a_deletion_says_what_becomes_free_and_when(quiet: Server) -> None:
    scene = Scene(quiet)
    freed = scene.delete()
    assert freed["freed_bytes"] == scene.own_bytes
    after = datetime.datetime.fromisoformat(freed["freed_after"])
    assert datetime.timedelta(0) < after - utc_now() <= datetime.timedelta(minutes=15)
    # Until then everything is there, and nothing of it may be used any more.
    done(quiet.services, "gc")
    assert scene.base.pack.segments.keys() <= objects(quiet, scene.base.upload_id)
    assert kept_segments(quiet, scene.base.upload_id) == scene.shared


def test_what_nothing_uses_is_collected(quiet: Server) -> None:
    scene = Scene(quiet)
    scene.delete()
    age(quiet)
    counts = done(quiet.services, "gc")
    assert counts["bytes"] >= scene.own_bytes and counts["segments"] >= len(scene.own)
    assert scene.is_collected()
    good(scene.client.http.delete(f"/manifests/{scene.other.id}"))
    age(quiet)
    done(quiet.services, "gc")
    done(later(quiet), "outbox")
    for pushed in (scene.base, scene.other):
        assert all_files(quiet, pushed.upload_id) == set()
        assert not (quiet.data_dir / "storage/packs" / pushed.upload_id).exists()
        with quiet.services.database.reading() as session:
            assert session.get_one(Pack, pushed.upload_id).state == GONE
    assert done(quiet.services, "gc") == {}


def test_a_dry_run_changes_nothing(quiet: Server) -> None:
    done(later(quiet), "gc")
    scene = Scene(quiet)
    scene.delete()
    planned = gc.plan(quiet.services)
    assert (planned.segments, planned.waiting_segments, planned.waiting_bytes) == (0, len(scene.own), scene.own_bytes)
    age(quiet)
    there = all_files(quiet, scene.base.upload_id)
    answer = command(quiet.data_dir, "gc", "--dry-run", settings=quiet.settings)
    assert f"would remove {len(scene.own)} segments of {scene.own_bytes} bytes" in answer.stdout, answer.stderr
    assert all_files(quiet, scene.base.upload_id) == there
    answer = command(quiet.data_dir, "gc", settings=quiet.settings)
    assert answer.returncode == 0, answer.stderr
    assert scene.is_collected()


def test_a_lease_and_an_open_upload_keep_what_they_have(quiet: Server) -> None:
    scene = Scene(quiet)
    upload_id = good(scene.client.begin(new_catalog_id(), "1.0", bases=[scene.base.id]))["id"]
    pack = make_pack(upload_id, NEXT_FILES, base=scene.base.pack)
    scene.client.store(upload_id, pack)
    scene.client.push(scene.base.manifest["catalog_id"], "1.0", OTHER_FILES, force=True)
    age(quiet)
    done(quiet.services, "gc")
    assert scene.base.pack.segments.keys() <= objects(quiet, scene.base.upload_id)
    assert pack.segments.keys() <= objects(quiet, upload_id)
    good(scene.client.commit(upload_id, pack.index))
    age(quiet)
    done(quiet.services, "gc")
    assert scene.is_collected()


def test_only_names_of_ours_are_touched(quiet: Server) -> None:
    scene = Scene(quiet)
    folder = quiet.data_dir / "storage/packs"
    strange = [folder / scene.base.upload_id / "notes.txt", folder / "README", folder / ("f" * 32) / ("e" * 64)]
    for path in strange:
        path.parent.mkdir(exist_ok=True)
        path.write_text("somebody else's")
    scene.delete()
    good(scene.client.http.delete(f"/manifests/{scene.other.id}"))
    age(quiet)
    done(quiet.services, "gc")
    assert all(path.exists() for path in strange)
    assert objects(quiet, scene.base.upload_id) == {"notes.txt"}


def test_a_storage_without_the_mark_is_left_alone(quiet: Server) -> None:
    scene = Scene(quiet)
    scene.delete()
    age(quiet)
    mark = quiet.data_dir / "storage/catalog.json"
    text = mark.read_text()
    mark.write_text('{"catalog": "another"}')
    try:
        counts = done(quiet.services, "gc")
        assert list(counts) == ["left_alone"]
        assert "belongs to the catalog another" in counts["left_alone"]["local"]
        for words in (("gc",), ("gc", "--dry-run"), ("job", "run", "gc")):
            answer = command(quiet.data_dir, *words, settings=quiet.settings)
            assert answer.returncode == 0, answer.stderr
            assert "storage local is left alone: The storage 'local' belongs to the catalog another" in answer.stdout
    finally:
        mark.write_text(text)
    assert scene.base.pack.segments.keys() <= objects(quiet, scene.base.upload_id)
    done(quiet.services, "gc")
    assert scene.is_collected()


GC_STEPS = [
    "before write 2", "behind write 2", "behind write 3", "before deleting objects", "behind deleting objects",
    "behind write 4", "before write 5", "behind write 5",
]  # fmt: skip


@pytest.mark.parametrize("step", GC_STEPS)
def test_a_collection_that_is_killed_is_finished_by_the_next(quiet: Server, step: str) -> None:
    done(later(quiet), "gc")
    scene = Scene(quiet)
    scene.delete()
    age(quiet)
    assert killed_job(quiet.data_dir, quiet.settings, "gc", step)
    assert pulls(scene.client, quiet, scene.other)
    done(later(quiet), "gc")
    assert scene.is_collected()


def test_after_a_restore_it_is_off_until_the_administrator_has_looked(start_server: StartServer) -> None:
    server = start_server(CATALOG_JOBS_SECONDS="0")
    scene = Scene(server)
    done(server.services, "outbox")
    scene.delete()
    lost = Client.of(server, "pusher").push(new_catalog_id())
    upload_id = good(scene.client.begin(new_catalog_id()))["id"]
    pack = make_pack(upload_id, OTHER_FILES)
    scene.client.store(upload_id, pack)
    done(server.services, "outbox")
    with command_work(server.services) as work:
        # As if the backup were of before the push, and of while another upload was open that was committed later.
        work.session.execute(Catalog.__table__.update().values(gc_enabled=False))
        stranger = server.data_dir / "storage/packs" / ("a" * 32)
        (server.data_dir / "storage/packs" / lost.upload_id).rename(stranger)
        state_file(server, upload_id).write_text("{}")
        work.session.get_one(Upload, upload_id).expires_at = work.now
    age(server)
    before = all_files(server, upload_id)
    done(later(server), "housekeeping")
    assert done(server.services, "gc") == {"disabled": True}
    assert scene.base.pack.segments.keys() <= objects(server, scene.base.upload_id)
    for words in (("gc",), ("job", "run", "gc")):
        answer = command(server.data_dir, *words, settings=server.settings)
        assert (answer.returncode, answer.stdout) == (1, "")
        assert "are off since a restore" in answer.stderr and "gc --after-restore" in answer.stderr
    assert "off after a restore" in command(server.data_dir, "gc", "--dry-run", settings=server.settings).stdout
    answer = command(server.data_dir, "gc", "--after-restore", settings=server.settings)
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert len(lines) == 4
    assert any(f"local {'a' * 32}: " in line and lost.manifest["catalog_id"] in line for line in lines)
    assert any(f"local {upload_id}: " in line for line in lines)
    assert lines[2:] == [
        "2 packs that the database does not know; they are left alone",
        "the garbage collection is on again",
    ]
    age(server)
    done(later(server), "gc")
    assert scene.is_collected()
    assert lost.pack.segments.keys() <= {path.name for path in stranger.iterdir()}
    assert all_files(server, upload_id) == before


def lose_all_but_storage(server: Server) -> None:
    """Leave of a server that has ended nothing but its objects, and an empty database where it is not a file."""
    if server.services.database.dialect == "postgresql":
        with server.services.database.engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
    # A connection that is open would go on with a file that has no name any more.
    server.services.database.close()
    for path in list(server.data_dir.iterdir()):
        if path.name not in ("storage", "spool"):
            path.unlink()


@pytest.mark.parametrize("written", [True, False], ids=["state written", "killed before the state was written"])
def test_what_was_committed_behind_the_backup_stays(
    start_server: StartServer, tmp_path: Path, written: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """An upload that was open in the backup: the answer to its commit has left, so its pack is never removed."""
    server = start_server(CATALOG_JOBS_SECONDS="0")
    client = Client.of(server, "pusher")
    lost, abandoned = (good(client.begin(new_catalog_id()))["id"] for _number in range(2))
    pack = make_pack(lost, OTHER_FILES)
    client.store(lost, pack)
    client.store(abandoned, make_pack(abandoned, OTHER_FILES))
    settings = server.services.settings
    made = backup.make(settings, tmp_path / "backup")
    good(client.commit(lost, pack.index))
    if written:
        done(server.services, "outbox")
    server.kill()
    server.ended = True
    lose_all_but_storage(server)
    restore.restore(settings, made)
    server.services.storages.prepare(utc_now())
    before = all_files(server, lost)
    assert (packs.STATE in before) is written
    said = command(server.data_dir, "gc", "--after-restore", settings=server.settings).stdout.splitlines()
    assert [line.split()[1] for line in said[:-2]] == [f"{lost}:"]
    for days in (0, 32, 64):
        services = later(server, datetime.timedelta(days=days, hours=1))
        for name in ("housekeeping", "gc"):
            done(services, name)
        leftovers.discard(services, [lost])
    with server.services.database.reading() as session:
        assert session.get(Upload, lost) is None
    assert all_files(server, lost) == before
    assert all_files(server, abandoned) == set()


def test_a_volume_that_is_unmounted_during_a_collection(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is there any more, everything seems to be deleted."""
    server = start_server(CATALOG_JOBS_SECONDS="0")
    scene = Scene(server)
    scene.delete()
    age(server)
    storage, away = server.data_dir / "storage", server.data_dir / "spool/away"
    listing = PackObjects.names

    def names(pack: PackObjects) -> set[str]:
        if storage.exists():
            storage.rename(away)
        return listing(pack)

    monkeypatch.setattr(PackObjects, "names", names)
    assert done(server.services, "gc")["packs_left"] >= 1
    monkeypatch.undo()
    away.rename(storage)
    done(later(server), "gc")
    assert scene.is_collected()


# --- a clock that was ahead --------------------------------------------------------------------------------


@pytest.fixture(name="ahead")
def ahead_fixture(start_server: StartServer) -> tuple[Server, Services]:
    """A server that runs no jobs by itself, and its services of next year."""
    server = start_server(CATALOG_JOBS_SECONDS="0")
    return server, later(server, datetime.timedelta(days=366))


@pytest.mark.parametrize("name", [one.name for one in KINDS])
def test_a_job_that_ran_in_the_future_runs_again(ahead: tuple[Server, Services], name: str) -> None:
    server, future = ahead
    assert leases.take(future, name, "future") is not None
    leases.end(future, name, "future", {}, None)
    with server.services.database.reading() as session:
        assert leases.is_due(session, name, utc_now(), kind(name).period_seconds)
    # One that died there has no lease any more.
    assert leases.take(future, name, "dead") is not None
    assert leases.take(server.services, name, "living") is not None


def test_what_was_changed_in_the_future_gets_into_storage(ahead: tuple[Server, Services]) -> None:
    server, future = ahead
    pushed = Client.of(server, "pusher").push(new_catalog_id())
    done(server.services, "outbox")
    with command_work(future) as work:
        manifests.taint(work, pushed.id, None)
    done(server.services, "outbox")
    assert state(server, pushed.upload_id)["tainted"]


def test_what_was_let_go_in_the_future_is_collected(ahead: tuple[Server, Services]) -> None:
    server, future = ahead
    client = Client.of(server, "pusher")
    pushed = client.push(new_catalog_id())
    upload_id = good(client.begin(new_catalog_id()))["id"]
    client.store(upload_id, make_pack(upload_id, OTHER_FILES))
    with command_work(future) as work:
        removal.delete(work, pushed.id)
        work.session.get_one(Upload, upload_id).expires_at += datetime.timedelta(days=366)
    assert done(server.services, "housekeeping")["times_corrected"] == 5
    # What was corrected waits for as long as anything else.
    done(server.services, "gc")
    assert pushed.pack.segments.keys() <= all_files(server, pushed.upload_id)
    soon = later(server)
    done(soon, "housekeeping")
    done(soon, "gc")
    assert all_files(server, pushed.upload_id) == set()
    days = later(server, datetime.timedelta(days=3))
    assert done(days, "housekeeping")["uploads_closed"] == 1
    done(later(server, datetime.timedelta(days=4)), "gc")
    assert all_files(server, upload_id) == set()
