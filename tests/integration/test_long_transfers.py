# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Transfers that take longer than a grant lives: over slow links, and because of a lock."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache import locking
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.tests.integration.gate import Gate
from ansible_collections.macfleet.parallels.tests.integration.images import MIB, small_bundle, tree
from ansible_collections.macfleet.parallels.tests.integration.stage import Mac, Results, Server, Stage, task
from ansible_collections.macfleet.parallels.tests.support.ansible_runs import Run
from ansible_collections.macfleet.parallels.tests.support.server_process import ServerProcess

IMAGE = "long-image"
GRANT_SECONDS = 20
# A URL is renewed when half of its lifetime has passed. A push asks for the URL of a segment when that is finished, so
# for the last one after the first grant has expired.
URL_SECONDS = GRANT_SECONDS + 21
SIZE = 130 * MIB
SLOW = 4 * MIB
PATIENCE_SECONDS = 180


@pytest.fixture(scope="module")
def bundle(stage: Stage) -> Path:
    return small_bundle(stage.builder.home / "long", "Long", SIZE)


@pytest.fixture(scope="module")
def digest(stage: Stage, bundle: Path) -> str:
    wanted = {"path": str(bundle), "catalog_id": IMAGE, "version": "1.0.0", "codec": "raw"}
    done = stage.play("builder", [task("push", "catalog_push", wanted)])["push"]
    return str(done.result["manifest"]["digest"])


@contextlib.contextmanager
def _in_the_way(cache: Path, digest: str) -> t.Iterator[None]:
    """Hold the lock of an image, as another pull would."""
    with Cache.open(str(cache), create=True).lock(digest, locking.FILL, "another pull", 0):
        yield


def _wait_for_waiting(mac: Mac, run: Run) -> None:
    """Until the module on this host waits for a lock."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while "wait" not in [_phase(mac.home / ".ansible_async" / name) for name in mac.jobs()]:
        assert run.process.poll() is None and time.monotonic() < deadline, run.log.read_text(encoding="utf-8")
        time.sleep(0.05)


def _phase(path: Path) -> t.Any:
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_bytes()).get("phase")
    return None


class Long(t.NamedTuple):
    """What came of them, and how often a grant was renewed."""

    push: dict[str, t.Any]
    pull: dict[str, t.Any]
    wait: dict[str, t.Any]
    renewals: int


def _renewals(server: Server) -> int:
    return sum(request.endswith("/grants/renew") for request in server.process.requests())


@pytest.fixture(scope="module")
def long(stage: Stage, server: Server, bundle: Path, digest: str) -> Long:
    before = _renewals(server)
    settings = {"CATALOG_GRANT_SECONDS": str(GRANT_SECONDS), "CATALOG_GET_URL_SECONDS": str(URL_SECONDS)}
    replica = ServerProcess(server.process.directory, server.process.python, settings)
    waiting = stage.mac("mac03")
    push = {"path": str(bundle), "catalog_id": "slow-image", "version": "1.0.0", "codec": "raw"}
    pull = {"catalog_id": IMAGE, "state": "cached", "cache_path": "~/long"}
    with replica, Gate(replica.url, SLOW) as up, Gate(replica.url, SLOW) as down:
        with _in_the_way(waiting.home / "long", digest):
            runs = [
                stage.start("builder", [task("push", "catalog_push", {**push, "catalog_url": up.url})]),
                stage.start("mac02", [task("pull", "catalog_pull", {**pull, "catalog_url": down.url})]),
                stage.start("mac03", [task("wait", "catalog_pull", {**pull, "catalog_url": replica.url})]),
            ]
            _wait_for_waiting(waiting, runs[2])
            rows = [row for run in runs[:2] for row in run.wait(PATIENCE_SECONDS)]
        rows += runs[2].wait(PATIENCE_SECONDS)
    results = Results(rows, stage.logs)
    return Long(*(results[name].result for name in ("push", "pull", "wait")), renewals=_renewals(server) - before)


def test_a_push_outlives_its_grant(long: Long) -> None:
    assert long.push["changed"] and long.push["elapsed"] > GRANT_SECONDS


@pytest.mark.parametrize("name", ["pull", "wait"])
def test_a_pull_outlives_its_grant(stage: Stage, long: Long, bundle: Path, digest: str, name: str) -> None:
    done = getattr(long, name)
    assert done["changed"] and done["elapsed"] > GRANT_SECONDS
    mac = stage.mac("mac02" if name == "pull" else "mac03")
    assert tree(mac.home / "long/bundles" / digest / "bundle") == tree(bundle)


def test_a_grant_is_not_renewed_all_the_time(long: Long) -> None:
    # Three transfers of less than a minute, at each half of a life.
    assert 3 <= long.renewals < 30


def test_an_interrupted_play_ends_its_waiting(stage: Stage, digest: str) -> None:
    mac = stage.mac("mac01")
    cache = mac.home / "interrupted while waiting"
    with _in_the_way(cache, digest):
        wanted = {"catalog_id": IMAGE, "state": "cached", "cache_path": str(cache)}
        run = stage.start("mac01", [task("pull", "catalog_pull", wanted)])
        _wait_for_waiting(mac, run)
        os.killpg(run.process.pid, signal.SIGINT)
        run.process.wait(PATIENCE_SECONDS)
        mac.wait_for_end_of_transfers()
    assert mac.jobs() == []
    assert not os.listdir(cache / "bundles") + os.listdir(cache / "partial")
