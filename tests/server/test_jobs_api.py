# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs over the API: what they would do, a run that somebody asks for, and how it went."""

from __future__ import annotations

import typing as t

from catalog_server.jobs import leases
from catalog_server.models.catalog import Catalog
from conftest import StartServer
from freeing import Scene, age
from rows import new_catalog_id
from running import Server, command_work, wait_until
from transfer_client import Client, error, good

Json = dict[str, t.Any]


def job(server: Server, name: str) -> Json:
    return t.cast(Json, good(server.call("GET", f"/jobs/{name}", "admin")))


def asked(server: Server, name: str) -> Json:
    """Ask for a run; returns the job behind it."""
    reply = server.call("POST", f"/jobs/{name}/run", "admin")
    assert reply.status_code == 202, reply.text
    wanted = reply.json()["requested_at"]

    def is_answered() -> bool:
        found = job(server, name)
        return found["started_at"] is not None and found["started_at"] >= wanted and not found["running"]

    wait_until(is_answered)
    return job(server, name)


def test_a_collection_by_the_api(start_server: StartServer) -> None:
    """On a server that runs no jobs by itself."""
    server = start_server(CATALOG_JOBS_SECONDS="0")
    assert [one["name"] for one in good(server.call("GET", "/jobs", "admin"))["jobs"]] == [
        "outbox",
        "housekeeping",
        "retention",
        "gc",
    ]
    assert job(server, "gc")["started_at"] is None
    scene = Scene(server)
    scene.delete()
    plan = good(server.call("GET", "/jobs/gc/plan", "admin"))
    assert (plan["enabled"], plan["segments"], plan["waiting_bytes"]) == (True, 0, scene.own_bytes)
    age(server)
    plan = good(server.call("GET", "/jobs/gc/plan", "admin"))
    assert (plan["segments"], plan["bytes"], plan["left_alone"]) == (len(scene.own), scene.own_bytes, {})
    ended = asked(server, "gc")
    assert (ended["error"], ended["result"]["bytes"], ended["progress"]) == (None, scene.own_bytes, {})
    assert scene.is_collected()
    entry = good(server.call("GET", "/audit", "admin", params={"action": "job.request"}))["entries"][0]
    assert (entry["actor"], entry["subject_kind"], entry["subject_id"]) == ("admin", "job", "gc")


def test_a_run_that_is_asked_for_during_another_comes_behind_it(start_server: StartServer) -> None:
    server = start_server(CATALOG_JOBS_SECONDS="1")
    assert leases.take(server.services, "outbox", "test") is not None
    reply = server.call("POST", "/jobs/outbox/run", "admin")
    assert reply.status_code == 202 and reply.json()["running"]
    assert job(server, "outbox")["started_at"] < reply.json()["requested_at"]
    leases.end(server.services, "outbox", "test", {}, None)
    wait_until(lambda: job(server, "outbox")["started_at"] > reply.json()["requested_at"])


def test_a_collection_that_is_off_is_refused(start_server: StartServer) -> None:
    server = start_server(CATALOG_JOBS_SECONDS="0")
    with command_work(server.services) as work:
        work.session.execute(Catalog.__table__.update().values(gc_enabled=False))
    message = error(server.call("POST", "/jobs/gc/run", "admin"), 409, "gc_disabled")
    assert "catalog-server gc --after-restore" in message
    assert good(server.call("GET", "/jobs/gc/plan", "admin"))["enabled"] is False
    assert job(server, "gc")["requested_at"] is None


def test_jobs_need_a_right_of_their_own(server: Server) -> None:
    role, user = f"JOBS-{new_catalog_id().upper()}", new_catalog_id()
    good(server.call("PUT", f"/roles/{role}", "admin", json={"claims": ["MANAGE_JOBS"]}))
    body = {"username": user, "password": "a long enough password", "roles": [role]}
    assert server.call("POST", "/users", "admin", json=body).status_code == 201
    token = server.login(user, "a long enough password").json()["token"]
    assert good(Client(server, token).http.get("/jobs"))["jobs"]
    refused = server.call("GET", "/jobs", "reader")
    assert error(refused, 403, "forbidden") == "You need the claim MANAGE_JOBS for this."
    message = error(server.call("POST", "/jobs/nothing/run", bearer=token), 404, "not_found")
    assert message == "There is no job 'nothing'. The jobs are outbox, housekeeping, retention, gc."
