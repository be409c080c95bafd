# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A storage that does not hold any more what was put there."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.tests.integration.images import MIB, small_bundle, tree
from ansible_collections.macfleet.parallels.tests.integration.refusals import assert_refused
from ansible_collections.macfleet.parallels.tests.integration.stage import Mac, Results, Server, Stage, task


def _flip(segment: Path, whole: bytes) -> None:
    middle = len(whole) // 2
    segment.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])


def _truncate(segment: Path, whole: bytes) -> None:
    segment.write_bytes(whole[: len(whole) // 2])


def _remove(segment: Path, whole: bytes) -> None:
    segment.unlink()


@dataclass(frozen=True)
class Damage:
    """What happens to the segment of an image, and the error word of a pull of it."""

    do: t.Callable[[Path, bytes], None]
    code: str


DAMAGES = {
    "flipped": Damage(_flip, "damaged_chunk"),
    "truncated": Damage(_truncate, "storage_changed"),
    "missing": Damage(_remove, "storage_missing"),
}


@pytest.fixture(scope="module")
def mac(stage: Stage) -> Mac:
    return stage.mac("mac02")


@pytest.fixture(scope="module")
def images(stage: Stage) -> dict[str, Path]:
    """A bundle of its own for each damage, pushed by the name of the damage."""
    place = stage.builder.home / "damaged"
    made = {name: small_bundle(place, name, 3 * MIB) for name in DAMAGES}
    pushes = [
        task(name, "catalog_push", {"path": str(bundle), "catalog_id": name, "version": "1.0.0"})
        for name, bundle in made.items()
    ]
    stage.play("builder", pushes)
    return made


def segment_of(server: Server, catalog_id: str) -> Path:
    """The only segment of an image that was pushed once."""
    (manifest,) = server.manifests(catalog_id)
    (described,) = (
        path
        for path in server.process.storage.rglob("manifest.json")
        if manifest["id"] in path.read_text(encoding="utf-8")
    )
    (segment,) = (path for path in described.parent.iterdir() if len(path.name) == 64)
    return segment


@pytest.fixture(scope="module")
def pulls(stage: Stage, server: Server, mac: Mac, images: dict[str, Path]) -> tuple[Results, Results]:
    """A pull of each from the damaged storage, and again when it is whole; in between nothing is there."""
    segments = {name: segment_of(server, name) for name in DAMAGES}
    whole = {name: segment.read_bytes() for name, segment in segments.items()}
    before = mac.holdings()
    for name, damage in DAMAGES.items():
        damage.do(segments[name], whole[name])
    try:
        refused = stage.play(
            "mac02", [task(name, "catalog_pull", {"catalog_id": name}, may_fail=True) for name in DAMAGES]
        )
    finally:
        for name, segment in segments.items():
            segment.write_bytes(whole[name])
    assert mac.holdings() == before
    return refused, stage.play("mac02", [task(name, "catalog_pull", {"catalog_id": name}) for name in DAMAGES])


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_storage_gets_nowhere(
    pulls: tuple[Results, Results], server: Server, mac: Mac, images: dict[str, Path], name: str
) -> None:
    refused, again = pulls
    assert_refused(refused[name], DAMAGES[name].code, segment_of(server, name).name)
    assert again[name].result["changed"]
    assert tree(mac.cached(again[name].result["manifest"]["digest"])) == tree(images[name])


def test_a_push_that_refers_to_what_is_lost_is_refused(stage: Stage, server: Server, images: dict[str, Path]) -> None:
    segment = segment_of(server, "missing")
    whole = segment.read_bytes()
    wanted = {"path": str(images["missing"]), "catalog_id": "missing", "version": "2.0.0"}
    segment.unlink()
    try:
        refused = stage.play("builder", [task("push", "catalog_push", wanted, may_fail=True)])["push"]
    finally:
        segment.write_bytes(whole)
    assert_refused(refused, "missing_segment", segment.name, "an empty list of bases")
    assert [manifest["version"] for manifest in server.manifests("missing")] == ["1.0.0"]


def test_what_a_storage_has_lost_is_pushed_anew(
    stage: Stage, server: Server, mac: Mac, images: dict[str, Path], pulls: tuple[Results, Results]
) -> None:
    """What the messages say helps."""
    address = {"catalog_id": "flipped", "version": "1.0.0"}
    segment = segment_of(server, "flipped")
    _flip(segment, segment.read_bytes())
    anew = [
        task("delete", "catalog_manifest", {**address, "state": "absent"}),
        task("push", "catalog_push", {"path": str(images["flipped"]), **address, "bases": []}),
    ]
    assert stage.play("builder", anew)["push"].result["chunks"]["reused"] == 0
    done = stage.play("mac02", [task("pull", "catalog_pull", {**address, "state": "cached", "cache_path": "~/anew"})])
    digest = done["pull"].result["manifest"]["digest"]
    assert tree(mac.home / "anew/bundles" / digest / "bundle") == tree(images["flipped"])
