# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The image half of a pull: seeds, repair, and what is refused before anything is downloaded."""

from __future__ import annotations

import contextlib
import gc
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.records import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import pull_image as _pull_image
from ansible_collections.macfleet.parallels.plugins.module_utils._host import volumes
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache import CacheEntry
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CacheError, CacheLocked
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import codecs, index, plan
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import UnsupportedCodec
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import (
    CHUNK,
    IMAGE,
    make_bundle,
    noise,
    tree,
    write_file,
)
from ansible_collections.macfleet.parallels.tests.unit.support.shelf import Shelf


@pytest.fixture(name="shelf", params=[True, False], ids=["clones", "no clones"])
def shelf_fixture(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    monkeypatch.setattr(volumes, "has_clones", lambda path: request.param)
    return Shelf(tmp_path)


def content(*chunks: int) -> bytes:
    """A disk of these chunks."""
    return b"".join(noise(number, CHUNK) for number in chunks)


def push(shelf: Shelf, version: str, *chunks: int, **fields: t.Any) -> Manifest:
    root = make_bundle(shelf.directory / version / "Runner.pvm", {IMAGE: content(*chunks)})
    return shelf.push(root, version, **fields)


def pulled_whole(shelf: Shelf, manifest: Manifest) -> bool:
    return tree(shelf.entry(manifest).bundle_path) == tree(shelf.directory / manifest.version / "Runner.pvm")


# Repair


@pytest.mark.parametrize("must_verify", [True, False])
def test_a_stray_file_is_removed_and_the_image_stays_in_the_cache(shelf: Shelf, must_verify: bool) -> None:
    manifest = push(shelf, "1.0", 1, 2)
    shelf.pull(manifest)
    (Path(shelf.entry(manifest).bundle_path) / "stray").write_bytes(b"of somebody")
    assert shelf.plan(manifest, must_verify=must_verify).changed
    outcome = shelf.pull(manifest, must_verify=must_verify)
    assert (outcome.changed, outcome.applied.downloaded_bytes) == (True, 0)
    assert pulled_whole(shelf, manifest)
    assert not shelf.pull(manifest, must_verify=must_verify).changed


def test_what_cannot_be_read_is_one_clear_error(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = push(shelf, "1.0", 1, 2)
    shelf.pull(manifest)

    def fail(descriptor: int, buffers: t.Any, offset: int) -> int:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(CacheError, match=r"Reading .*bundle failed: Cannot allocate memory"):
        shelf.plan(manifest, must_verify=True)


# Codecs


def test_chunks_that_nobody_here_can_decode_are_refused_before_the_download(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = push(shelf, "1.0", 1, 2)
    shelf.pull(manifest)
    newer = push(shelf, "1.1", 1, 3)
    zstd = bytes([index.CODEC_ZSTD]) * len(shelf.indexes[newer.id].locator.codecs)
    real = _pull_image._fetch_index

    def fetch(wanted: Manifest, catalog: t.Any) -> index.Index:
        found = real(wanted, catalog)
        locator = found.locator
        changed = index.Locator(
            locator.digest, locator.segments, locator.segment_numbers, locator.offsets, locator.lengths, zstd
        )
        return index.Index(found.listing, changed, found.listing_file, found.locator_file)

    monkeypatch.setattr(_pull_image, "_fetch_index", fetch)
    monkeypatch.setattr(codecs, "decodable", lambda: frozenset({index.CODEC_RAW, index.CODEC_DEFLATE}))
    shelf.storage.fetched.clear()
    with pytest.raises(UnsupportedCodec, match=r"macos-15 1\.1 .* zstd.*zstandard") as caught:
        shelf.plan(newer)
    assert caught.value.code == "unsupported_codec"
    assert shelf.storage.fetched == []
    # What is on the host already needs no codec.
    same = push(shelf, "1.2", 2, 1)
    assert shelf.plan(same).pack is not None
    monkeypatch.setattr(codecs, "decodable", lambda: frozenset(codecs.CODEC_NAMES))
    assert shelf.plan(newer).pack is not None


# Seeds


def test_the_best_few_seeds_are_taken_and_those_that_give_nothing_are_left_alone(shelf: Shelf) -> None:
    wanted = range(100, 120)
    shares = {"1.0": 3, "1.1": 9, "1.2": 1, "1.3": 12, "1.4": 5, "1.5": 0}
    made = {}
    for number, (version, share) in enumerate(shares.items()):
        own = range(1000 * (number + 1), 1000 * (number + 1) + len(wanted) - share)
        made[version] = push(shelf, version, *wanted[:share], *own)
        shelf.pull(made[version])
    found = _pull_image._seeds(shelf.cache, shelf.indexes[made["1.3"].id].listing, {made["1.3"].digest})
    assert len(found) == _pull_image._MOST_SEEDS
    newest = push(shelf, "2.0", *wanted)
    found = _pull_image._seeds(shelf.cache, shelf.indexes[newest.id].listing, {newest.digest})
    assert list(found) == [made[version].digest for version in ("1.3", "1.1", "1.4")]
    made_plan = shelf.plan(newest)
    # All that the others have, the best one has, too.
    assert made_plan.seeds == (made["1.3"].digest,)
    assert made_plan.pack is not None
    assert made_plan.pack.download_raw_bytes == (len(wanted) - 12) * CHUNK
    with shelf.cache.lock(made["1.1"].digest, "somebody", 0.0):
        shelf.apply(made_plan)
    assert pulled_whole(shelf, newest)


def test_listings_are_read_one_at_a_time(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        shelf.pull(push(shelf, f"1.{number}", 1, 10 + number))
    newest = push(shelf, "2.0", 1, 2)
    alive: list[int] = []
    real = _pull_image._seed

    def watched(entry: CacheEntry, listing: index.Listing) -> t.Optional[plan.Seed]:
        gc.collect()
        alive.append(sum(isinstance(thing, plan.Seed) for thing in gc.get_objects()))
        return real(entry, listing)

    monkeypatch.setattr(_pull_image, "_seed", watched)
    shelf.plan(newest)
    assert len(alive) == 8
    assert max(alive) == _pull_image._MOST_SEEDS


def test_a_seed_that_cannot_be_read_is_none(shelf: Shelf) -> None:
    older = push(shelf, "1.0", 1, 2)
    shelf.pull(older)
    Path(shelf.entry(older).listing_path).unlink()
    os.mkdir(shelf.entry(older).listing_path)
    newer = push(shelf, "1.1", 1, 3)
    assert shelf.plan(newer).seeds == ()
    shelf.pull(newer)
    assert pulled_whole(shelf, newer)


@pytest.mark.parametrize("why", ["removed", "being repaired"])
def test_seeds_that_are_lost_after_the_plan_are_done_without(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    first, second = push(shelf, "1.0", 1, 2, 3, 4), push(shelf, "1.1", 1, 2, 3, 5)
    for manifest in (first, second):
        shelf.pull(manifest)
    newer = push(shelf, "2.0", 1, 2, 3, 6)
    first_plan = shelf.plan(newer)
    assert len(first_plan.seeds) == 1
    real = _pull_image.plan_image

    def lose(digest: str) -> None:
        if why == "removed":
            shelf.cache.remove(digest)
        else:
            held.enter_context(shelf.cache.lock(digest, "a repair", 0.0))

    def plan_again(*arguments: t.Any, **options: t.Any) -> _pull_image.ImagePlan:
        # The second one goes while the plan without the first one is made.
        made = real(*arguments, **options)
        if len(options["without"]) == 1:
            lose(made.seeds[0])
        return made

    monkeypatch.setattr(_pull_image, "plan_image", plan_again)
    with contextlib.ExitStack() as held:
        lose(first_plan.seeds[0])
        outcome = shelf.apply(first_plan)
    assert outcome.pack is not None
    assert outcome.pack.sources == frozenset()
    assert pulled_whole(shelf, newer)


def test_a_seed_that_is_held_cannot_be_removed(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    older = push(shelf, "1.0", 1, 2)
    shelf.pull(older)
    newer = push(shelf, "1.1", 1, 3)
    real = shelf.storage.fetch
    refused: list[str] = []

    def fetch(*arguments: t.Any) -> bytes:
        with pytest.raises(CacheLocked) as caught, shelf.cache.lock(older.digest, "somebody", 0.0):
            pass
        refused.append(caught.value.message)
        return real(*arguments)

    monkeypatch.setattr(shelf.storage, "fetch", fetch)
    shelf.pull(newer)
    assert refused
    with shelf.cache.lock(older.digest, "somebody", 0.0):
        pass


def test_a_partial_bundle_is_gone_on_with(shelf: Shelf) -> None:
    manifest = push(shelf, "1.0", *range(300))
    shelf.storage.fail_at = 2
    with pytest.raises(CacheError, match="the cable was pulled"):
        shelf.pull(manifest)
    shelf.storage.fail_at = None
    write_file(Path(shelf.cache.partial(manifest.digest).bundle_path) / "stray/file", b"x")
    outcome = shelf.pull(manifest)
    assert outcome.pack is not None and outcome.pack.kept_bytes > 0
    assert pulled_whole(shelf, manifest)
