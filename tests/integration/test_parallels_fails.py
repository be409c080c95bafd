# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parallels Desktop refuses, hangs or talks nonsense: nothing is left registered or on disk."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.macfleet.parallels.tests.integration.images import small_bundle, tree
from ansible_collections.macfleet.parallels.tests.integration.refusals import assert_refused
from ansible_collections.macfleet.parallels.tests.integration.stage import HANGING, Mac, Results, Stage, Task, task
from ansible_collections.macfleet.parallels.tests.support.ansible_runs import Run

IMAGE = "parallels-image"
FAILED: dict[str, t.Any] = {"returncode": 255, "stderr": "Failed to register the VM: Unknown error.\n"}
# prlctl has three minutes to register a VM.
HANG: dict[str, t.Any] = {"verb": "register", "times": 1, "hang_seconds": 600}
HANG_DEADLINE_SECONDS = 240

FAULTS = {
    "refuses to register": {"verb": "register", **FAILED},
    "registers and says that it failed": {"verb": "register", "when": "after", **FAILED},
    "refuses to list": {"verb": "list", **FAILED},
    "lists nonsense": {"verb": "list", "stdout": "", "returncode": 0},
}


@pytest.fixture(scope="session")
def image(lasting_stage: Stage) -> Results:
    bundle = small_bundle(lasting_stage.builder.home / "parallels", "Image")
    wanted = {"path": str(bundle), "catalog_id": IMAGE, "version": "1.0.0"}
    return lasting_stage.play("builder", [task("push", "catalog_push", wanted)])


@pytest.fixture(scope="session")
def hanging(lasting_stage: Stage, image: Results) -> t.Iterator[Run]:
    """A pull whose registration hangs; it begins here so that others do not wait with it."""
    lasting_stage.mac(HANGING).parallels.fail(HANG)
    wanted = {"catalog_id": IMAGE, "name": "Hung"}
    run = lasting_stage.start(HANGING, [task("pull", "catalog_pull", wanted, may_fail=True)])
    yield run
    run.end()


@pytest.fixture(scope="module")
def pulls(stage: Stage, image: Results, hanging: Run) -> tuple[Results, list[t.Any]]:
    """A pull with each fault, then without, and what the host held before and after them."""
    mac = stage.mac("mac02")
    # So that there is a directory for faults.
    mac.parallels.fail()
    wanted = {"catalog_id": IMAGE, "name": "Faulty"}
    stage.play("mac02", [task("cached", "catalog_pull", {"catalog_id": IMAGE, "state": "cached"})])
    before = mac.holdings()
    tasks = []
    for name, fault in FAULTS.items():
        tasks += [_set_faults(stage, fault), task(name, "catalog_pull", wanted, may_fail=True)]
    refused = stage.play("mac02", tasks)
    after = mac.holdings()
    around = {"garbage_before": "A new version is available!\n", "garbage_after": "\nBye.\n"}
    done = stage.play(
        "mac02",
        [
            _set_faults(stage, around),
            task("started", "catalog_pull", {**wanted, "state": "started"}),
            task("again", "catalog_pull", {**wanted, "state": "started"}),
            task("absent", "catalog_pull", {**wanted, "state": "absent"}),
            _set_faults(stage),
        ],
    )
    return Results([*refused.rows, *done.rows], done.log), [before, after]


def _set_faults(stage: Stage, *faults: t.Mapping[str, t.Any]) -> Task:
    path = stage.mac("mac02").home / ".parallels-simulator/faults.json"
    return task("faults", "ansible.builtin.copy", {"content": json.dumps(faults), "dest": str(path), "mode": "0600"})


@pytest.mark.parametrize("name", FAULTS)
def test_a_failure_of_parallels_is_told(pulls: tuple[Results, list[t.Any]], name: str) -> None:
    assert_refused(pulls[0][name], "prlctl_failed")


def test_no_failure_of_parallels_left_anything(pulls: tuple[Results, list[t.Any]]) -> None:
    before, after = pulls[1]
    assert after == before


def test_output_around_the_json_does_not_matter(pulls: tuple[Results, list[t.Any]], stage: Stage) -> None:
    results, _holdings = pulls
    assert results["started"].result["changed"] and results["absent"].result["changed"]
    assert not results["again"].result["changed"] and results["again"].result["vm"]["state"] == "running"
    assert not stage.mac("mac02").vm_home("Faulty").exists()


@pytest.mark.at_the_end
def test_a_registration_that_hangs_is_ended(stage: Stage, image: Results, hanging: Run) -> None:
    mac = stage.mac(HANGING)
    refused = Results(hanging.wait(HANG_DEADLINE_SECONDS), hanging.log)["pull"]
    # The image was pulled before, and stays.
    assert_refused(refused, "prlctl_timeout", "register", "180 s", changed=True)
    _assert_nothing_made(mac)
    assert not mac.processes("prlctl")
    wanted = {"catalog_id": IMAGE, "name": "Hung"}
    again = stage.play(HANGING, [task("pull", "catalog_pull", wanted)])["pull"]
    assert again.result["changed"] and again.result["bytes"]["downloaded"] == 0
    assert set(tree(mac.vm_home("Hung"))) == set(tree(mac.cached(again.result["manifest"]["digest"])))


def _assert_nothing_made(mac: Mac) -> None:
    assert mac.parallels.machines() == {}
    assert not any((mac.home / "Parallels").iterdir())
