# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image from its first push to the removal of the last VM: predicted, done, and not done twice."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.tests.integration.images import Tree, small_bundle, tree
from ansible_collections.macfleet.parallels.tests.integration.stage import Results, Stage, task, thrice
from ansible_collections.macfleet.parallels.tests.support import bundles

IMAGE = "life-runner"
VM = "life 01"
# What check mode says of encoded bytes is the ratio of a sample.
ESTIMATE = 0.1


@dataclass(frozen=True)
class Life:
    """All that happened, in its order."""

    pushed: Results
    updated: Results
    pulled: Results
    damaged: Results
    cleared: Results
    first: Tree
    second: Tree
    cache: dict[str, Tree]
    vm: Tree


@pytest.fixture(scope="module")
def life(stage: Stage) -> Life:
    mac = stage.mac("mac01")
    machine = bundles.SampleVm.create(str(stage.builder.home / "Parallels"), "Life")
    wanted = {"path": machine.bundle, "catalog_id": IMAGE, "version": "1.0.0", "description": "The first"}
    first = tree(Path(machine.bundle))
    pushed = stage.play("builder", thrice("push", "catalog_push", wanted))
    machine.update(0.05)
    second = tree(Path(machine.bundle))
    updated = stage.play(
        "builder",
        [
            task("other content, check", "catalog_push", wanted, check=True, may_fail=True),
            task("other content", "catalog_push", wanted, may_fail=True),
            *thrice("second version", "catalog_push", {**wanted, "version": "1.1.0"}),
        ],
    )
    old = {"catalog_id": IMAGE, "version": "1.0.0"}
    new = {"catalog_id": IMAGE, "version": ">=1.1,<2"}
    pulled = stage.play(
        "mac01",
        [
            task("facts, before", "catalog_cache_facts"),
            *thrice("cached", "catalog_pull", {**old, "state": "cached"}),
            *thrice("present", "catalog_pull", {**old, "name": VM}),
            task("stays present", "catalog_pull", {**new, "name": VM}),
            *thrice("second cached", "catalog_pull", {**new, "state": "cached"}),
            *thrice("started", "catalog_pull", {**old, "name": VM, "state": "started"}),
            task("present, while it runs", "catalog_pull", {**old, "name": VM}),
            task("verified", "catalog_cache", {"state": "verified"}),
            task("facts", "catalog_cache_facts"),
        ],
    )
    digests = [updated["second version"].result["manifest"]["digest"], pushed["push"].result["manifest"]["digest"]]
    cache = {digest: tree(mac.cached(digest)) for digest in digests}
    vm = tree(mac.vm_home(VM))
    _flip_a_byte(mac.cached(digests[0]))
    damaged = stage.play(
        "mac01",
        [
            *thrice("verified", "catalog_cache", {"state": "verified"}),
            *thrice("cached", "catalog_pull", {**new, "state": "cached"}),
        ],
    )
    cleared = stage.play(
        "mac01",
        [
            *thrice("entry absent", "catalog_cache", {"state": "absent", "catalog_id": IMAGE, "version": "1.1.*"}),
            *thrice(
                "absent", "catalog_pull", {"catalog_id": IMAGE, "name": VM, "state": "absent", "purge_cache": True}
            ),
            task("facts", "catalog_cache_facts"),
        ],
    )
    return Life(pushed, updated, pulled, damaged, cleared, first, second, cache, vm)


def _flip_a_byte(bundle: Path) -> None:
    image = Path(bundles.image_path(str(bundle)))
    image.chmod(0o644)
    with image.open("r+b") as stream:
        stream.seek(3 << 20)
        byte = stream.read(1)
        stream.seek(3 << 20)
        stream.write(bytes([byte[0] ^ 1]))
    image.chmod(0o444)


def assert_predicted(results: Results, name: str) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """The check, the run and the second run of ``thrice`` fit together; returns the first two results."""
    check, done, again = (results[text].result for text in (f"{name}, check", name, f"{name}, again"))
    assert check["changed"] and done["changed"] and not again["changed"]
    assert again["diff"]["before"] == again["diff"]["after"]
    assert check["diff"] == done["diff"]
    assert check["diff"]["before"] != check["diff"]["after"]
    return check, done


def assert_same_counts(check: dict[str, t.Any], done: dict[str, t.Any], but: t.Collection[str] = ()) -> None:
    """Chunks and bytes were predicted exactly."""
    assert check["chunks"] == done["chunks"]
    for name, value in done["bytes"].items():
        if name not in but:
            assert check["bytes"][name] == value, name


def test_push(life: Life, stage: Stage) -> None:
    check, done = assert_predicted(life.pushed, "push")
    assert_same_counts(check, done, but=["encoded"])
    assert check["encoded_is_estimate"] and not done["encoded_is_estimate"]
    assert check["bytes"]["encoded"] == pytest.approx(done["bytes"]["encoded"], rel=ESTIMATE)
    assert check["manifest"] == {name: done["manifest"][name] for name in check["manifest"]} | {"tags": []}
    assert done["chunks"]["reused"] == 0
    assert done["bytes"]["new"] == done["manifest"]["data_bytes"]
    assert done["manifest"]["stored_bytes"] == done["bytes"]["encoded"]
    assert done["manifest"]["description"] == "The first"
    assert "latest" in done["manifest"]["tags"]


def test_a_version_is_immutable(life: Life) -> None:
    for name in ("other content, check", "other content"):
        refused = life.updated[name]
        assert refused.status == "ignored"
        assert refused.result["error_code"] == "version_exists"
        assert IMAGE in refused.result["msg"] and "1.0.0" in refused.result["msg"]


def test_second_version_uploads_what_changed(life: Life) -> None:
    check, done = assert_predicted(life.updated, "second version")
    assert_same_counts(check, done, but=["encoded"])
    assert check["bytes"]["encoded"] == pytest.approx(done["bytes"]["encoded"], rel=ESTIMATE)
    assert done["bases"] == ["1.0.0"]
    assert 0 < done["bytes"]["new"] < done["bytes"]["reused"]
    assert done["bytes"]["new"] + done["bytes"]["reused"] == done["manifest"]["data_bytes"]


def test_nothing_is_there_before(life: Life) -> None:
    facts = life.pulled["facts, before"].result["ansible_facts"]["parallels_catalog"]
    assert facts["caches"] == {} and facts["vms"] == []


def test_cached(life: Life) -> None:
    check, done = assert_predicted(life.pulled, "cached")
    assert_same_counts(check, done)
    pushed = life.pushed["push"].result
    assert done["chunks"]["downloaded"] == pushed["chunks"]["new"]
    assert done["bytes"]["downloaded_raw"] == pushed["bytes"]["new"]
    assert done["bytes"]["downloaded"] == pushed["bytes"]["encoded"]
    assert done["manifest"]["digest"] == pushed["manifest"]["digest"]
    assert life.cache[done["manifest"]["digest"]] == life.first


def test_present(life: Life, stage: Stage) -> None:
    check, done = assert_predicted(life.pulled, "present")
    assert_same_counts(check, done)
    assert done["bytes"]["downloaded"] == 0
    assert done["vm"]["name"] == VM and done["vm"]["state"] == "stopped"
    assert check["vm"] == {}
    # Its name, and the addresses of its network, are its own; the disk is that of the running VM.
    own = {"config.pvs", Path(bundles.image_path("Life.pvm")).relative_to("Life.pvm").as_posix()}
    # Parallels Desktop leaves its lock behind.
    own.add("vm.lock")
    assert {name: kind for name, kind in life.vm.items() if name not in own} == {
        name: kind for name, kind in life.first.items() if name not in own
    }


def test_an_existing_vm_is_kept(life: Life) -> None:
    kept = life.pulled["stays present"].result
    assert not kept["changed"] and kept["update_available"]
    assert kept["vm"]["version"] == "1.0.0" and kept["manifest"]["version"] == "1.1.0"
    assert not life.pulled["present, again"].result["update_available"]


def test_second_version_downloads_what_changed(life: Life) -> None:
    check, done = assert_predicted(life.pulled, "second cached")
    assert_same_counts(check, done)
    pushed = life.updated["second version"].result
    assert done["bytes"]["patched"] + done["bytes"]["downloaded_raw"] == pushed["bytes"]["new"]
    assert 0 < done["bytes"]["downloaded"] < pushed["bytes"]["encoded"]
    (delta,) = pushed["deltas"]
    assert done["bytes"]["index"] == delta["bytes"]
    assert life.cache[done["manifest"]["digest"]] == life.second


def test_started(life: Life) -> None:
    _check, done = assert_predicted(life.pulled, "started")
    assert done["vm"]["state"] == "running"
    assert done["diff"] == {"before": {"vm": "stopped"}, "after": {"vm": "running"}}
    present = life.pulled["present, while it runs"].result
    assert not present["changed"] and present["vm"]["state"] == "running"


def test_facts(life: Life, stage: Stage) -> None:
    mac = stage.mac("mac01")
    facts = life.pulled["facts"].result["ansible_facts"]["parallels_catalog"]
    cache = facts["caches"][str(mac.cache)]
    assert {address["version"] for entry in cache["entries"] for address in entry["addresses"]} == {"1.0.0", "1.1.0"}
    assert cache["totals"]["entries"] == 2 and cache["totals"]["partials"] == 0 and cache["damaged"] == []
    (vm,) = facts["vms"]
    assert (vm["name"], vm["state"], vm["receipt"]["version"]) == (VM, "running", "1.0.0")
    assert vm["receipt"]["catalog_url"] == stage.server.url


def test_verification(life: Life) -> None:
    assert not life.pulled["verified"].result["changed"]
    check, done = assert_predicted(life.damaged, "verified")
    assert check["removed"] == done["removed"] == [life.updated["second version"].result["manifest"]["digest"]]
    assert [len(entry["damaged"]) for entry in done["entries"] if entry["damaged"]] == [1]
    check, done = assert_predicted(life.damaged, "cached")
    assert_same_counts(check, done)
    # What is sound in a damaged entry is reused.
    assert done["resumed"]
    assert 0 < done["bytes"]["patched"] + done["bytes"]["downloaded_raw"] <= done["manifest"]["chunk_size"]


def test_removal(life: Life, stage: Stage) -> None:
    check, done = assert_predicted(life.cleared, "entry absent")
    assert check["removed"] == done["removed"] == [life.updated["second version"].result["manifest"]["digest"]]
    check, done = assert_predicted(life.cleared, "absent")
    assert check["actions"] == done["actions"]
    mac = stage.mac("mac01")
    assert not mac.vm_home(VM).exists()
    facts = life.cleared["facts"].result["ansible_facts"]["parallels_catalog"]
    assert facts["caches"][str(mac.cache)]["entries"] == [] and facts["vms"] == []


def test_a_push_to_other_users_is_predicted(stage: Stage) -> None:
    bundle = small_bundle(stage.builder.home / "narrowed", "Narrowed")
    address = {"catalog_id": "narrowed-image", "path": str(bundle)}
    narrow = {**address, "version": "1.1.0", "required_roles": ["operators"]}
    done = stage.play(
        "builder",
        [
            task("public", "catalog_push", {**address, "version": "1.0.0"}),
            *thrice("for some", "catalog_push", narrow),
            *thrice("for some again", "catalog_push", {**narrow, "version": "1.2.0"}),
        ],
    )
    # What everybody may read is never shared with what only some may.
    check, pushed = assert_predicted(done, "for some")
    assert_same_counts(check, pushed, but=["encoded"])
    assert pushed["chunks"]["reused"] == 0 and pushed["bases"] == []
    assert pushed["manifest"]["required_roles"] == ["OPERATORS"]
    check, pushed = assert_predicted(done, "for some again")
    assert_same_counts(check, pushed, but=["encoded"])
    assert pushed["chunks"]["new"] == 0 and pushed["bases"] == ["1.1.0"]


def test_the_same_content_keeps_its_description(stage: Stage) -> None:
    bundle = small_bundle(stage.builder.home / "described", "Described")
    push = {"catalog_id": "described-image", "version": "1.0.0", "path": str(bundle), "description": "As it was"}
    wanted = {**push, "description": "As it shall be", "tags": ["stable"], "required_roles": ["operators"]}
    done = stage.play(
        "builder",
        [
            task("push", "catalog_push", push),
            task("same", "catalog_push", push),
            task("other words, check", "catalog_push", wanted, check=True),
            task("other words", "catalog_push", wanted),
        ],
    )
    assert "warnings" not in done["same"].result
    for name in ("other words, check", "other words"):
        result = done[name].result
        assert not result["changed"] and result["manifest"] == done["push"].result["manifest"]
        (warning,) = result["warnings"]
        assert "description, tags, required_roles was not set" in warning and "catalog_manifest" in warning


def test_a_version_is_replaced_by_force_only(stage: Stage) -> None:
    place = stage.builder.home / "forced"
    first, second = (small_bundle(place / name, "Forced") for name in ("first", "second"))
    address = {"catalog_id": "forced-image", "version": "1.0.0"}
    described = {
        "description": "What it was",
        "tags": ["stable"],
        "required_roles": ["OPERATORS"],
        "required_claims": ["SEE_IT"],
        "minimum_requirements": {"cpu": 1},
    }
    pull = {**address, "name": "Forced"}
    done = stage.play(
        "builder",
        [
            task("push", "catalog_push", {**address, **described, "path": str(first)}),
            task("pull", "catalog_pull", pull, delegate_to="mac02"),
            task("other content", "catalog_push", {**address, "path": str(second)}, may_fail=True),
            *thrice("forced", "catalog_push", {**address, "path": str(second), "force": True}),
            task("pull again", "catalog_pull", pull, delegate_to="mac02"),
            task("absent", "catalog_pull", {**pull, "state": "absent"}, delegate_to="mac02"),
        ],
    )
    before, after = (done[name].result["manifest"] for name in ("push", "forced"))
    check, forced = assert_predicted(done, "forced")
    assert_same_counts(check, forced, but=["encoded"])
    assert forced["diff"]["before"]["digest"] == before["digest"] != after["digest"]
    # What is not said stays as it was: a replacement never opens an image to others.
    for name in ("created_at", *described):
        assert before[name] == after[name] == {**before, **check["manifest"]}[name], name
    (there,) = stage.server.manifests("forced-image")
    assert (there["id"], there["digest"]) == (before["id"], after["digest"])
    kept = done["pull again"].result
    assert not kept["changed"] and kept["update_available"] and kept["vm"]["digest"] == before["digest"]
