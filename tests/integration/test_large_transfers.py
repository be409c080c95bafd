# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Large transfers: in the background with progress, killed half-way and resumed, and two at once."""

from __future__ import annotations

import os
import re
import signal
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.tests.integration.gate import DOWN, UP, Gate
from ansible_collections.macfleet.parallels.tests.integration.images import MIB, small_bundle, tree
from ansible_collections.macfleet.parallels.tests.integration.stage import Mac, Results, Server, Stage, task
from ansible_collections.macfleet.parallels.tests.support.ansible_runs import Run
from ansible_collections.macfleet.parallels.tests.support.waiting import holds_within

IMAGE = "large-image"
# Four full segments: more than are uploaded at once, so one is complete before the last begins.
SIZE = 130 * MIB
# A push that is killed then has stored three of them.
STORED_BYTES = SIZE * 55 // 100
# Four workers may hold 8 MiB each of ranges that are not whole yet: when so much has come, some is safe, and what is
# left is still enough for a job in the background.
KILLED_BYTES = 48 * MIB
IN_FLIGHT_BYTES = 4 * 8 * MIB
SLOW = 12 * MIB
PATIENCE_SECONDS = 120
# The beginning of every token and grant.
JWT = b"eyJhbGciOi"


def kill(mac: Mac, run: Run) -> None:
    """The controller ends as in a power cut, and so does what runs on the host."""
    run.kill()
    victims = mac.transfers()
    assert victims, f"nothing is transferred on {mac.name}"
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    mac.wait_for_end_of_transfers()
    # The grant was in no file. Ansible itself makes this directory for files of a task and never removes it.
    assert list((mac.home / ".ansible/tmp").glob("*")) == []
    # The next job of that day leaves these alone.
    left = mac.jobs()
    assert set(left) <= {left[0] + suffix for suffix in ("", ".lock", ".watched")}
    for name in left:
        (mac.home / ".ansible_async" / name).unlink()


def assert_no_secret_in_commands(mac: Mac) -> None:
    """Whoever may list the processes of the host sees no grant."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                assert JWT not in (entry / "cmdline").read_bytes()
            except OSError:
                continue


def progress_lines(run: Run, host: str, module: str) -> list[str]:
    """What the controller showed of a transfer."""
    shown = re.compile(rf"^\[{host}\] {module} {IMAGE} ?1?[0.]*: (.*)$", re.MULTILINE)
    return shown.findall(run.log.read_text(encoding="utf-8"))


def written_bytes(directory: Path) -> int:
    """What files below a directory take on the disk."""
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


class Large(t.NamedTuple):
    """All that happened to the large image."""

    bundle: Path
    stored_bytes: int
    push: Results
    push_run: Run
    sent_bytes: int
    pull: Results
    pull_run: Run
    received_bytes: int
    partials: list[str]


@pytest.fixture(scope="module")
def large(stage: Stage, server: Server) -> Large:
    mac = stage.mac("mac01")
    bundle = small_bundle(stage.builder.home / "large", "Large", SIZE)
    push = {"path": str(bundle), "catalog_id": IMAGE, "version": "1.0.0", "codec": "raw"}
    before = set(server.segments())

    def stored() -> list[Path]:
        return [path for path in server.segments() if path not in before]

    def stored_bytes() -> int:
        return sum(path.stat().st_size for path in stored())

    with Gate(server.url) as gate:
        # At the latest, what begins the commit is held back.
        gate.hold(UP, lambda total: total > STORED_BYTES and stored_bytes() >= STORED_BYTES)
        run = stage.start("builder", [task("push", "catalog_push", {**push, "catalog_url": gate.url})])
        assert gate.wait_until_held(PATIENCE_SECONDS), run.log.read_text(encoding="utf-8")
        assert_no_secret_in_commands(stage.builder)
        kill(stage.builder, run)
    assert server.manifests(IMAGE) == []
    killed_at = time.time_ns()
    # What is left of the push is a third of what is left of the pull.
    with Gate(server.url, SLOW // 3) as gate:
        push_run = stage.start("builder", [task("push", "catalog_push", {**push, "catalog_url": gate.url})])
        pushed = Results(push_run.wait(PATIENCE_SECONDS), push_run.log)
        sent_bytes = gate.moved(UP)
    stored_before = sum(path.stat().st_size for path in stored() if path.stat().st_mtime_ns < killed_at)

    # As many ranges are on their way at most.
    pull = {"catalog_id": IMAGE, "state": "cached", "cache_path": str(mac.home / "large"), "connections": 4}
    held = mac.holdings()
    with Gate(server.url) as gate:
        gate.hold(DOWN, lambda total: total > KILLED_BYTES)
        run = stage.start("mac01", [task("pull", "catalog_pull", {**pull, "catalog_url": gate.url})])
        assert gate.wait_until_held(PATIENCE_SECONDS), run.log.read_text(encoding="utf-8")
        assert_no_secret_in_commands(mac)
        # What has arrived is written while the gate is shut.
        least = KILLED_BYTES - IN_FLIGHT_BYTES
        assert holds_within(PATIENCE_SECONDS, lambda: written_bytes(mac.home / "large/partial") >= least)
        kill(mac, run)
    assert mac.holdings() == held
    assert os.listdir(mac.home / "large/bundles") == []
    partials = os.listdir(mac.home / "large/partial")
    with Gate(server.url, SLOW) as gate:
        pull_run = stage.start("mac01", [task("pull", "catalog_pull", {**pull, "catalog_url": gate.url})])
        pulled = Results(pull_run.wait(PATIENCE_SECONDS), pull_run.log)
        received_bytes = gate.moved(DOWN)
    return Large(bundle, stored_before, pushed, push_run, sent_bytes, pulled, pull_run, received_bytes, partials)


def test_a_push_that_was_killed_goes_on(large: Large) -> None:
    done = large.push["push"].result
    assert done["changed"]
    assert done["resumed_bytes"] == large.stored_bytes >= STORED_BYTES
    assert large.sent_bytes < SIZE - done["resumed_bytes"] + MIB
    assert done["bytes"]["new"] + done["bytes"]["reused"] == done["manifest"]["data_bytes"]


def test_a_pull_that_was_killed_goes_on(large: Large, stage: Stage) -> None:
    done = large.pull["pull"].result
    mac = stage.mac("mac01")
    digest = done["manifest"]["digest"]
    assert large.partials == [digest]
    assert done["changed"] and done["resumed"]
    assert done["bytes"]["downloaded"] <= SIZE - KILLED_BYTES + IN_FLIGHT_BYTES + MIB
    assert large.received_bytes < done["bytes"]["downloaded"] + 8 * MIB
    assert tree(mac.home / "large/bundles" / digest / "bundle") == tree(large.bundle)
    assert os.listdir(mac.home / "large/partial") == []


def test_large_transfers_tell_their_progress(large: Large, stage: Stage) -> None:
    line = re.compile(r"(push|download): [0-9.]+ [kMG]?B of [0-9.]+ [MG]B \([0-9]+ %\)")
    for run, host, module in (
        (large.push_run, "builder", "catalog_push"),
        (large.pull_run, "mac01", "catalog_pull"),
    ):
        shown = progress_lines(run, host, module)
        assert any(line.match(text) for text in shown), shown
        assert len(shown) < 30
        assert re.fullmatch(r"done: [0-9.]+ MB moved, .* reused, .* s", shown[-1])
    for results in (large.push, large.pull):
        for row in results.rows:
            assert not {"ansible_job_id", "results_file", "transfer"} & set(row.result)


def test_no_job_left_anything_behind(large: Large, stage: Stage) -> None:
    for mac in (stage.builder, stage.mac("mac01")):
        mac.wait_for_end_of_transfers()
        assert mac.jobs() == []


def test_an_interrupted_play_ends_its_transfer(large: Large, stage: Stage, server: Server) -> None:
    mac = stage.mac("mac02")
    # Slow enough for the module to look whether it shall go on, before it is done.
    with Gate(server.url, SLOW) as gate:
        gate.hold(DOWN, lambda total: total > 8 * MIB)
        wanted = {"catalog_id": IMAGE, "state": "cached", "catalog_url": gate.url, "cache_path": "~/interrupted"}
        run = stage.start("mac02", [task("pull", "catalog_pull", wanted)])
        assert gate.wait_until_held(PATIENCE_SECONDS)
        assert mac.transfers()
        os.killpg(run.process.pid, signal.SIGINT)
        run.process.wait(PATIENCE_SECONDS)
        gate.release()
        mac.wait_for_end_of_transfers()
        assert gate.moved(DOWN) < SIZE / 2
    assert os.listdir(mac.home / "interrupted/bundles") == []
    assert len(os.listdir(mac.home / "interrupted/partial")) == 1


def test_two_pulls_at_once_download_once(stage: Stage, server: Server) -> None:
    size = 32 * MIB
    bundle = small_bundle(stage.builder.home / "twice", "Twice", size)
    address = {"catalog_id": "twice-image", "version": "1.0.0"}
    stage.play("builder", [task("push", "catalog_push", {"path": str(bundle), **address})])
    with Gate(server.url, 6 * MIB) as gate:
        wanted = {**address, "state": "cached", "catalog_url": gate.url}
        rows = stage.play("twice", [task("pull", "catalog_pull", wanted)]).of("pull")
        received_bytes = gate.moved(DOWN)
    assert len(rows) == 2
    first, second = sorted((row.result for row in rows.values()), key=lambda result: not result["changed"])
    assert first["changed"] and first["bytes"]["downloaded"] >= size
    assert not second["changed"] and second["bytes"]["downloaded"] == 0
    assert any("Waiting for the lock" in warning for warning in second["warnings"])
    assert received_bytes < size * 1.2
    assert tree(stage.mac("mac02").cached(first["manifest"]["digest"])) == tree(bundle)


def test_a_task_may_be_asynchronous_itself(stage: Stage) -> None:
    bundle = small_bundle(stage.builder.home / "async", "Async")
    wanted = {"path": str(bundle), "catalog_id": "async-image", "version": "1.0.0"}
    done = stage.play("builder", [{**task("push", "catalog_push", wanted), "async": 60, "poll": 1}])["push"]
    assert done.result["changed"] and done.result["manifest"]["version"] == "1.0.0"
