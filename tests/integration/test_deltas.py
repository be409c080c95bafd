# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Updates of an image: a host that has an older version downloads the blocks that were written, and little else."""

from __future__ import annotations

import os
import random
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.tests.integration.images import MIB, Tree, small_bundle, tree
from ansible_collections.macfleet.parallels.tests.integration.stage import Results, Stage, task, thrice
from ansible_collections.macfleet.parallels.tests.support import bundles
from ansible_collections.macfleet.parallels.tests.support.volume import make_reflink_image

IMAGE = "updated-runner"
BLOCK = 4096
BLOCKS = 12
# What a delta and the heads of patches take beside the blocks.
BESIDE_BYTES = 8 << 10
# Blocks of a disk that is kept, behind its header.
WRITTEN = (600, 601, 1000, 1500, 2000)


def write_blocks(bundle: Path, seed: int) -> None:
    """Write blocks all over the disk of a bundle, as a guest does."""
    disk = max((path for path in bundle.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    rnd = random.Random(seed)
    # Behind the header and the gap that follows it, which is a hole.
    blocks = rnd.sample(range(2 * MIB // BLOCK, disk.stat().st_size // BLOCK), BLOCKS)
    with disk.open("r+b") as stream:
        for block in blocks:
            stream.seek(block * BLOCK)
            stream.write(rnd.randbytes(BLOCK))


@dataclass(frozen=True)
class Updates:
    """Three versions that were pushed one on another, and what three hosts did with them."""

    pushed: Results
    trees: tuple[Tree, ...]
    near: Results
    far: Results
    without: Results


@pytest.fixture(scope="module")
def updates(stage: Stage) -> Updates:
    bundle = small_bundle(stage.builder.home / "Parallels", "Updated", 8 * MIB)
    pushed: list[Results] = []
    trees = []
    for number in range(3):
        if number:
            write_blocks(bundle, number)
        wanted = {"path": str(bundle), "catalog_id": IMAGE, "version": f"1.{number}.0"}
        pushed.append(stage.play("builder", thrice(f"push {number}", "catalog_push", wanted)))
        trees.append(tree(bundle))
    near = stage.play("mac01", [*_pull("first", "1.0.0"), *_pull("next", "1.1.0")])
    far = stage.play("mac02", [*_pull("first", "1.0.0"), *_pull("last", "1.2.0")])
    stage.server.process.command("gc", "--drop-deltas", "0")
    without = stage.play(
        "mac03", [*_pull("first", "1.0.0"), *_pull("last", "1.2.0"), task("facts", "catalog_cache_facts")]
    )
    for mac in ("mac01", "mac02", "mac03"):
        versions = {"mac01": (0, 1)}.get(mac, (0, 2))
        for number in versions:
            digest = pushed[number][f"push {number}"].result["manifest"]["digest"]
            assert tree(stage.mac(mac).cached(digest)) == trees[number]
    rows = [row for results in pushed for row in results.rows]
    return Updates(Results(rows, pushed[0].log), tuple(trees), near, far, without)


def _pull(name: str, version: str) -> list[t.Any]:
    return thrice(name, "catalog_pull", {"catalog_id": IMAGE, "version": version, "state": "cached"})


def test_a_push_tells_what_an_update_will_cost(updates: Updates) -> None:
    first, second = updates.pushed["push 0"].result, updates.pushed["push 1"].result
    assert first["deltas"] == []
    (delta,) = second["deltas"]
    assert delta["base"] == "1.0.0"
    assert BLOCKS * BLOCK < delta["patch_bytes"] < BLOCKS * BLOCK + BESIDE_BYTES and delta["bytes"] < BESIDE_BYTES
    assert second["bytes"]["new"] > 10 * delta["patch_bytes"]


def test_check_mode_estimates_what_the_host_does_not_have(updates: Updates) -> None:
    """The builder keeps no copy of the base, so some chunks of it are read to compare them."""
    predicted, done = (updates.pushed[name].result for name in ("push 1, check", "push 1"))
    assert predicted["encoded_is_estimate"] and not done["encoded_is_estimate"]
    (estimated,), (made,) = predicted["deltas"], done["deltas"]
    assert estimated["base"] == made["base"] == "1.0.0"
    assert 0.5 * made["patch_bytes"] < estimated["patch_bytes"] < 2 * made["patch_bytes"]


@pytest.mark.parametrize(("host", "name", "updates_behind"), [("near", "next", 1), ("far", "last", 2)])
def test_a_host_downloads_what_was_written(host: str, name: str, updates_behind: int, updates: Updates) -> None:
    results: Results = getattr(updates, host)
    predicted, done = (results[task_name].result for task_name in (f"{name}, check", name))
    assert done["changed"] and not results[f"{name}, again"].result["changed"]
    assert predicted["bytes"] == done["bytes"]
    moved = done["bytes"]["downloaded"] + done["bytes"]["index"]
    assert moved < updates_behind * (BLOCKS * BLOCK + BESIDE_BYTES)
    assert done["bytes"]["patched"] > 10 * BLOCKS * BLOCK and done["bytes"]["downloaded_raw"] == 0
    assert not done.get("warnings")


def test_without_deltas_whole_chunks_are_downloaded(updates: Updates) -> None:
    done = updates.without["last"].result
    assert done["bytes"]["patched"] == 0 and done["bytes"]["downloaded"] > 20 * BLOCKS * BLOCK
    assert not done.get("warnings")


def test_facts_tell_what_each_version_cost(updates: Updates) -> None:
    (cache,) = updates.without["facts"].result["ansible_facts"]["parallels_catalog"]["caches"].values()
    costs = {
        address["version"]: entry["downloaded_bytes"] for entry in cache["entries"] for address in entry["addresses"]
    }
    done = updates.without["last"].result["bytes"]
    assert costs["1.2.0"] == done["downloaded"] + done["index"] < costs["1.0.0"]


# A builder that keeps what it pushes


@dataclass(frozen=True)
class Kept:
    """Two versions that were pushed from a disk with clones, where the cache lies, too, and a pull of the second."""

    results: Results
    read: list[str]


@pytest.fixture(scope="module")
def kept(stage: Stage) -> Kept:
    if os.geteuid() != 0 or stage.missing_ssh:
        pytest.skip("a disk with clones can be mounted by root only, in the mount namespace of a host")
    disk = stage.builder.home / "disk of the cache"
    bundle = small_bundle(stage.builder.home / "kept", "Kept", 8 * MIB)
    there = disk / bundle.name
    make_reflink_image(disk.with_suffix(".img"), 512 * MIB, stage.work / "packages")
    cache = {"cache_path": str(disk / "cache")}
    wanted = {"path": str(there), "catalog_id": "kept", "keep_in_cache": True, **cache}
    image = bundles.image_path(str(there))
    blocks = [f"dd if=/dev/urandom of='{image}' bs={BLOCK} count=1 seek={seek} conv=notrunc" for seek in WRITTEN]
    try:
        first = stage.play(
            "builder",
            [
                _command("mkdir", str(disk)),
                _command("mount", "-o", "loop", f"{disk}.img", str(disk)),
                _command("cp", "-a", str(bundle), str(disk)),
                task("first", "catalog_push", {**wanted, "version": "1.0.0"}),
                _command("sh", "-c", " && ".join(blocks)),
            ],
        )
        asked = len(stage.server.process.requests())
        second = stage.play(
            "builder",
            [
                *thrice("next", "catalog_push", {**wanted, "version": "1.1.0", "delta_budget": 0}),
                *thrice("pull", "catalog_pull", {"catalog_id": "kept", "version": "1.1.0", "state": "cached", **cache}),
                task("facts", "catalog_cache_facts", cache),
                _command("find", str(disk), "-maxdepth", "1", name="left"),
            ],
        )
    finally:
        stage.play("builder", [_command("umount", str(disk))])
    read = [line for line in stage.server.process.requests()[asked:] if "GET" in line and "/objects/" in line]
    return Kept(Results([*first.rows, *second.rows], second.log), read)


def _command(*words: str, name: str = "command") -> t.Any:
    return task(name, "ansible.builtin.command", {"argv": list(words)})


def test_check_mode_predicts_deltas_exactly_from_a_base_that_was_kept(kept: Kept) -> None:
    assert kept.results["first"].result["kept_in_cache"]
    predicted, done = (kept.results[name].result for name in ("next, check", "next"))
    assert not predicted["encoded_is_estimate"] and predicted["kept_in_cache"]
    assert predicted["deltas"] == done["deltas"] and predicted["bytes"] == done["bytes"]
    (delta,) = done["deltas"]
    assert delta["base"] == "1.0.0"
    assert len(WRITTEN) * BLOCK < delta["patch_bytes"] < len(WRITTEN) * BLOCK + BESIDE_BYTES


def test_neither_the_next_push_nor_a_pull_of_it_downloads_anything(kept: Kept) -> None:
    assert kept.results["next"].result["kept_in_cache"] and not kept.results["next, again"].result["changed"]
    for name in ("pull, check", "pull", "pull, again"):
        assert not kept.results[name].result["changed"] and kept.results[name].result["bytes"]["downloaded"] == 0
    assert kept.read == []
    assert not any(row.result.get("warnings") for row in kept.results.rows)


def test_what_was_kept_is_in_the_facts_and_no_clone_is_left(kept: Kept) -> None:
    (cache,) = kept.results["facts"].result["ansible_facts"]["parallels_catalog"]["caches"].values()
    found = {address["version"] for entry in cache["entries"] for address in entry["addresses"]}
    assert found == {"1.0.0", "1.1.0"}
    left = {Path(path).name for path in kept.results["left"].result["stdout_lines"]}
    assert left == {"disk of the cache", "Kept.pvm", "cache"}
