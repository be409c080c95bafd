# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pulls of a host that has an earlier version: by deltas where the catalog has them, right in any case."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.deltas import DeltaList, DeltaRecord
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Missing, Unreachable
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images import content
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.segmented import Fill
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import verify
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.reuse import KnownChunks
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import (
    CHUNK,
    IMAGE,
    make_bundle,
    noise,
)
from ansible_collections.macfleet.parallels.tests.unit.support.shelf import Shelf

BLOCK = 4096
VERSIONS = 20


class Lineage:
    """Versions of an image, each pushed on the one before it."""

    def __init__(self, shelf: Shelf, chunks: int = 16) -> None:
        self.shelf = shelf
        self.manifests: list[Manifest] = []
        self.roots: list[Path] = []
        self._image = noise(1, chunks * CHUNK)

    def push(self, blocks: int = 2) -> Manifest:
        """Push the next version, in which some blocks were written."""
        number = len(self.manifests)
        rnd, image = random.Random(number), bytearray(self._image)
        for _write in range(blocks if number else 0):
            place = rnd.randrange(len(image) // BLOCK) * BLOCK
            image[place : place + BLOCK] = rnd.randbytes(BLOCK)
        self._image = bytes(image)
        root = make_bundle(self.shelf.directory / f"v{number}" / "Runner.pvm", {IMAGE: self._image})
        bases = [(self.manifests[-1], self.roots[-1])] if self.manifests else []
        self.manifests.append(self.shelf.push(root, f"1.{number}", bases))
        self.roots.append(root)
        return self.manifests[-1]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


@pytest.fixture
def versions(shelf: Shelf) -> Lineage:
    made = Lineage(shelf)
    for _version in range(3):
        made.push()
    return made


def is_right(shelf: Shelf, manifest: Manifest) -> bool:
    entry = shelf.entry(manifest)
    return verify.damaged_paths(entry.bundle_path, shelf.indexes[manifest.id].listing) == []


def pull(shelf: Shelf, manifest: Manifest) -> Fill:
    """Pull a version into the cache; the next run changes nothing."""
    outcome = shelf.pull(manifest)
    assert outcome.fill is not None and is_right(shelf, manifest)
    assert not shelf.pull(manifest).changed
    return outcome.fill


def _patches(shelf: Shelf) -> list[str]:
    return [name for name, data in shelf.storage.objects.items() if data.startswith(b"MFPTCH1")]


def test_a_host_that_has_the_base_downloads_delta_and_patches_alone(versions: Lineage) -> None:
    shelf = versions.shelf
    pull(shelf, versions.manifests[0])
    shelf.storage.fetched.clear()
    fill = pull(shelf, versions.manifests[1])
    record = shelf.delta_records[0]
    assert shelf.storage.fetched_bytes == record.size + record.patch_bytes < 2 * BLOCK + 1500
    assert fill.index_bytes == record.size and not shelf.warnings
    # The listing was made anew, and is the one that the catalog has.
    assert Path(shelf.entry(versions.manifests[1]).listing_path).read_bytes()


def test_results_and_facts_say_what_a_version_cost(versions: Lineage) -> None:
    shelf = versions.shelf
    shelf.run(versions.manifests[0])
    predicted = shelf.run(versions.manifests[1], check_mode=True)
    done = shelf.run(versions.manifests[1])
    record = shelf.delta_records[0]
    assert predicted["bytes"] == done["bytes"]
    assert done["bytes"]["downloaded"] == record.patch_bytes and done["bytes"]["index"] == record.size
    assert done["bytes"]["patched"] in (CHUNK, 2 * CHUNK) and done["bytes"]["downloaded_raw"] == 0
    (cache,) = done["parallels_catalog"]["caches"].values()
    cost = {entry["digest"]: entry["downloaded_bytes"] for entry in cache["entries"]}
    assert cost[versions.manifests[1].digest] == record.patch_bytes + record.size


@pytest.mark.parametrize("has", [0, 1])
def test_a_host_that_is_behind_follows_several_deltas(has: int, versions: Lineage) -> None:
    shelf = versions.shelf
    pull(shelf, versions.manifests[has])
    shelf.storage.fetched.clear()
    pull(shelf, versions.manifests[2])
    records = shelf.delta_records[has:]
    assert shelf.storage.fetched_bytes <= sum(record.size + record.patch_bytes for record in records) + 16
    assert not shelf.warnings


def test_each_host_of_twenty_versions_ends_right_for_no_more_than_either_way_costs(shelf: Shelf) -> None:
    made = Lineage(shelf, 48)
    for _version in range(VERSIONS):
        made.push(3)
    newest = made.manifests[-1]
    for behind in range(1, VERSIONS):
        number = VERSIONS - 1 - behind
        by_deltas, whole = Shelf(shelf.directory / f"d{behind}"), Shelf(shelf.directory / f"w{behind}")
        costs = []
        for host, records in ((by_deltas, shelf.delta_records), (whole, [])):
            host.storage.objects, host.indexes, host.delta_records = shelf.storage.objects, shelf.indexes, list(records)
            pull(host, made.manifests[number])
            host.storage.fetched.clear()
            fill = pull(host, newest)
            costs.append(fill.pack.download_bytes + fill.index_bytes)
        all_deltas = sum(record.size + record.patch_bytes for record in shelf.delta_records[number:])
        assert costs[0] <= 1.05 * min(all_deltas, costs[1]), behind


def test_without_a_base_there_is_no_delta(versions: Lineage) -> None:
    shelf = versions.shelf
    fill = pull(shelf, versions.manifests[2])
    assert fill.content.patches is None and not shelf.warnings


@pytest.mark.parametrize("spoil", ["gone", "cut", "flipped", "another", "later format"])
def test_a_damaged_delta_is_one_warning_and_a_pull_without_it(spoil: str, versions: Lineage) -> None:
    shelf = versions.shelf
    pull(shelf, versions.manifests[1])
    name = shelf.delta_records[1].sha256
    data = shelf.storage.objects[name]
    if spoil == "gone":
        del shelf.storage.objects[name]
    elif spoil == "cut":
        shelf.storage.objects[name] = data[:-1]
    elif spoil == "flipped":
        shelf.storage.objects[name] = data[:100] + bytes([data[100] ^ 1]) + data[101:]
    elif spoil == "another":
        shelf.storage.objects[name] = shelf.storage.objects[shelf.delta_records[0].sha256].ljust(len(data), b"\0")
    else:
        _replace(shelf, 1, data.replace(b'"format":1', b'"format":2'))
    pull(shelf, versions.manifests[2])
    (warning,) = shelf.warnings
    assert "The delta to macos-15 1.2" in warning and f"({len(data)} bytes)" in warning
    assert "whole chunks are downloaded" in warning


def test_a_delta_that_was_of_no_use_is_counted(versions: Lineage) -> None:
    shelf = versions.shelf
    pull(shelf, versions.manifests[1])
    record = shelf.delta_records[1]
    shelf.storage.objects[record.sha256] = bytes(record.size)
    shelf.storage.fetched.clear()
    done = shelf.run(versions.manifests[2])
    index = shelf.indexes[versions.manifests[2].id]
    whole = len(index.listing_file) + len(index.locator_file or b"")
    assert done["bytes"]["index"] == record.size + whole
    assert done["bytes"]["downloaded"] + done["bytes"]["index"] == shelf.storage.fetched_bytes + whole


def _replace(shelf: Shelf, number: int, data: bytes) -> None:
    """Let a delta be other bytes, under the name that these have."""
    record = shelf.delta_records[number]
    stored = shelf.storage.put(data)
    shelf.delta_records[number] = dataclasses.replace(record, sha256=stored.sha256, size=len(data))


def test_a_delta_that_says_it_leads_elsewhere_is_not_followed(versions: Lineage) -> None:
    shelf = versions.shelf
    pull(shelf, versions.manifests[0])
    record = shelf.delta_records[0]
    shelf.delta_records = [dataclasses.replace(record, digest=versions.manifests[2].digest)]
    pull(shelf, versions.manifests[2])
    assert len(shelf.warnings) == 1 and "instead of" in shelf.warnings[0]


def test_a_chunk_that_another_version_has_elsewhere_is_taken_from_where_the_wanted_one_has_it(shelf: Shelf) -> None:
    """The newest version was pushed as a whole: it shares no segment with its base, whose delta places new chunks."""
    roots, manifests = [], []
    image = noise(1, 16 * CHUNK)
    for number in range(3):
        # No patch is worth it where a whole chunk is new.
        image = image[: number * CHUNK] + noise(50 + number, CHUNK) + image[(number + 1) * CHUNK :]
        roots.append(make_bundle(shelf.directory / f"v{number}" / "Runner.pvm", {IMAGE: image}))
        options = {"known": KnownChunks()} if number == 2 else {}
        bases = [(manifests[-1], roots[-2])] if manifests else []
        manifests.append(shelf.push(roots[-1], f"1.{number}", bases, **options))
    pull(shelf, manifests[0])
    done = shelf.run(manifests[2])
    assert is_right(shelf, manifests[2]) and not shelf.pull(manifests[2]).changed
    assert done["bytes"]["downloaded_raw"] == 2 * CHUNK
    index = shelf.indexes[manifests[2].id]
    assert done["bytes"]["index"] == sum(one.size for one in shelf.delta_records) + len(index.locator_file or b"")
    (warning,) = shelf.warnings
    assert "do not lie where its deltas" in warning


def test_damaged_patches_are_one_warning_and_whole_chunks(versions: Lineage) -> None:
    shelf = versions.shelf
    pull(shelf, versions.manifests[1])
    for name in _patches(shelf):
        shelf.storage.objects[name] = bytes(len(shelf.storage.objects[name]))
    pull(shelf, versions.manifests[2])
    (warning,) = shelf.warnings
    assert warning.startswith("Patches of ") and "downloaded whole" in warning


def test_whole_chunks_in_place_of_patches_are_counted(versions: Lineage) -> None:
    shelf = versions.shelf
    pull(shelf, versions.manifests[1])
    for name in _patches(shelf):
        shelf.storage.objects[name] = bytes(len(shelf.storage.objects[name]))
    done = shelf.run(versions.manifests[2])
    assert done["bytes"]["patched"] == 0
    assert done["bytes"]["downloaded_raw"] == done["chunks"]["downloaded"] * CHUNK > 0


def test_objects_of_deltas_that_are_lost_at_random_only_cost_bytes(shelf: Shelf) -> None:
    made = Lineage(shelf)
    for _version in range(8):
        made.push()
    rnd = random.Random(7)
    for name in [*(one.sha256 for one in shelf.delta_records), *_patches(shelf)]:
        data = shelf.storage.objects[name]
        fate = rnd.random()
        if fate < 0.15:
            shelf.storage.objects[name] = b""
        elif fate < 0.3:
            place = rnd.randrange(len(data))
            shelf.storage.objects[name] = data[:place] + bytes([data[place] ^ 8]) + data[place + 1 :]
    for manifest in made.manifests:
        pull(shelf, manifest)
    assert shelf.warnings


def test_a_base_whose_files_were_changed_by_hand_costs_bytes_alone(versions: Lineage) -> None:
    shelf = versions.shelf
    pull(shelf, versions.manifests[0])
    image = Path(shelf.entry(versions.manifests[0]).bundle_path) / IMAGE
    image.chmod(0o644)
    with image.open("r+b") as stream:
        stream.write(bytes(image.stat().st_size))
    pull(shelf, versions.manifests[1])
    assert any("Patches of" in warning for warning in shelf.warnings)


def test_a_base_without_its_listing_is_no_base(versions: Lineage) -> None:
    shelf = versions.shelf
    pull(shelf, versions.manifests[0])
    Path(shelf.entry(versions.manifests[0]).listing_path).write_bytes(b"damaged")
    pull(shelf, versions.manifests[1])
    assert any("its listing is damaged" in warning for warning in shelf.warnings)


def test_a_server_without_deltas_is_asked_for_the_index(versions: Lineage, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = versions.shelf
    pull(shelf, versions.manifests[0])

    def missing(manifest_id: str) -> t.NoReturn:
        raise Missing("There is no such route.")

    monkeypatch.setattr(shelf, "deltas", missing)
    pull(shelf, versions.manifests[1])
    assert not shelf.warnings


def test_a_server_that_does_not_answer_is_an_error(versions: Lineage, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = versions.shelf
    pull(shelf, versions.manifests[0])

    def silent(manifest_id: str) -> t.NoReturn:
        raise Unreachable("No answer.")

    monkeypatch.setattr(shelf, "deltas", silent)
    with pytest.raises(Unreachable), contextlib.suppress(KeyError):
        shelf.pull(versions.manifests[1])


# Which deltas


def record(base: str, digest: str, size: int = 10, patches: int = 100, chunk_bytes: int = 1000) -> DeltaRecord:
    return DeltaRecord(base, digest, "0" * 32, "0" * 64, size, patches, chunk_bytes)


def test_the_cheapest_way_is_taken() -> None:
    known = DeltaList(
        (record("a", "b"), record("b", "c"), record("c", "d"), record("a", "d", 10, 500), record("x", "d", 1, 1)), 50
    )

    def path(*cached: str) -> list[tuple[str, str]]:
        return [(one.base_digest, one.digest) for one in content.cheapest_path(known, "d", set(cached))]

    assert path("a") == [("a", "b"), ("b", "c"), ("c", "d")]
    assert path("a", "b") == [("b", "c"), ("c", "d")]
    assert path("a", "c") == [("c", "d")]
    assert path("x", "c") == [("x", "d")]
    assert path("nothing") == [] and path() == []


def test_a_way_in_circles_has_an_end() -> None:
    known = DeltaList((record("a", "b"), record("b", "a"), record("a", "a")), 50)
    assert content.cheapest_path(known, "a", {"z"}) == ()
    assert [one.base_digest for one in content.cheapest_path(known, "a", {"b"})] == ["b"]


@pytest.mark.parametrize(
    ("path", "index_bytes", "is_worth_it"),
    [
        pytest.param([record("a", "b", 10)], 50, True, id="smaller than the index"),
        pytest.param([record("a", "b", 60)] * 2, 50, True, id="smaller than the chunks"),
        pytest.param([record("a", "b", 600, 600, 100)] * 2, 50, False, id="larger than all of it"),
        pytest.param([record("a", "b", 60, 10_000, 1000)], 50, True, id="patches that are not used cost nothing"),
        pytest.param([], 50, False, id="none"),
    ],
)
def test_deltas_that_may_cost_more_are_not_followed(
    path: list[DeltaRecord], index_bytes: int, is_worth_it: bool
) -> None:
    assert content.is_worth_following(path, index_bytes) is is_worth_it
