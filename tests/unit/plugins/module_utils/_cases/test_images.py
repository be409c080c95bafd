# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The image half of a pull: seeds, repair, and what is refused before anything is downloaded."""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import re
import shutil
import time
import tracemalloc
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.link import LinkCost
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.cache import CacheRequest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.cache import change as change_cache
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images import (
    content,
    ensure,
    mending,
    observe,
    seeds,
    segmented,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.transfers import SignedTransfers
from ansible_collections.macfleet.parallels.plugins.module_utils._host import power, volumes
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache import locking
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import CacheEntry
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CacheChanged,
    CacheError,
    CacheLocked,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import codecs, index
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


def filled(*chunks: int) -> bytes:
    """A disk of these chunks."""
    return b"".join(noise(number, CHUNK) for number in chunks)


def push(shelf: Shelf, version: str, *chunks: int, **fields: t.Any) -> Manifest:
    root = make_bundle(shelf.directory / version / "Runner.pvm", {IMAGE: filled(*chunks)})
    return shelf.push(root, version, **fields)


def pulled_whole(shelf: Shelf, manifest: Manifest) -> bool:
    return tree(shelf.entry(manifest).bundle_path) == tree(shelf.directory / manifest.version / "Runner.pvm")


# Repair


@pytest.mark.parametrize("verify", [True, False])
def test_a_stray_file_is_removed_and_the_image_stays_in_the_cache(shelf: Shelf, verify: bool) -> None:
    manifest = push(shelf, "1.0", 1, 2)
    shelf.pull(manifest)
    (Path(shelf.entry(manifest).bundle_path) / "stray").write_bytes(b"of nobody")
    assert isinstance(shelf.plan(manifest, verify=verify), ensure.Mend)
    shelf.storage.fetched.clear()
    outcome = shelf.pull(manifest, verify=verify)
    assert (outcome.changed, outcome.fill, shelf.storage.fetched) == (True, None, [])
    assert pulled_whole(shelf, manifest)
    assert not shelf.pull(manifest, verify=verify).changed


@pytest.mark.parametrize("verify", [True, False])
def test_files_of_finder_are_nobodys_business(shelf: Shelf, monkeypatch: pytest.MonkeyPatch, verify: bool) -> None:
    manifest = push(shelf, "1.0", 1, 2)
    shelf.pull(manifest)
    bundle = Path(shelf.entry(manifest).bundle_path)
    for name in (".DS_Store", "harddisk.hdd/.DS_Store", "._config.pvs"):
        (bundle / name).write_bytes(b"of Finder")
    if not verify:
        monkeypatch.setattr(observe, "hash_place", forbidden)
    assert isinstance(shelf.plan(manifest, verify=verify), ensure.Use)
    assert not shelf.pull(manifest, verify=verify).changed
    assert (bundle / ".DS_Store").exists()


def forbidden(*_arguments: t.Any, **_options: t.Any) -> t.NoReturn:
    raise AssertionError("this is not to be called")


def test_links_and_directories_are_put_back_without_reading_a_file(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_bundle(shelf.directory / "1.0" / "Runner.pvm", {IMAGE: filled(1, 2)})
    (root / "Snapshots").mkdir()
    (root / "current").symlink_to("config.pvs")
    manifest = shelf.push(root, "1.0")
    shelf.pull(manifest)
    bundle = Path(shelf.entry(manifest).bundle_path)
    (bundle / "Snapshots").rmdir()
    (bundle / "current").unlink()
    (bundle / "current").symlink_to(IMAGE)
    monkeypatch.setattr(
        observe.verify, "hash_files", lambda root, entries, *_a, **_o: {} if not entries else forbidden()
    )
    assert shelf.pull(manifest).changed
    monkeypatch.undo()
    assert pulled_whole(shelf, manifest)
    assert not shelf.pull(manifest).changed


def test_only_what_may_have_changed_is_read_again(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = push(shelf, "1.0", 1, 2)
    shelf.pull(manifest)
    (Path(shelf.entry(manifest).bundle_path) / "config.pvs").chmod(0o400)
    read: list[str] = []
    real = observe.verify.hash_files

    def watched(root: str, entries: t.Sequence[index.Entry], *arguments: t.Any, **options: t.Any) -> t.Any:
        read.extend(entry.path for entry in entries if entry.kind == index.FILE)
        return real(root, entries, *arguments, **options)

    monkeypatch.setattr(observe.verify, "hash_files", watched)
    assert not shelf.pull(manifest).changed
    assert set(read) == {"config.pvs"}
    read.clear()
    assert not shelf.pull(manifest).changed
    assert read == []


def test_what_verification_has_hashed_is_not_hashed_again_by_the_repair(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = push(shelf, "1.0", 1, 2)
    shelf.pull(manifest)
    path = Path(shelf.entry(manifest).bundle_path) / IMAGE
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.write(b"damaged")
    read: list[str] = []
    real = observe.verify.hash_files

    def watched(root: str, entries: t.Sequence[index.Entry], *arguments: t.Any, **options: t.Any) -> t.Any:
        read.extend(entry.path for entry in entries if entry.kind == index.FILE)
        return real(root, entries, *arguments, **options)

    monkeypatch.setattr(observe.verify, "hash_files", watched)
    outcome = shelf.pull(manifest, verify=True)
    assert outcome.changed and outcome.fill is not None
    assert outcome.fill.pack.download_raw_bytes == CHUNK
    assert pulled_whole(shelf, manifest)
    # Once to know, and once to prove what was written.
    assert set(collections.Counter(read).values()) == {2}


def test_what_cannot_be_read_is_one_clear_error(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = push(shelf, "1.0", 1, 2)
    shelf.pull(manifest)

    def fail(descriptor: int, buffers: t.Any, offset: int) -> int:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(CacheError, match=r"Reading .*bundle failed: Cannot allocate memory"):
        shelf.plan(manifest, verify=True)


def test_every_file_is_flushed_exactly_once(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = push(shelf, "1.0", 1, 2)
    flushed: list[int] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        flushed.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    shelf.pull(manifest)
    files = {path.stat().st_ino: path for path in Path(shelf.entry(manifest).bundle_path).rglob("*") if path.is_file()}
    assert {files[inode]: flushed.count(inode) for inode in files} == dict.fromkeys(files.values(), 1)


# Codecs


def test_chunks_that_nobody_here_can_decode_are_refused_before_the_download(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = push(shelf, "1.0", 1, 2)
    shelf.pull(manifest)
    newer = push(shelf, "1.1", 1, 3)
    zstd = bytes([index.CODEC_ZSTD]) * len(shelf.indexes[newer.id].locator.codecs)
    real = content.fetch_content

    def fetch(*arguments: t.Any) -> content.Content:
        whole = real(*arguments)
        found = whole.index
        locator = found.locator
        changed = index.Locator(
            locator.digest, locator.segments, locator.segment_numbers, locator.offsets, locator.lengths, zstd
        )
        return dataclasses.replace(whole, index=dataclasses.replace(found, locator=changed))

    monkeypatch.setattr(content, "fetch_content", fetch)
    monkeypatch.setattr(codecs, "decodable", lambda: frozenset({index.CODEC_RAW, index.CODEC_DEFLATE}))
    shelf.storage.fetched.clear()
    with pytest.raises(UnsupportedCodec, match=r"macos-15 1\.1 .* zstd.*zstandard") as caught:
        shelf.plan(newer)
    assert caught.value.code == "unsupported_codec"
    assert shelf.storage.fetched == []
    # What is on the host already needs no codec.
    same = push(shelf, "1.2", 2, 1)
    assert shelf.fill(same).pack.download_chunks == 0
    monkeypatch.setattr(codecs, "decodable", lambda: frozenset(codecs.CODEC_NAMES))
    assert shelf.fill(newer).pack.download_chunks > 0


# Seeds


def test_the_best_few_seeds_are_taken_and_no_other_listing_is_read(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = range(100, 120)
    shares = {"1.0": 3, "1.1": 9, "1.2": 1, "1.3": 12, "1.4": 5, "1.5": 0}
    made = {}
    for number, (version, share) in enumerate(shares.items()):
        own = range(1000 * (number + 1), 1000 * (number + 1) + len(wanted) - share)
        made[version] = push(shelf, version, *wanted[:share], *own)
        shelf.pull(made[version])
    newest = push(shelf, "2.0", *wanted)
    read: list[str] = []
    real = seeds.read_listing

    def watched(entry: CacheEntry) -> t.Optional[index.Listing]:
        read.append(entry.digest)
        return real(entry)

    monkeypatch.setattr(seeds, "read_listing", watched)
    found = seeds.find_seeds(shelf.cache, shelf.indexes[newest.id].listing)
    assert list(found) == read == [made[version].digest for version in ("1.3", "1.1", "1.4")]
    assert shelf.fill(newest).pack.download_raw_bytes == (len(wanted) - 12) * CHUNK
    shelf.pull(newest)
    assert pulled_whole(shelf, newest)


@pytest.mark.parametrize(("link", "requests"), [(LinkCost(0.0, 0.0), 10), (LinkCost(1.0, 1e6), 1)])
def test_ranges_are_formed_for_the_link_that_was_measured(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, link: LinkCost, requests: int
) -> None:
    shelf.pull(push(shelf, "1.0", *range(2, 21, 2)))
    newer = push(shelf, "1.1", *range(1, 21))
    monkeypatch.setattr(SignedTransfers, "link", lambda self: link)
    pack = shelf.fill(newer).pack
    # Each second chunk is in the cache: the gaps are as large as what is wanted.
    assert (pack.download_chunks, pack.download_requests) == (10, requests)
    applied = shelf.pull(newer).applied
    assert applied is not None and applied.downloaded_bytes == pack.download_bytes
    assert pulled_whole(shelf, newer)


def test_a_seed_that_cannot_be_read_is_none(shelf: Shelf) -> None:
    older = push(shelf, "1.0", 1, 2)
    shelf.pull(older)
    Path(shelf.entry(older).listing_path).unlink()
    os.mkdir(shelf.entry(older).listing_path)
    newer = push(shelf, "1.1", 1, 3)
    assert shelf.fill(newer).pack.sources == frozenset()
    shelf.pull(newer)
    assert pulled_whole(shelf, newer)


def test_a_seed_that_is_removed_meanwhile_is_done_without(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = push(shelf, "1.0", 1, 2, 3, 4), push(shelf, "1.1", 1, 2, 3, 5)
    for manifest in (first, second):
        shelf.pull(manifest)
    newer = push(shelf, "2.0", 1, 2, 3, 6)
    real = shelf.cache.lock

    def lock(digest: str, operation: str, *arguments: t.Any, **options: t.Any) -> t.Any:
        if operation == locking.READ:
            shelf.cache.remove(digest)
        return real(digest, operation, *arguments, **options)

    monkeypatch.setattr(shelf.cache, "lock", lock)
    outcome = shelf.pull(newer)
    assert outcome.fill is not None
    assert outcome.fill.pack.sources == frozenset()
    assert pulled_whole(shelf, newer)


def test_a_seed_that_somebody_changes_is_waited_for_and_then_a_warning(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeds, "SEED_WAIT_SECONDS", 0.05)
    older, newer = push(shelf, "1.0", 1, 2, 3, 4), push(shelf, "2.0", 1, 2, 3, 6)
    shelf.pull(older)
    with shelf.cache.lock(older.digest, locking.FILL, "a repair", 0.0):
        outcome = shelf.pull(newer)
    assert outcome.fill is not None
    assert outcome.fill.pack.sources == frozenset()
    (warning,) = shelf.warnings
    assert "macos-15 1.0 cannot be reused" in warning and "held by a repair" in warning
    assert re.search(r"up to \d+ bytes more are downloaded", warning)


def test_a_seed_is_not_lost_to_somebody_who_only_counts_a_use(shelf: Shelf) -> None:
    older, newer = push(shelf, "1.0", 1, 2, 3, 4), push(shelf, "2.0", 1, 2, 3, 6)
    shelf.pull(older)
    with shelf.held(older):
        outcome = shelf.pull(newer)
    assert outcome.fill is not None
    assert outcome.fill.pack.sources != frozenset()
    assert shelf.warnings == []


def test_a_cached_image_is_used_while_a_newer_one_is_downloaded_from_it(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = push(shelf, "1.0", 1, 2), push(shelf, "1.1", 1, 3)
    shelf.pull(older)
    real = shelf.storage.fetch
    used: list[bool] = []

    def fetch(*arguments: t.Any) -> bytes:
        used.append(shelf.pull(older).changed)
        return real(*arguments)

    monkeypatch.setattr(shelf.storage, "fetch", fetch)
    shelf.pull(newer)
    assert used and not any(used)
    assert shelf.entry(older).record.use_count > 1


def test_a_seed_that_is_held_cannot_be_removed(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    older = push(shelf, "1.0", 1, 2)
    shelf.pull(older)
    newer = push(shelf, "1.1", 1, 3)
    real = shelf.storage.fetch
    refused: list[str] = []

    def fetch(*arguments: t.Any) -> bytes:
        with pytest.raises(CacheLocked) as caught, shelf.cache.lock(older.digest, locking.REMOVE, "somebody", 0.0):
            pass
        refused.append(caught.value.message)
        return real(*arguments)

    monkeypatch.setattr(shelf.storage, "fetch", fetch)
    shelf.pull(newer)
    assert refused
    with shelf.cache.lock(older.digest, locking.REMOVE, "somebody", 0.0):
        pass


def test_an_interrupted_pull_resumes(shelf: Shelf) -> None:
    manifest = push(shelf, "1.0", *range(300))
    shelf.storage.fail_at = 2
    with pytest.raises(CacheError, match="the cable was pulled"):
        shelf.pull(manifest)
    shelf.storage.fail_at = None
    write_file(Path(shelf.cache.partial(manifest.digest).bundle_path) / "stray/file", b"x")
    outcome = shelf.pull(manifest)
    assert outcome.fill is not None and outcome.fill.resumes and outcome.fill.pack.kept_bytes > 0
    assert pulled_whole(shelf, manifest)


def test_a_mac_is_kept_awake_while_bytes_move(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "caffeinate"
    program.write_text(f"#!/bin/sh\necho begins >> {tmp_path}/calls\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(power, "caffeinate", lambda: str(program))
    real = shelf.storage.fetch
    seen: list[bool] = []

    def fetch(*arguments: t.Any) -> bytes:
        seen.append(True)
        deadline = time.monotonic() + 10
        while not (tmp_path / "calls").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return real(*arguments)

    monkeypatch.setattr(shelf.storage, "fetch", fetch)
    manifest = push(shelf, "1.0", 1, 2)
    shelf.pull(manifest)
    assert seen
    assert (tmp_path / "calls").read_text() == "begins\n"
    shelf.pull(manifest)
    assert (tmp_path / "calls").read_text() == "begins\n"


def test_a_prediction_survives_that_an_entry_is_removed_under_it(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = push(shelf, "1.0", 1, 2)
    shelf.pull(manifest)
    real = observe.difference

    def remove_first(entry: CacheEntry) -> t.Any:
        shelf.cache.remove(manifest.digest)
        return real(entry)

    monkeypatch.setattr(observe, "difference", remove_first)
    assert shelf.fill(manifest).pack.download_chunks > 0


def test_a_stray_directory_takes_no_memory_for_what_is_in_it(shelf: Shelf) -> None:
    manifest = push(shelf, "1.0", 1, 2)
    shelf.pull(manifest)
    entry = shelf.entry(manifest)
    stray = Path(entry.bundle_path) / "stray"
    (stray / "inner").mkdir(parents=True)
    for number in range(2000):
        (stray / f"inner/{number}").touch()

    def look() -> None:
        assert observe.difference(entry).strays == ("stray",)
        condition = observe.examine(entry, shelf.context, everything=False)
        assert isinstance(condition, observe.Untidy) and condition.strays == ("stray",)

    # To walk it would take some 2 KiB for each file.
    assert peak_of(look) < 1_000_000
    shelf.pull(manifest)
    assert not stray.exists()


def peak_of(work: t.Callable[[], t.Any]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def without_stamps(shelf: Shelf, manifest: Manifest, paths: t.Optional[set[str]]) -> None:
    """Take the stamps of files, or of all, from the record of an entry."""
    path = Path(shelf.entry(manifest).record_path)
    record = json.loads(path.read_bytes())
    if paths is None:
        del record["files"]
    else:
        record["files"] = {name: stamp for name, stamp in record["files"].items() if name not in paths}
    path.write_text(json.dumps(record))


def spoil(shelf: Shelf, manifest: Manifest) -> None:
    """Write to the disk of a cached image."""
    path = Path(shelf.entry(manifest).bundle_path) / IMAGE
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.write(b"spoiled")


@pytest.mark.parametrize("paths", [None, {IMAGE}])
def test_a_file_that_was_never_stamped_is_read(shelf: Shelf, paths: t.Optional[set[str]]) -> None:
    manifest = push(shelf, "1.0", 1, 2)
    shelf.pull(manifest)
    spoil(shelf, manifest)
    without_stamps(shelf, manifest, paths)
    outcome = shelf.pull(manifest)
    assert outcome.fill is not None
    assert outcome.fill.pack.download_raw_bytes == CHUNK
    assert pulled_whole(shelf, manifest)


def test_a_seed_that_was_never_stamped_is_not_believed(shelf: Shelf) -> None:
    older, newer = push(shelf, "1.0", 1, 2, 3), push(shelf, "1.1", 1, 2, 4)
    shelf.pull(older)
    spoil(shelf, older)
    without_stamps(shelf, older, {IMAGE})
    shelf.pull(newer)
    assert pulled_whole(shelf, newer)


@pytest.mark.parametrize("room", ["partial", "bundles"])
def test_a_place_that_lost_its_bundle_is_filled(shelf: Shelf, room: str) -> None:
    manifest = push(shelf, "1.0", 1, 2)
    if room == "bundles":
        shelf.pull(manifest)
        shutil.rmtree(shelf.entry(manifest).bundle_path)
    else:
        shutil.rmtree(shelf.cache.partial(manifest.digest).bundle_path)
    assert shelf.fill(manifest).pack.kept_bytes == 0
    assert shelf.pull(manifest).changed
    assert pulled_whole(shelf, manifest)


# What another process writes while an image is in work


def spoil_file(path: Path) -> None:
    """Write to a file as another process of the user would, and keep its permissions."""
    mode = path.stat().st_mode & 0o777
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.write(b"spoiled")
    path.chmod(mode)


def once(function: t.Callable[..., t.Any], before: t.Callable[[], None]) -> t.Callable[..., t.Any]:
    """The function, with something done before its first call."""
    waiting = [before]

    def called(*arguments: t.Any, **options: t.Any) -> t.Any:
        if waiting:
            waiting.pop()()
        return function(*arguments, **options)

    return called


def is_right_or_doubted(shelf: Shelf, manifest: Manifest) -> bool:
    return pulled_whole(shelf, manifest) or not observe.observe(shelf.cache, manifest.digest).is_trusted


def test_a_file_that_changes_while_others_are_examined_is_not_trusted(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = push(shelf, "1.0", 1, 2)
    shelf.pull(manifest)
    bundle = Path(shelf.entry(manifest).bundle_path)
    (bundle / "config.pvs").chmod(0o400)
    monkeypatch.setattr(observe, "read_listing", once(observe.read_listing, lambda: spoil_file(bundle / IMAGE)))
    shelf.pull(manifest)
    assert is_right_or_doubted(shelf, manifest)
    shelf.pull(manifest)
    assert pulled_whole(shelf, manifest)


@pytest.mark.parametrize("verify", [True, False])
def test_a_file_that_changes_before_its_image_is_tidied_is_repaired(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, verify: bool
) -> None:
    manifest = push(shelf, "1.0", 1, 2)
    shelf.pull(manifest)
    bundle = Path(shelf.entry(manifest).bundle_path)
    (bundle / "stray").touch()
    monkeypatch.setattr(mending, "mend", once(mending.mend, lambda: spoil_file(bundle / IMAGE)))
    assert shelf.pull(manifest, verify=verify).fill is not None
    assert pulled_whole(shelf, manifest)


@pytest.mark.parametrize("step", ["download", "stamps_after"])
def test_a_kept_file_that_changes_while_the_rest_is_downloaded_is_repaired(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    manifest = push(shelf, "1.0", 1, 2)
    partial = shelf.cache.partial(manifest.digest)
    shutil.copytree(shelf.directory / "1.0" / "Runner.pvm", partial.bundle_path, dirs_exist_ok=True)
    os.truncate(Path(partial.bundle_path) / "config.pvs", 3)
    image = Path(partial.bundle_path) / IMAGE
    monkeypatch.setattr(segmented, step, once(getattr(segmented, step), lambda: spoil_file(image)))
    shelf.pull(manifest)
    assert pulled_whole(shelf, manifest)
    assert not shelf.pull(manifest).changed


def test_what_changes_after_the_last_reading_is_not_published(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = push(shelf, "1.0", 1, 2)
    real = segmented.prove
    spoiled: list[Path] = []

    def prove(fill: segmented.Fill, partial: t.Any, context: t.Any) -> None:
        real(fill, partial, context)
        if not spoiled:
            spoiled.append(Path(partial.bundle_path) / IMAGE)
            spoil_file(spoiled[0])

    monkeypatch.setattr(segmented, "prove", prove)
    shelf.pull(manifest, verify=True)
    assert spoiled and pulled_whole(shelf, manifest)


def test_a_seed_that_changes_while_it_is_copied_from_does_no_harm(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = push(shelf, "1.0", 1, 2, 3), push(shelf, "1.1", 1, 2, 4)
    shelf.pull(older)
    image = Path(shelf.entry(older).bundle_path) / IMAGE
    monkeypatch.setattr(segmented, "download", once(segmented.download, lambda: spoil_file(image)))
    shelf.pull(newer)
    assert pulled_whole(shelf, newer)


def test_whoever_writes_to_the_cache_all_the_time_is_a_clear_error(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = push(shelf, "1.0", 1, 2)
    real = segmented.prove

    def prove(fill: segmented.Fill, partial: t.Any, context: t.Any) -> None:
        real(fill, partial, context)
        spoil_file(Path(partial.bundle_path) / IMAGE)

    monkeypatch.setattr(segmented, "prove", prove)
    with pytest.raises(CacheChanged, match=rf"was changed by somebody else while it was in work \({IMAGE}\)"):
        shelf.pull(manifest, verify=True)
    assert shelf.cache.find(manifest.digest) is None


def test_verified_means_that_every_file_was_read(shelf: Shelf) -> None:
    manifest = push(shelf, "1.0", 1, 2)
    shelf.pull(manifest)
    (Path(shelf.entry(manifest).bundle_path) / "config.pvs").chmod(0o400)
    shelf.pull(manifest)
    assert shelf.entry(manifest).record.verified_at is None
    shelf.pull(manifest, verify=True)
    assert shelf.entry(manifest).record.verified_at is not None


def test_a_damaged_seed_is_replaced_from_a_segment_that_nothing_else_needs(shelf: Shelf) -> None:
    older = push(shelf, "1.0", 1, 2)
    shelf.pull(older)
    spoil(shelf, older)
    # All its chunks are in the seed, so the plan reads no segment at all.
    newer = push(shelf, "1.1", 2, 1)
    assert shelf.fill(newer).pack.segments == ()
    shelf.pull(newer)
    assert pulled_whole(shelf, newer)


@pytest.mark.parametrize("by", ["a verification", "an interrupted repair"])
def test_a_repair_keeps_what_the_record_remembers(shelf: Shelf, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    manifest = push(shelf, "1.0", 1, 2)
    same = dataclasses.replace(manifest, catalog_id="other")
    shelf.pull(manifest)
    shelf.pull(same)
    path = Path(shelf.entry(manifest).record_path)
    before = json.loads(path.read_bytes())
    path.write_text(json.dumps({**before, "pins": ["night"], "use_count": 40}))
    spoil(shelf, manifest)
    if by == "a verification":
        change_cache(CacheRequest("verified"), shelf.context, check_mode=False)
    else:
        monkeypatch.setattr(segmented, "download", forbidden)
        with pytest.raises(AssertionError):
            shelf.pull(manifest)
        monkeypatch.undo()
    assert shelf.cache.find(manifest.digest) is None
    shelf.pull(manifest)
    record = shelf.entry(manifest).record
    assert record.extra == {"pins": ["night"]}
    assert {address.catalog_id for address in record.addresses} == {manifest.catalog_id, "other"}
    assert (record.use_count, record.first_used_at) == (41, before["first_used_at"])
    assert pulled_whole(shelf, manifest)
