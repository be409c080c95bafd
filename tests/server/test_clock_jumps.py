# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A clock that jumps by a year deletes nothing, forward or back, until somebody has said that it is right."""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

import pytest
from catalog_server import clock
from catalog_server.errors import ImplausibleClock
from catalog_server.jobs.kinds import kind_called
from catalog_server.jobs.runner import run
from catalog_server.models.audit import AuditEntry
from catalog_server.models.catalog import CatalogId
from catalog_server.models.identity import DeniedGrant
from catalog_server.models.jobs import Job
from catalog_server.models.transfers import Upload
from catalog_server.transfers import grants, leftovers, removal
from catalog_server.unit_of_work import Services, utc_now
from conftest import StartServer
from freeing import Scene, all_files
from packs import make_pack
from rows import new_catalog_id
from running import Server, command, command_work, wait_until
from sqlalchemy import func, select, update
from transfer_client import FILES, Client, error, good

BOTH = pytest.mark.parametrize("template", ["sqlite", "postgresql"], indirect=True)
YEAR = datetime.timedelta(days=365)
DELETING = ("housekeeping", "retention", "gc")


def at(server: Server, ahead: datetime.timedelta) -> Services:
    """The services of the test by a clock that is so much ahead."""
    return dataclasses.replace(server.services, clock=lambda: utc_now() + ahead)


def noted(server: Server) -> datetime.datetime:
    with server.services.database.reading() as session:
        found = clock.noted_at(session)
    assert found is not None
    return found


class Old:
    """Something of each kind that a job would delete in a year."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.scene = Scene(server)
        self.scene.delete()
        self.catalog_id = new_catalog_id()
        client = self.scene.client
        client.push(self.catalog_id, "1.0", FILES)
        client.push(self.catalog_id, "2.0", {"config.pvs": b"other"})
        good(server.call("PUT", f"/catalog_ids/{self.catalog_id}", "admin", json={"retention": {"keep_days": 30}}))
        with command_work(server.services) as work:
            work.session.execute(update(CatalogId).values(retention_set_at=work.now - YEAR))
        self.upload_id = good(client.begin(new_catalog_id()))["id"]
        client.store(self.upload_id, make_pack(self.upload_id, FILES))
        clock.note(server.services)

    def is_there(self) -> bool:
        with self.server.services.database.reading() as session:
            is_open = session.get_one(Upload, self.upload_id).state == "open"
            entries = session.scalar(
                select(func.count()).select_from(AuditEntry).where(AuditEntry.action == "user.add")
            )
        found = good(self.server.call("GET", "/manifests", "admin", params={"catalog_id": self.catalog_id}))[
            "manifests"
        ]
        base = self.scene.base
        return (
            is_open
            and bool(entries)
            and [one["version"] for one in found] == ["1.0", "2.0"]
            and base.pack.segments.keys() <= all_files(self.server, base.upload_id)
            and len(all_files(self.server, self.upload_id)) > 1
        )


@BOTH
@pytest.mark.parametrize("ahead", [YEAR, -YEAR, clock.MOST_AHEAD * 1.01, -clock.MOST_BEHIND * 1.5], ids=str)
def test_nothing_is_deleted_by_a_clock_that_has_jumped(start_server: StartServer, ahead: datetime.timedelta) -> None:
    server = start_server(CATALOG_JOBS_SECONDS="0", CATALOG_AUDIT_DAYS="90")
    old, wrong = Old(server), at(server, ahead)
    before = noted(server)
    for name in DELETING:
        with pytest.raises(ImplausibleClock, match="nothing is deleted"):
            run(wrong, kind_called(name), "test")
        with server.services.database.reading() as session:
            assert "catalog-server clock accept" in (session.get_one(Job, name).error or "")
    leftovers.discard(wrong, [old.scene.base.upload_id])
    run(wrong, kind_called("outbox"), "test")
    assert old.is_there()
    # What the wrong clock has written proves nothing, nor does it stay in the way of the right one.
    with command_work(wrong) as work:
        work.record("test", "test", "test")
    assert noted(server) == before
    for name in DELETING:
        run(server.services, kind_called(name), "test")
    assert old.is_there()


@BOTH
def test_a_clock_that_somebody_says_is_right_deletes_again(start_server: StartServer) -> None:
    server = start_server(CATALOG_JOBS_SECONDS="0", CATALOG_AUDIT_DAYS="90")
    old, later = Old(server), at(server, YEAR)
    with command_work(later) as work:
        clock.accept(work)
    for name in DELETING:
        run(later, kind_called(name), "test")
    assert not old.is_there()
    # Back again, it is as suspicious as it was ahead.
    for name in DELETING:
        with pytest.raises(ImplausibleClock):
            run(server.services, kind_called(name), "test")
    answer = command(server.data_dir, "clock", "accept", settings=server.settings)
    assert (answer.returncode, answer.stdout.endswith("deleted again\n")) == (0, True), answer.stderr
    for name in DELETING:
        run(server.services, kind_called(name), "test")
    with server.services.database.reading() as session:
        actions = session.scalars(select(AuditEntry.action).where(AuditEntry.action == "clock.accept")).all()
    assert len(actions) == 2


def test_a_clock_that_jumps_while_a_job_runs(start_server: StartServer) -> None:
    server = start_server(CATALOG_JOBS_SECONDS="0", CATALOG_AUDIT_DAYS="90")
    old, asked = Old(server), 0

    def jumping() -> datetime.datetime:
        nonlocal asked
        asked += 1
        # Behind the check at the beginning of the job
        return utc_now() + (YEAR if asked > 4 else datetime.timedelta())

    for name in DELETING:
        asked = 0
        with pytest.raises(ImplausibleClock):
            run(dataclasses.replace(server.services, clock=jumping), kind_called(name), "test")
    assert old.is_there()


def test_denials_of_grants_outlive_a_clock_that_was_ahead(start_server: StartServer) -> None:
    server = start_server(CATALOG_JOBS_SECONDS="0")
    client, catalog_id = Client.of(server, "admin"), new_catalog_id()
    client.push(catalog_id)
    first, second = (client.grant("pull", catalog_id)["id"] for _number in range(2))
    with command_work(server.services) as work:
        grants.deny(work, first)
    with command_work(at(server, YEAR)) as work:
        grants.deny(work, second)
    with server.services.database.reading() as session:
        assert {row.jti for row in session.scalars(select(DeniedGrant))} == {first, second}


def test_the_server_says_that_its_clock_has_jumped(start_server: StartServer) -> None:
    server = start_server()
    wait_until(lambda: noted_or_none(server) is not None)
    assert good(server.call("GET", "/health/ready")) == {"status": "OK", "warnings": []}
    with command_work(at(server, YEAR)) as work:
        clock.accept(work)
    wait_until(lambda: good(server.call("GET", "/health/ready"))["warnings"])
    (warning,) = t.cast("list[str]", good(server.call("GET", "/health/ready"))["warnings"])
    assert "nothing is deleted" in warning and "catalog-server clock accept" in warning
    answer = error(server.call("POST", "/jobs/gc/run", "admin"), 409, "implausible_clock")
    assert answer == warning
    # By the time that its jobs are due again, they say so in the log.
    with command_work(server.services) as work:
        work.session.execute(update(Job).values(finished_at=None))
    wait_until(lambda: "job failed: The clock says" in server.log)
    assert command(server.data_dir, "check", settings=server.settings).stdout.count("clock accept") == 1
    assert command(server.data_dir, "clock", "accept", settings=server.settings).returncode == 0
    wait_until(lambda: good(server.call("GET", "/health/ready"))["warnings"] == [])


def noted_or_none(server: Server) -> datetime.datetime | None:
    with server.services.database.reading() as session:
        return clock.noted_at(session)


def test_the_time_is_noted_seldom_and_never_goes_back(start_server: StartServer) -> None:
    server = start_server(CATALOG_JOBS_SECONDS="0")
    clock.note(server.services)
    first = noted(server)
    clock.note(at(server, datetime.timedelta(minutes=9)))
    clock.note(at(server, -datetime.timedelta(minutes=1)))
    assert noted(server) == first
    clock.note(at(server, datetime.timedelta(minutes=11)))
    assert noted(server) > first
    # What was let go is not collected before its URLs end, however far behind a plausible clock is.
    assert clock.MOST_BEHIND < datetime.timedelta(seconds=removal.LONGEST_URL_SECONDS)
