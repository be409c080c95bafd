# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The job that deletes what a catalog id does not keep any more, on both databases."""

from __future__ import annotations

import dataclasses
import datetime
import shlex
import typing as t
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from ansible_collections.macfleet.parallels.tests.support.documents import blocks
from catalog_server.catalog.service import SEGMENTS_LOCK, catalog_id_lock
from catalog_server.jobs import retention
from catalog_server.jobs.kinds import kind_called
from catalog_server.jobs.runner import Counts, run
from catalog_server.models.audit import AuditEntry
from catalog_server.models.catalog import Catalog, CatalogId, Manifest, ManifestTag
from catalog_server.unit_of_work import Services, utc_now
from clocks import another_time
from conftest import StartServer
from killed import killed_job
from packs import content
from rows import new_catalog_id, put_manifest, segments_of
from running import Server, Template, command, command_work, running
from sqlalchemy import select, text, update
from transfer_client import FILES, NEXT_FILES, Client, error, good

BOTH = pytest.mark.parametrize("template", ["sqlite", "postgresql"], indirect=True)
DAY = datetime.timedelta(days=1)
OTHER_FILES = {"config.pvs": content(30, 1), "disk/data": content(31)}


@pytest.fixture(name="quiet", scope="module")
def quiet_fixture(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that runs no jobs by itself."""
    with running(template, tmp_path_factory.mktemp("quiet") / "data", {"CATALOG_JOBS_SECONDS": "0"}) as server:
        yield server


def rule(server: Server, catalog_id: str, *, days_ago: float = 2, **fields: t.Any) -> None:
    """Give a catalog id a retention, as if it had been set so many days ago."""
    good(server.call("PUT", f"/catalog_ids/{catalog_id}", "admin", json={"retention": fields}))
    with command_work(server.services) as work:
        row = work.session.get_one(CatalogId, catalog_id)
        assert row.retention_set_at is not None
        row.retention_set_at -= days_ago * DAY


def versions(server: Server, catalog_id: str) -> list[str]:
    found = good(server.call("GET", "/manifests", "admin", params={"catalog_id": catalog_id}))["manifests"]
    return [one["version"] for one in found]


def done(services: Services) -> Counts:
    """Run the job by the clock of these services, which is right."""
    with another_time(services):
        counts = run(services, kind_called("retention"), "test")
    assert counts is not None
    return counts


@BOTH
def test_what_is_over_is_deleted_as_by_the_api(start_server: StartServer) -> None:
    server = start_server(CATALOG_JOBS_SECONDS="0")
    client, catalog_id = Client.of(server, "admin"), new_catalog_id()
    first = client.push(catalog_id, "1", FILES)
    client.push(catalog_id, "2", NEXT_FILES, first)
    client.push(catalog_id, "3", OTHER_FILES, tags=["stable"])
    client.push(catalog_id, "4", {"disk/data": content(32)})
    client.push(catalog_id, "5", {"disk/data": content(33)})
    rule(server, catalog_id, keep_versions=1)
    (plan,) = retention.plan(server.services)
    assert [one.version for one in plan.versions] == ["1", "2", "4"]
    assert plan.held == {"tagged": 1}
    said = command(server.data_dir, "job", "run", "retention", "--dry-run", settings=server.settings).stdout
    lines = said.splitlines()
    assert [line.partition(", ")[0] for line in lines[:3]] == [f"{catalog_id} {name} arm64" for name in ("1", "2", "4")]
    assert lines[3:] == [
        f"{catalog_id}: would delete 3 versions and free {plan.bytes} bytes",
        f"{catalog_id}: would also keep 1 with a tag",
    ]
    assert versions(server, catalog_id) == ["1", "2", "3", "4", "5"]
    answer = command(server.data_dir, "job", "run", "retention", settings=server.settings)
    assert answer.stdout == f"retention: bytes {plan.bytes}, versions 3\n", answer.stderr
    assert versions(server, catalog_id) == ["3", "5"]
    with server.services.database.reading() as session:
        entries = session.scalars(select(AuditEntry).where(AuditEntry.action == "manifest.delete")).all()
    assert [(one.actor, one.credential, one.details["version"]) for one in entries] == [
        ("catalog-server", "command", name) for name in ("1", "2", "4")
    ]
    assert "'keep_versions': 1" in entries[0].details["reason"]
    assert done(server.services) == {}


@BOTH
def test_nothing_is_deleted_after_a_restore_until_the_administrator_has_looked(start_server: StartServer) -> None:
    """What was pushed since the backup is missing, so what is left may be too old and all that there is."""
    server = start_server(CATALOG_JOBS_SECONDS="0")
    catalog_id = new_catalog_id()
    for name in ("1", "2"):
        put_manifest(server, catalog_id, name)
    rule(server, catalog_id, keep_versions=1)
    with command_work(server.services) as work:
        work.session.execute(update(Catalog).values(gc_enabled=False))
    assert done(server.services) == {"disabled": True}
    answer = command(server.data_dir, "job", "run", "retention", settings=server.settings)
    assert (answer.returncode, "gc --after-restore" in answer.stderr) == (1, True)
    error(server.call("POST", "/jobs/retention/run", "admin"), 409, "gc_disabled")
    assert versions(server, catalog_id) == ["1", "2"]
    assert command(server.data_dir, "gc", "--after-restore", settings=server.settings).returncode == 0
    assert done(server.services)["versions"] == 1


@BOTH
def test_what_is_in_use_or_required_is_kept(start_server: StartServer) -> None:
    server = start_server(CATALOG_JOBS_SECONDS="0")
    catalog_id, other = new_catalog_id(), new_catalog_id()
    ids = {
        name: put_manifest(server, catalog_id, name) for name in ("pulled", "base", "again", "parent", "over", "new")
    }
    reader, pusher = Client.of(server, "reader"), Client.of(server, "pusher")
    granted = reader.granted(server, "pull", catalog_id, "pulled")
    good(granted.read_urls(ids["pulled"], segments_of(server, ids["pulled"])))
    good(pusher.begin(other, "1", bases=[ids["base"]]))
    good(pusher.begin(catalog_id, "again", force=True))
    put_manifest(server, other, "2", parent={"catalog_id": catalog_id, "version": "parent", "architecture": "arm64"})
    put_manifest(server, other, "3", superseded_by="over")
    rule(server, catalog_id, keep_versions=1)
    # The use of the grant is written down behind the request.
    for _attempt in range(100):
        (plan,) = retention.plan(server.services)
        if len(plan.versions) == 1:
            break
        server.call("GET", "/health/live")
    assert plan.held == {"in_use": 3, "required": 1}
    assert done(server.services)["versions"] == 1
    assert versions(server, catalog_id) == ["again", "base", "new", "parent", "pulled"]
    # A day later the grant is over and the uploads are, too.
    later = dataclasses.replace(server.services, clock=lambda: utc_now() + 3 * DAY)
    assert done(later)["versions"] == 3
    assert versions(server, catalog_id) == ["new", "parent"]


def test_a_rule_begins_a_day_after_it_was_set(quiet: Server) -> None:
    catalog_id = new_catalog_id()
    for name in ("1", "2"):
        put_manifest(quiet, catalog_id, name)
    rule(quiet, catalog_id, days_ago=2, keep_versions=1)
    # Set again as it was, it goes on; another one begins anew.
    good(quiet.call("PUT", f"/catalog_ids/{catalog_id}", "admin", json={"retention": {"keep_versions": 1}}))
    (plan,) = [one for one in retention.plan(quiet.services) if one.catalog_id == catalog_id]
    assert plan.effective_at < utc_now()
    rule(quiet, catalog_id, days_ago=0.9, keep_versions=1, keep_days=1)
    with command_work(quiet.services) as work:
        for manifest in work.session.query(Manifest).filter_by(catalog_id=catalog_id):
            manifest.pushed_at -= 9 * DAY
    assert done(quiet.services) == {}
    said = command(quiet.data_dir, "job", "run", "retention", "--dry-run", settings=quiet.settings).stdout
    assert f"{catalog_id}: would delete 1 versions and free 500000 bytes, from " in said
    assert done(dataclasses.replace(quiet.services, clock=lambda: utc_now() + DAY))["versions"] == 1
    assert versions(quiet, catalog_id) == ["2"]


@BOTH
def test_a_tag_that_is_set_meanwhile_holds_its_version(start_server: StartServer) -> None:
    """The job has decided to begin, and waits for the lock that whoever sets the tag holds."""
    server = start_server(CATALOG_JOBS_SECONDS="0")
    catalog_id = new_catalog_id()
    ids = [put_manifest(server, catalog_id, name) for name in ("1", "2", "3")]
    rule(server, catalog_id, keep_versions=1)
    with ThreadPoolExecutor(1) as pool:
        with server.services.database.writing([catalog_id_lock(catalog_id), SEGMENTS_LOCK]) as session:
            session.execute(text("SELECT 1"))
            waiting = pool.submit(command, server.data_dir, "job", "run", "retention", settings=server.settings)
            row = {"catalog_id": catalog_id, "architecture": "arm64", "tag": "stable", "manifest_id": ids[0]}
            session.add(ManifestTag(**row))
            session.flush()
            with pytest.raises(TimeoutError):
                waiting.result(3)
        assert waiting.result(60).stdout == "retention: bytes 500000, versions 1\n"
    assert versions(server, catalog_id) == ["1", "3"]


@pytest.mark.parametrize("step", ["before write 2", "behind write 2", "behind write 3"])
def test_a_retention_that_is_killed_is_finished_by_the_next(quiet: Server, step: str) -> None:
    catalog_id = new_catalog_id()
    for number in range(30):
        put_manifest(quiet, catalog_id, str(number))
    rule(quiet, catalog_id, keep_versions=2)
    assert killed_job(quiet.data_dir, quiet.settings, "retention", step)
    later = dataclasses.replace(quiet.services, clock=lambda: utc_now() + DAY)
    done(later)
    assert versions(quiet, catalog_id) == ["28", "29"]
    with quiet.services.database.reading() as session:
        entries = session.scalars(select(AuditEntry).where(AuditEntry.action == "manifest.delete")).all()
    assert len([one for one in entries if one.details["catalog_id"] == catalog_id]) == 28


def test_only_jobs_that_remove_something_have_a_dry_run(quiet: Server) -> None:
    answer = command(quiet.data_dir, "job", "run", "outbox", "--dry-run", settings=quiet.settings)
    assert answer.returncode == 1 and "has no dry run; those that have are gc, retention." in answer.stderr


def test_the_example_of_the_document(quiet: Server) -> None:
    (example,) = [text for text in blocks("docs/operations.md", "sh") if "--keep-versions" in text]
    for line in example.splitlines():
        program, *words = shlex.split(line)
        answer = command(quiet.data_dir, *words, settings=quiet.settings)
        assert (program, answer.returncode) == ("catalog-server", 0), answer.stderr
    assert "macos-15-runner: would delete 0 versions and free 0 bytes, from " in answer.stdout


def test_the_command_sets_and_ends_a_retention(quiet: Server) -> None:
    catalog_id = new_catalog_id()

    def saved(*words: str) -> str:
        answer = command(quiet.data_dir, "catalog-id", "set", catalog_id, *words, settings=quiet.settings)
        return answer.stdout + answer.stderr

    def kept() -> object:
        return good(quiet.call("GET", f"/catalog_ids/{catalog_id}", "admin"))["retention"]

    assert saved("--keep-versions", "3", "--expire-tag", "nightly-*") == "changed\n"
    assert kept() == {"keep_versions": 3, "keep_days": None, "expire_tags": ["nightly-*"]}
    assert "--expire-tag needs --keep-versions or --keep-days." in saved("--expire-tag", "x")
    assert saved("--keep-all") == "changed\n"
    assert kept() is None
