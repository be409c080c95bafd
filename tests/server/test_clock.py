# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A clock of the server that was ahead and goes back."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
from catalog_server.jobs.kinds import KINDS
from catalog_server.jobs.runner import run
from catalog_server.models.identity import LoginFailure, LoginOrigin
from catalog_server.unit_of_work import utc_now
from rows import new_catalog_id, segments_of
from running import Program, Server, Template, command_work, start, wait_until
from sqlalchemy import select
from transfer_client import FILES, NEXT_FILES, Client, error, good

CLOCKED = str(Path(__file__).with_name("clocked_server.py"))
HOUR = 3600
DAY = 24 * HOUR
LOCKOUT = 600


@dataclasses.dataclass(frozen=True)
class Clocked:
    """A server, and how many seconds its clock is ahead."""

    server: Server
    file: Path

    def ahead(self, seconds: int) -> None:
        # In one piece: the server reads it at any time.
        new = self.file.with_suffix(".new")
        new.write_text(str(seconds), encoding="ascii")
        new.replace(self.file)

    def client(self, name: str) -> Client:
        """Somebody who logs in now."""
        return Client(self.server, good(self.server.login(name))["token"])


@pytest.fixture(name="clocked")
def clocked_fixture(template: Template, tmp_path: Path) -> Iterator[Clocked]:
    file = tmp_path / "ahead"
    file.write_text("0", encoding="ascii")
    limits = {"CATALOG_JOBS_SECONDS": "0", "CATALOG_LOGIN_ATTEMPTS": "3", "CATALOG_LOCKOUT_SECONDS": str(LOCKOUT)}
    with template.copied(tmp_path / "data", limits) as settings:
        server = start(tmp_path / "data", settings, Program((CLOCKED, str(file))))
        try:
            yield Clocked(server, file)
        finally:
            server.stop()


def test_pushes_are_ordered_by_their_number(clocked: Clocked) -> None:
    catalog_id = new_catalog_id()
    clocked.ahead(HOUR)
    first = clocked.client("pusher").push(catalog_id, "nightly-a", FILES)
    clocked.ahead(0)
    pusher = clocked.client("pusher")
    second = pusher.push(catalog_id, "nightly-b", NEXT_FILES)
    assert first.manifest["created_at"] > second.manifest["created_at"]
    resolved = good(pusher.http.get("/manifests/resolve", params={"catalog_id": catalog_id}))
    assert [one["version"] for one in resolved["manifests"]] == ["nightly-b"]
    assert [one["version"] for one in pusher.grant("push", catalog_id, "nightly-c")["bases"]] == ["nightly-b"]


def test_a_lockout_lasts_no_longer(clocked: Clocked) -> None:
    clocked.ahead(HOUR)
    for _attempt in range(3):
        assert clocked.server.login("reader", "wrong password").status_code == 401
    clocked.ahead(0)
    locked = clocked.server.login("reader")
    error(locked, 429, "locked_out")
    assert 1 <= int(locked.headers["retry-after"]) <= LOCKOUT + 1
    with clocked.server.services.database.reading() as session:
        assert all(moment <= utc_now() for moment in session.scalars(select(LoginFailure.last_at)))
    clocked.ahead(LOCKOUT + 2)
    assert clocked.server.login("reader").status_code == 200


def test_a_grant_that_was_taken_back_stays_so(clocked: Clocked) -> None:
    catalog_id = new_catalog_id()
    pushed = clocked.client("pusher").push(catalog_id)
    reader = clocked.client("reader")
    grant = reader.grant("pull", catalog_id)
    reader.http.delete(f"/grants/{grant['id']}").raise_for_status()
    clocked.ahead(2 * DAY)
    # What is too old is forgotten there, by the job and by another one that is taken back.
    later = clocked.client("reader")
    later.http.delete(f"/grants/{later.grant('pull', catalog_id)['id']}").raise_for_status()
    services = dataclasses.replace(clocked.server.services, clock=lambda: utc_now() + datetime.timedelta(days=2))
    assert run(services, next(one for one in KINDS if one.name == "housekeeping"), "test") is not None
    clocked.ahead(0)
    answer = Client(clocked.server, grant["grant"]).read_urls(pushed.id, segments_of(clocked.server, pushed.id))
    error(answer, 401, "grant_revoked")


def test_a_download_counts_once_although_the_clock_was_ahead_meanwhile(clocked: Clocked) -> None:
    catalog_id = new_catalog_id()
    pushed = clocked.client("pusher").push(catalog_id)
    segments = segments_of(clocked.server, pushed.id)

    def read(grant: str, downloads: int) -> None:
        good(Client(clocked.server, grant).read_urls(pushed.id, segments))
        wait_until(lambda: clocked.client("reader").manifest(pushed.id)["download_count"] >= downloads)

    first = clocked.client("reader").grant("pull", catalog_id)["grant"]
    read(first, 1)
    clocked.ahead(365 * DAY)
    read(clocked.client("reader").grant("pull", catalog_id)["grant"], 2)
    clocked.ahead(0)
    read(first, 2)
    # It is written behind the other one.
    read(clocked.client("reader").grant("pull", catalog_id)["grant"], 3)
    assert clocked.client("reader").manifest(pushed.id)["download_count"] == 3


def test_who_has_logged_in_from_where_is_remembered_although_the_clock_was_ahead(clocked: Clocked) -> None:
    with command_work(clocked.server.services) as work:
        work.session.add(LoginOrigin(subject="somebody/somewhere", last_at=work.now))
    clocked.ahead(365 * DAY)
    assert clocked.server.login("reader").status_code == 200
    with clocked.server.services.database.reading() as session:
        assert session.get(LoginOrigin, "somebody/somewhere") is not None
