# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The metrics: what they say, who may read them, and that the page for operators says the same."""

from __future__ import annotations

import functools
import re
import secrets
import typing as t
from pathlib import Path

import httpx
import yaml
from catalog_server.identity.refusals import REASONS
from conftest import StartServer
from prometheus_client.parser import text_string_to_metric_families
from rows import new_catalog_id, put_manifest
from running import Server, wait_until
from sockets import connect
from test_receivers import Push
from transfer_client import Client

DOCUMENT = Path(__file__).parents[2] / "docs/monitoring.md"
ROW = re.compile(r"^\| `(catalog_\w+)` \| (\w+) \|(.*?)\| .+ \|$", re.MULTILINE)
NAME = re.compile(r"\bcatalog_\w+")
TOKEN = "a token of the tests that is long enough"

Labels = tuple[tuple[str, str], ...]


def scrape(server: Server) -> str:
    reply = httpx.get(f"{server.url}/metrics", trust_env=False, timeout=30)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    return reply.text


def families(server: Server) -> dict[str, t.Any]:
    return {family.name: family for family in text_string_to_metric_families(scrape(server))}


def samples(server: Server, name: str) -> dict[Labels, float]:
    """The samples of that name, by their labels."""
    found = [sample for family in families(server).values() for sample in family.samples if sample.name == name]
    return {tuple(sorted(sample.labels.items())): sample.value for sample in found}


def value(server: Server, name: str, **labels: str) -> float:
    return samples(server, name).get(tuple(sorted(labels.items())), 0.0)


def has_succeeded(server: Server, job: str) -> bool:
    return value(server, "catalog_job_success_age_seconds", job=job) > 0


def busy(server: Server) -> None:
    """Let every metric have a sample."""
    Client.of(server, "pusher").push(new_catalog_id())
    server.login("admin", "wrong")
    for job in ("housekeeping", "gc", "outbox"):
        wait_until(functools.partial(has_succeeded, server, job), 30)


def test_the_page_for_operators_has_every_metric(start_server: StartServer) -> None:
    server = start_server(CATALOG_JOBS_SECONDS="1")
    busy(server)
    exposed = {}
    for family in families(server).values():
        # Those of the library: of the process, and when a counter began.
        if family.name.startswith("process_") or family.name.endswith("_created"):
            continue
        names = {sample.name for sample in family.samples} if family.type != "histogram" else {family.name}
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        (name,) = names
        exposed[name] = (family.type, labels)
    written = {
        name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in ROW.findall(DOCUMENT.read_text(encoding="utf-8"))
    }
    assert written == exposed


def test_the_alerts_of_the_page_are_about_metrics_that_there_are() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    known = {name for name, _kind, _labels in ROW.findall(text)}
    histograms = {f"{name}_bucket" for name, kind, _labels in ROW.findall(text) if kind == "histogram"}
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    (groups,) = [block["groups"] for block in blocks if "groups" in block]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) >= 8
    for rule in rules:
        assert set(NAME.findall(re.sub(r'"[^"]*"', "", rule["expr"]))) - known - histograms == set(), rule


def test_the_page_names_all_fields_of_a_line_of_the_log(server: Server) -> None:
    reply = server.call("POST", "/auth/token", json={"email": "reader", "password": "wrong"})
    server.line_of(reply)
    fields = {field for line in server.lines_with('"message": "request"') for field in line} - {"logger", "message"}
    text = DOCUMENT.read_text(encoding="utf-8").partition("## The log")[2].partition("## ")[0]
    assert fields <= set(re.findall(r"`(\w+)`", text))


def test_requests_are_counted_by_template(server: Server) -> None:
    manifest_id = put_manifest(server)
    labels = {"method": "GET", "route": "/manifests/{manifest_id}", "status": "200"}
    before = value(server, "catalog_http_requests_total", **labels)
    bytes_before = value(server, "catalog_http_sent_bytes_total", route=labels["route"])
    for prefix in ("/api/v1", "/api"):
        headers = {"Authorization": f"Bearer {server.token('reader')}"}
        reply = httpx.get(f"{server.url}{prefix}/manifests/{manifest_id}", headers=headers, trust_env=False)
        assert reply.status_code == 200
    wait_until(lambda: value(server, "catalog_http_requests_total", **labels) == before + 2)
    assert value(server, "catalog_http_sent_bytes_total", route=labels["route"]) >= bytes_before + len(reply.content)
    assert manifest_id not in scrape(server)


def test_nobody_makes_series_without_end(server: Server) -> None:
    def strange(number: int) -> None:
        for path in (f"/api/v1/{secrets.token_hex(4)}", f"/{secrets.token_hex(4)}", f"/api/v1/manifests/{number}x"):
            httpx.get(f"{server.url}{path}", trust_env=False)
        httpx.request(f"M{secrets.token_hex(4)}".upper(), f"{server.url}/api/v1/server", trust_env=False)
        server.call("POST", "/auth/token", json={"email": secrets.token_hex(4), "password": "wrong"})

    def series() -> set[tuple[str, Labels]]:
        return {
            (sample.name, tuple(sorted(sample.labels.items())))
            for family in families(server).values()
            for sample in family.samples
            # Jobs have theirs when they have run for the first time, whatever anybody asks.
            if not sample.name.startswith("catalog_job_")
        }

    strange(0)
    scrape(server)
    before = series()
    for number in range(1, 20):
        strange(number)
    assert series() == before
    assert value(server, "catalog_http_requests_total", method="GET", route="unmatched", status="404") >= 40


def test_refused_logins_are_counted_by_reason(server: Server) -> None:
    before = value(server, "catalog_login_refusals_total", reason="wrong_password")
    server.login("staff", "wrong")
    wait_until(lambda: value(server, "catalog_login_refusals_total", reason="wrong_password") == before + 1)
    assert {dict(labels)["reason"] for labels in samples(server, "catalog_login_refusals_total")} <= REASONS


def test_the_state_of_the_server(start_server: StartServer) -> None:
    server = start_server(CATALOG_RECEIVERS="7")
    assert value(server, "catalog_database_up") == 1
    assert value(server, "catalog_storage_up", storage="local") == 1
    assert value(server, "catalog_storage_free_bytes", storage="local") > 1 << 20
    assert (
        0
        < value(server, "catalog_key_age_seconds", key="newest")
        <= value(server, "catalog_key_age_seconds", key="oldest")
    )
    assert value(server, "catalog_pool_threads", pool="writes") == server.services.settings.writers
    connections = value(server, "catalog_connections")
    push = Push(server)
    with connect(server), push.stalled():
        assert value(server, "catalog_connections") >= connections + 2
        assert value(server, "catalog_receivers") == 1
        assert value(server, "catalog_receiving_bytes") == len(push.data)
        assert value(server, "catalog_uploads_open") == 1
    wait_until(lambda: value(server, "catalog_receivers") == 0)


def test_a_job_that_fails_is_told(start_server: StartServer) -> None:
    server = start_server(CATALOG_JOBS_SECONDS="1")
    wait_until(functools.partial(has_succeeded, server, "gc"), 30)
    assert value(server, "catalog_job_failed", job="gc") == 0


def test_metrics_without_a_database_or_a_storage(start_server: StartServer) -> None:
    server = start_server(CATALOG_JOBS_SECONDS="0")
    (server.data_dir / "storage/catalog.json").unlink()
    assert value(server, "catalog_storage_up", storage="local") == 0
    assert value(server, "catalog_database_up") == 1
    if server.services.database.dialect == "sqlite":
        server.services.database.close()
        for path in server.data_dir.glob("catalog.db*"):
            path.rename(path.with_name(f"away-{path.name}"))
            path.mkdir()
        assert value(server, "catalog_database_up") in (0, 1)
        assert samples(server, "catalog_http_requests_total")


def get(server: Server, **headers: str) -> int:
    return httpx.get(f"{server.url}/metrics", headers=headers, trust_env=False).status_code


def test_who_may_read_the_metrics(start_server: StartServer) -> None:
    server = start_server(CATALOG_METRICS_TOKEN=TOKEN)
    assert get(server) == 200
    elsewhere = {"X-Forwarded-For": "203.0.113.7"}
    assert get(server, **elsewhere) == 403
    assert get(server, **elsewhere, Authorization=f"Bearer {TOKEN}") == 200
    assert get(server, **elsewhere, Authorization="Bearer another token that is long enough") == 401
    assert get(server, **elsewhere, Authorization=f"Bearer {server.token('admin')}") == 401
    # All lines before this one are written.
    server.line_of(server.call("GET", "/server"))
    assert TOKEN not in server.log


def test_addresses_that_may_read_the_metrics(start_server: StartServer) -> None:
    server = start_server(CATALOG_METRICS_ALLOW="203.0.113.0/24, 2001:db8::/32")
    assert get(server) == 403
    assert get(server, **{"X-Forwarded-For": "203.0.113.7"}) == 200
    assert get(server, **{"X-Forwarded-For": "2001:db8::1"}) == 200
    assert get(server, **{"X-Forwarded-For": "198.51.100.1"}) == 403
    assert get(server, Authorization=f"Bearer {server.token('admin')}") == 403
    nobody = start_server(CATALOG_METRICS_ALLOW="none")
    assert get(nobody) == 403


def test_a_proxy_that_is_not_trusted_is_no_client(start_server: StartServer) -> None:
    server = start_server(CATALOG_TRUSTED_PROXIES="192.0.2.1")
    assert get(server) == 200
    assert get(server, **{"X-Forwarded-For": "203.0.113.7"}) == 403


def test_workers_are_counted_together(start_server: StartServer) -> None:
    server = start_server(CATALOG_WORKERS="2")
    for _number in range(10):
        # Each on a connection of its own, so that both workers get some.
        assert httpx.get(f"{server.url}/api/v1/server", trust_env=False).status_code == 200
    labels = {"method": "GET", "route": "/server", "status": "200"}
    for _scrape in range(4):
        wait_until(functools.partial(_has_counted, server, labels, 10))


def _has_counted(server: Server, labels: dict[str, str], count: float) -> bool:
    return value(server, "catalog_http_requests_total", **labels) == count
