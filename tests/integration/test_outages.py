# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The server, or the way to it, goes away in the middle of a transfer and does not come back in time."""

from __future__ import annotations

import os
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.tests.integration.gate import DOWN, UP, Gate
from ansible_collections.macfleet.parallels.tests.integration.images import MIB, small_bundle, tree
from ansible_collections.macfleet.parallels.tests.integration.refusals import assert_refused
from ansible_collections.macfleet.parallels.tests.integration.stage import Mac, Results, Server, Stage, task
from ansible_collections.macfleet.parallels.tests.support.ansible_runs import TaskResult
from ansible_collections.macfleet.parallels.tests.support.server_process import ServerProcess

IMAGE = "interrupted-image"
# Three full segments: enough for a job in the background.
SIZE = 96 * MIB
SEGMENT_BYTES = 32 * MIB
PULLED_BYTES = 64 * MIB
# What four workers may have in hand of ranges that are not whole.
IN_FLIGHT_BYTES = 4 * 8 * MIB
PATIENCE_SECONDS = 120
# Requests are tried again for eight timeouts: long enough here, and short enough for a test.
TIMEOUT_SECONDS = 3


class Outage(t.NamedTuple):
    """A transfer that lost its server, what was there then, and the next one."""

    failed: TaskResult
    left: dict[str, t.Any]
    again: dict[str, t.Any]
    moved_again: int


@pytest.fixture(scope="module")
def mac(stage: Stage) -> Mac:
    return stage.mac("mac03")


@pytest.fixture(scope="module")
def bundle(stage: Stage) -> Path:
    return small_bundle(stage.builder.home / "outages", "Outage", SIZE)


def _looked_at(server: Server, mac: Mac, bundle: Path, cache: Path) -> dict[str, t.Any]:
    """What anybody could take for something whole, and what nobody needs any more."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while incoming := list(server.process.storage.rglob(".incoming-*")):
        assert time.monotonic() < deadline, f"the server keeps {incoming}"
        time.sleep(0.05)
    mac.wait_for_end_of_transfers()
    return {
        "versions": [manifest["version"] for manifest in server.manifests(IMAGE)],
        "beside the bundle": os.listdir(bundle.parent),
        "bundles": os.listdir(cache / "bundles") if cache.exists() else [],
        "partial": os.listdir(cache / "partial") if cache.exists() else [],
        "holdings": mac.holdings(),
        "jobs": mac.jobs(),
    }


@pytest.fixture(scope="module")
def push(stage: Stage, server: Server, bundle: Path) -> Outage:
    wanted = {"path": str(bundle), "catalog_id": IMAGE, "version": "1.0.0", "codec": "raw", "timeout": TIMEOUT_SECONDS}
    before = len(server.segments(SEGMENT_BYTES // 2))
    with Gate(server.url) as gate:
        gate.hold(UP, lambda total: total > SEGMENT_BYTES and len(server.segments(SEGMENT_BYTES // 2)) > before)
        run = stage.start("builder", [task("push", "catalog_push", {**wanted, "catalog_url": gate.url}, may_fail=True)])
        assert gate.wait_until_held(PATIENCE_SECONDS), run.log.read_text(encoding="utf-8")
        gate.close()
        failed = Results(run.wait(PATIENCE_SECONDS), run.log)["push"]
    left = _looked_at(server, stage.builder, bundle, stage.builder.cache)
    with Gate(server.url) as gate:
        again = stage.play("builder", [task("push", "catalog_push", {**wanted, "catalog_url": gate.url})])["push"]
        return Outage(failed, left, again.result, gate.moved(UP))


@pytest.fixture(scope="module")
def pull(stage: Stage, server: Server, mac: Mac, bundle: Path, push: Outage) -> Outage:
    cache = mac.home / "outages"
    wanted = {"catalog_id": IMAGE, "state": "cached", "cache_path": str(cache), "timeout": TIMEOUT_SECONDS}
    replica = ServerProcess(server.process.directory, server.process.python, {"CATALOG_LOG_LEVEL": "warning"})
    with replica, Gate(replica.url) as gate:
        gate.hold(DOWN, lambda total: total > PULLED_BYTES)
        run = stage.start("mac03", [task("pull", "catalog_pull", {**wanted, "catalog_url": gate.url}, may_fail=True)])
        assert gate.wait_until_held(PATIENCE_SECONDS), run.log.read_text(encoding="utf-8")
        replica.kill()
        gate.release()
        failed = Results(run.wait(PATIENCE_SECONDS), run.log)["pull"]
    left = _looked_at(server, mac, bundle, cache)
    with Gate(server.url) as gate:
        again = stage.play("mac03", [task("pull", "catalog_pull", {**wanted, "catalog_url": gate.url})])["pull"]
        return Outage(failed, left, again.result, gate.moved(DOWN))


def test_a_push_without_a_way_to_the_server_fails_in_one_sentence(push: Outage) -> None:
    # The embedded storage is gone as well. Segments that have their URL already may notice it first.
    code = push.failed.result.get("error_code")
    assert code in {"unreachable", "storage_unavailable"}
    assert_refused(push.failed, str(code), "127.0.0.1")


def test_a_push_without_a_way_to_the_server_leaves_nothing_half_made(push: Outage, bundle: Path) -> None:
    assert push.left["versions"] == []
    assert push.left["beside the bundle"] == [bundle.name]
    assert push.left["jobs"] == []


def test_the_next_push_goes_on(push: Outage) -> None:
    assert push.again["changed"]
    assert push.again["resumed_bytes"] >= SEGMENT_BYTES
    assert push.moved_again < SIZE - push.again["resumed_bytes"] + 2 * MIB


def test_a_pull_whose_server_died_fails_in_one_sentence(pull: Outage) -> None:
    assert_refused(pull.failed, "storage_unavailable", "127.0.0.1")


def test_a_pull_whose_server_died_leaves_nothing_half_made(pull: Outage, push: Outage, mac: Mac) -> None:
    assert pull.left["bundles"] == []
    assert pull.left["partial"] == [push.again["manifest"]["digest"]]
    assert pull.left["holdings"] == mac.holdings()
    assert pull.left["jobs"] == []


def test_the_next_pull_goes_on(pull: Outage, mac: Mac, bundle: Path) -> None:
    assert pull.again["changed"] and pull.again["resumed"]
    assert pull.again["bytes"]["downloaded"] <= SIZE - PULLED_BYTES + IN_FLIGHT_BYTES + MIB
    assert pull.moved_again < pull.again["bytes"]["downloaded"] + 2 * MIB
    assert tree(mac.home / "outages/bundles" / pull.again["manifest"]["digest"] / "bundle") == tree(bundle)
    assert os.listdir(mac.home / "outages/partial") == []
