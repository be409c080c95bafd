# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
import resource
import shutil
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.link import LinkCost
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import reader, verify, writer
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import DamagedChunk
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    CODEC_RAW,
    Index,
    Listing,
    SegmentRef,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.open_files import MOST_OPEN, OpenFiles
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.positions import References
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.pull_plan import CLONE, EMPTY
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import (
    CHUNK,
    IMAGE,
    MemoryStorage,
    apply,
    index_of,
    known_of,
    make_bundle,
    noise,
    pack,
    plan_of,
    seed_of,
    text,
    tree,
    write_file,
)

IMAGE_BYTES = b"".join(
    (noise(1, 20 * CHUNK), bytes(20 * CHUNK), text(2, 30 * CHUNK), noise(1, 3 * CHUNK), noise(3, 1234))
)
OTHER_BYTES = IMAGE_BYTES[: 5 * CHUNK] + noise(4, 2 * CHUNK) + bytes(CHUNK) + IMAGE_BYTES[8 * CHUNK : 60 * CHUNK]


class Scene:
    """A bundle, its pack in storage, and a directory to pull it into."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = make_bundle(directory / "Runner.pvm", {IMAGE: IMAGE_BYTES, "run.sh": b"#!/bin/sh\n", "empty": b""})
        (self.root / "run.sh").chmod(0o755)
        (self.root / "disk").symlink_to("harddisk.hdd")
        (self.root / "Snapshots").mkdir()
        self.storage = MemoryStorage()
        self.index = self.push()
        self.target = self.make("target")

    def push(self, *known: Index) -> Index:
        return index_of(pack(self.root, self.storage, known=known_of(*known), segment_bytes=2 * CHUNK))

    def make(self, name: str) -> Path:
        path = self.directory / name
        path.mkdir()
        return path

    def pull(self, index: Index, root: Path, **options: t.Any) -> reader.Applied:
        applied = apply(plan_of(index, **options), root, self.storage)
        assert verify.damaged_paths(str(root), index.listing) == []
        return applied

    def second_version(self) -> Index:
        write_file(self.root / IMAGE, OTHER_BYTES)
        write_file(self.root / "new", noise(5, 100))
        (self.root / "empty").unlink()
        return self.push(self.index)


@pytest.fixture(name="scene")
def scene_fixture(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


# Cold


def test_a_pulled_bundle_is_the_pushed_one(scene: Scene) -> None:
    applied = scene.pull(scene.index, scene.target)
    assert tree(scene.target) == tree(scene.root)
    made = plan_of(scene.index)
    assert applied.downloaded_bytes == scene.storage.fetched_bytes == made.download_bytes
    assert applied.written_bytes == made.write_bytes
    assert (applied.copied_bytes, applied.repaired_chunks) == (0, 0)


def test_modes_are_those_of_the_format_whatever_the_umask(scene: Scene) -> None:
    before = os.umask(0o077)
    try:
        scene.pull(scene.index, scene.target)
    finally:
        os.umask(before)
    assert (scene.target / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (scene.target / IMAGE).stat().st_mode & 0o777 == 0o644


def test_holes_take_no_disk(scene: Scene) -> None:
    scene.pull(scene.index, scene.target)
    os.sync()
    status = (scene.target / IMAGE).stat()
    assert status.st_size == len(IMAGE_BYTES)
    assert status.st_blocks * 512 <= len(IMAGE_BYTES) - 19 * CHUNK


def test_a_chunk_that_is_used_often_is_fetched_once(tmp_path: Path) -> None:
    storage = MemoryStorage()
    root = make_bundle(tmp_path / "A.pvm", {IMAGE: noise(1, CHUNK) * 50, "second": noise(1, CHUNK)})
    index = index_of(pack(root, storage, codec=CODEC_RAW))
    (tmp_path / "target").mkdir()
    applied = apply(plan_of(index), tmp_path / "target", storage)
    assert applied.downloaded_bytes < 2 * CHUNK
    assert applied.written_bytes > 51 * CHUNK
    assert tree(tmp_path / "target") == tree(root)


def test_progress_adds_up_and_stays_in_the_thread_of_the_caller(scene: Scene) -> None:
    seen: list[int] = []
    threads: set[int] = set()

    def advance(count: int) -> None:
        seen.append(count)
        threads.add(threading.get_ident())

    made = plan_of(scene.index)
    reader.apply_plan(made, str(scene.target), fetch=scene.storage.fetch, clone_file=shutil.copyfile, advance=advance)
    assert sum(seen) == made.download_bytes
    assert threads == {threading.get_ident()}


def test_progress_shows_that_copying_goes_on(scene: Scene) -> None:
    scene.pull(scene.index, scene.target)
    made = plan_of(scene.index, seeds=[seed_of(scene.target, scene.index.listing)], can_clone=False)
    seen: list[int] = []
    reader.apply_plan(
        made, str(scene.make("second")), fetch=scene.storage.fetch, clone_file=shutil.copyfile, advance=seen.append
    )
    copies = list(made.copies())
    assert copies and not made.download_requests
    assert len(seen) >= len(copies) and sum(seen) == 0


def test_flushing_is_left_to_who_publishes(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    scene.pull(scene.index, scene.target)
    assert flushed == []


def test_thousands_of_small_files_need_few_descriptors(tmp_path: Path) -> None:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == 256
    storage = MemoryStorage()
    root = make_bundle(tmp_path / "A.pvm", {f"apps/{n:05}.txt": b"file %d" % n for n in range(1000)})
    index = index_of(pack(root, storage))
    (tmp_path / "target").mkdir()
    made = plan_of(index)
    # All of them lie in one range.
    assert made.download_requests == 1
    apply(made, tmp_path / "target", storage)
    assert tree(tmp_path / "target") == tree(root)
    assert len(os.listdir("/dev/fd")) < 100


def test_files_that_are_written_to_in_turns_are_opened_again(tmp_path: Path) -> None:
    names = [f"{number}" for number in range(MOST_OPEN + 2)]
    for name in names:
        (tmp_path / name).write_bytes(bytes(3))
    before = len(os.listdir("/dev/fd"))
    files = OpenFiles(str(tmp_path))
    for offset in range(3):
        for name in names:
            os.pwrite(files.descriptor(name), b"x", offset)
            assert len(os.listdir("/dev/fd")) <= before + MOST_OPEN
    files.close()
    assert len(os.listdir("/dev/fd")) == before
    assert [(tmp_path / name).read_bytes() for name in names] == [b"xxx"] * len(names)


@pytest.mark.parametrize("transfers", [1, 2, 9])
def test_so_many_ranges_are_fetched_at_once(scene: Scene, transfers: int) -> None:
    made = plan_of(scene.index, link=LinkCost(0.0, 0.0))
    assert made.download_requests >= 9
    # Nobody goes on before all of them are there; one more would break the barrier.
    full = threading.Barrier(transfers, timeout=30)
    lock = threading.Lock()
    fetching = most = turn = 0

    def fetch(segment: SegmentRef, offset: int, length: int) -> bytes:
        nonlocal fetching, most, turn
        with lock:
            fetching += 1
            most = max(most, fetching)
            turn += 1
            is_first_round = turn <= transfers
        if is_first_round:
            full.wait()
        data = scene.storage.fetch(segment, offset, length)
        with lock:
            fetching -= 1
        return data

    reader.apply_plan(made, str(scene.target), fetch=fetch, clone_file=shutil.copyfile, transfers=transfers)
    assert most == transfers
    assert tree(scene.target) == tree(scene.root)


def test_what_the_plan_did_not_see_does_not_show_through(scene: Scene) -> None:
    # A plan that knows nothing of what lies there must not build on it.
    write_file(scene.target / IMAGE, noise(66, len(IMAGE_BYTES) + 5))
    (scene.target / "NVRAM.dat").symlink_to("elsewhere")
    (scene.target / "disk").symlink_to("elsewhere")
    write_file(scene.target / "empty", b"not empty")
    scene.pull(scene.index, scene.target)
    assert tree(scene.target) == tree(scene.root)


def test_what_does_not_belong_there_is_removed(scene: Scene) -> None:
    scene.pull(scene.index, scene.target)
    precious = scene.directory / "precious"
    write_file(precious / "file", b"precious")
    write_file(scene.target / ".DS_Store", b"of the Finder")
    write_file(scene.target / "more/of/it", b"")
    (scene.target / "link to a directory").symlink_to(precious)
    os.mkfifo(scene.target / "pipe")
    for name in ("run.sh", "disk"):
        (scene.target / name).unlink()
        write_file(scene.target / name / "file", b"a directory where none belongs")
    (scene.target / "Snapshots").rmdir()
    (scene.target / "Snapshots").symlink_to(precious)
    (scene.target / "harddisk.hdd").rename(scene.directory / "elsewhere")
    (scene.target / "harddisk.hdd").symlink_to(scene.directory / "elsewhere")
    before = tree(scene.directory / "elsewhere")
    present_ids = verify.hash_files(str(scene.target), scene.index.listing.entries, CHUNK)
    scene.pull(scene.index, scene.target, present_ids=present_ids)
    assert tree(scene.target) == tree(scene.root)
    assert tree(scene.directory / "elsewhere") == before
    assert tree(precious) == {"file": ("file", b"precious", False)}


def test_a_link_elsewhere_is_not_written_through(scene: Scene) -> None:
    outside = scene.directory / "outside"
    write_file(outside, b"precious")
    (scene.target / "config.pvs").symlink_to(outside)
    scene.pull(scene.index, scene.target)
    assert outside.read_bytes() == b"precious"


# With seeds


@pytest.mark.parametrize("can_clone", [True, False])
@pytest.mark.parametrize("trusted", [True, False])
def test_a_second_version_downloads_what_changed_alone(scene: Scene, can_clone: bool, trusted: bool) -> None:
    scene.pull(scene.index, scene.target)
    second = scene.second_version()
    seed = seed_of(scene.target, scene.index.listing, trusted)
    before = tree(scene.target)
    made = plan_of(second, seeds=[seed], can_clone=can_clone)
    assert made.download_raw_bytes == 2 * CHUNK + 100
    scene.storage.fetched.clear()
    target = scene.make("second")
    applied = scene.pull(second, target, seeds=[seed], can_clone=can_clone)
    assert tree(target) == tree(scene.root)
    assert applied.written_bytes == 2 * CHUNK + 100
    assert applied.downloaded_bytes == scene.storage.fetched_bytes < 2 * CHUNK + 1000
    assert (applied.copied_bytes == 0) == (can_clone and trusted)
    assert tree(scene.target) == before


def damage(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(data)


@pytest.mark.parametrize("can_clone", [True, False])
def test_damaged_chunks_of_a_seed_are_downloaded(scene: Scene, can_clone: bool) -> None:
    scene.pull(scene.index, scene.target)
    damage(scene.target / IMAGE, 10 * CHUNK + 5, b"!")
    damage(scene.target / IMAGE, 41 * CHUNK, bytes(2 * CHUNK))
    seed = seed_of(scene.target, scene.index.listing, trusted=False)
    scene.storage.fetched.clear()
    target = scene.make("second")
    applied = scene.pull(scene.index, target, seeds=[seed], can_clone=can_clone)
    assert tree(target) == tree(scene.root)
    assert applied.repaired_chunks == 3
    assert applied.downloaded_bytes == scene.storage.fetched_bytes > 0


@pytest.mark.parametrize("trusted", [True, False])
def test_a_seed_that_was_cut_short_is_completed(scene: Scene, trusted: bool) -> None:
    scene.pull(scene.index, scene.target)
    os.truncate(scene.target / IMAGE, 50 * CHUNK + 1)
    seed = seed_of(scene.target, scene.index.listing, trusted)
    target = scene.make("second")
    applied = scene.pull(scene.index, target, seeds=[seed])
    assert applied.repaired_chunks > 10
    assert tree(target) == tree(scene.root)


@pytest.mark.parametrize("trusted", [True, False])
def test_a_seed_that_vanished_is_downloaded(scene: Scene, trusted: bool) -> None:
    scene.pull(scene.index, scene.target)
    seed = seed_of(scene.target, scene.index.listing, trusted)
    made = plan_of(scene.index, seeds=[seed])
    shutil.rmtree(scene.target)
    target = scene.make("second")
    applied = apply(made, target, scene.storage)
    assert applied.repaired_chunks > 0
    assert tree(target) == tree(scene.root)


def test_a_link_in_place_of_a_file_of_a_seed_is_not_followed(scene: Scene) -> None:
    scene.pull(scene.index, scene.target)
    (scene.target / IMAGE).rename(scene.directory / "secret")
    (scene.target / IMAGE).symlink_to(scene.directory / "secret")
    target = scene.make("second")
    applied = scene.pull(scene.index, target, seeds=[seed_of(scene.target, scene.index.listing, False)])
    assert applied.repaired_chunks > 0


def test_damage_of_a_seed_is_never_written(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.pull(scene.index, scene.target)
    mark = b"a chunk of somebody else" * 100
    damage(scene.target / IMAGE, 3 * CHUNK, mark)
    written: list[bytes] = []
    pwrite = os.pwrite

    def record(descriptor: int, data: t.Any, offset: int) -> int:
        written.append(bytes(data))
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", record)
    scene.pull(scene.index, scene.make("second"), seeds=[seed_of(scene.target, scene.index.listing, False)])
    assert written
    assert not any(mark in data for data in written)


def test_a_seed_of_a_lying_listing_gives_nothing_wrong(scene: Scene) -> None:
    # The seed says that it is the wanted version, and holds the other one.
    second = scene.second_version()
    scene.pull(second, scene.target)
    target = scene.make("second")
    applied = scene.pull(scene.index, target, seeds=[seed_of(scene.target, scene.index.listing, trusted=False)])
    assert applied.repaired_chunks > 0


def test_the_files_of_a_bundle_are_looked_through_once_for_all_copies(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.pull(scene.index, scene.target)
    made = plan_of(scene.index, seeds=[seed_of(scene.target, scene.index.listing, trusted=False)])
    assert len(list(made.copies())) >= 4
    built: list[int] = []

    class Counted(References):
        def __init__(self, listing: Listing) -> None:
            built.append(1)
            super().__init__(listing)

    monkeypatch.setattr(reader, "References", Counted)
    apply(made, scene.make("second"), scene.storage)
    assert len(built) == 1
    assert tree(scene.directory / "second") == tree(scene.root)


# Damaged storage


@pytest.mark.parametrize("position", [9, 3 * CHUNK, -200])
@pytest.mark.parametrize("codec", [0, 1, 2])
def test_a_flipped_bit_is_found_before_it_is_written(tmp_path: Path, codec: int, position: int) -> None:
    storage = MemoryStorage()
    root = make_bundle(tmp_path / "A.pvm", {IMAGE: text(1, 3 * CHUNK) + noise(2, 3 * CHUNK) + noise(3, 100)})
    index = index_of(pack(root, storage, codec=codec))
    name = next(iter(storage.objects))
    data = bytearray(storage.objects[name])
    rows_end = index.locator.offsets[-1] + index.locator.lengths[-1]
    data[position if position > 0 else rows_end - 1] ^= 4
    storage.objects[name] = bytes(data)
    (tmp_path / "target").mkdir()
    with pytest.raises(DamagedChunk) as caught:
        apply(plan_of(index), tmp_path / "target", storage)
    assert caught.value.details["segment"] == name
    assert caught.value.hint
    for entry in index.listing.files():
        for offset in range(0, entry.size, CHUNK):
            there = (tmp_path / "target" / entry.path).read_bytes()[offset : offset + CHUNK]
            assert not any(there) or there == (root / entry.path).read_bytes()[offset : offset + CHUNK]


def test_a_bit_that_flips_on_the_way_does_not_end_a_pull(scene: Scene) -> None:
    made = plan_of(scene.index)
    seen: set[tuple[str, int]] = set()

    def fetch(segment: SegmentRef, offset: int, length: int) -> bytes:
        data = bytearray(scene.storage.fetch(segment, offset, length))
        if (segment.sha256, offset) not in seen:
            data[length // 2] ^= 1
        seen.add((segment.sha256, offset))
        return bytes(data)

    applied = reader.apply_plan(made, str(scene.target), fetch=fetch, clone_file=shutil.copyfile)
    assert tree(scene.target) == tree(scene.root)
    assert applied.downloaded_bytes == 2 * made.download_bytes
    assert applied.written_bytes == made.write_bytes


def test_no_hint_advises_to_delete_what_may_not_be_lost(scene: Scene) -> None:
    with pytest.raises(DamagedChunk) as caught:
        reader.apply_plan(
            plan_of(scene.index), str(scene.target), fetch=lambda *_range: b"", clone_file=shutil.copyfile
        )
    assert "storage" in caught.value.hint
    assert not re.search(r"delete|remove|purge", caught.value.hint)


@pytest.mark.parametrize("cut", [0, 1, CHUNK])
def test_a_storage_that_gives_less_is_damage(scene: Scene, cut: int) -> None:
    def fetch(segment: SegmentRef, offset: int, length: int) -> bytes:
        return scene.storage.objects[segment.sha256][offset : offset + length][:cut]

    with pytest.raises(DamagedChunk):
        reader.apply_plan(plan_of(scene.index), str(scene.target), fetch=fetch, clone_file=shutil.copyfile)


def test_more_than_was_asked_for_does_no_harm(scene: Scene) -> None:
    def fetch(segment: SegmentRef, offset: int, length: int) -> bytearray:
        return bytearray(scene.storage.objects[segment.sha256][offset:])

    reader.apply_plan(plan_of(scene.index), str(scene.target), fetch=fetch, clone_file=shutil.copyfile)
    assert tree(scene.target) == tree(scene.root)


# Interruption


def resume(scene: Scene, index: Index, target: Path, **options: t.Any) -> reader.Applied:
    present_ids = verify.hash_files(str(target), index.listing.entries, index.listing.chunk_size)
    scene.storage.fetched.clear()
    return scene.pull(index, target, present_ids=present_ids, **options)


@pytest.mark.parametrize("calls", [0, 1, 2, 3, 5])
def test_a_pull_that_was_cut_off_fetches_the_rest_alone(scene: Scene, calls: int) -> None:
    cold = plan_of(scene.index)
    assert cold.download_requests > 5
    scene.storage.fail_at = calls
    before = threading.active_count()
    with pytest.raises(ConnectionResetError):
        apply(cold, scene.target, scene.storage)
    assert threading.active_count() == before
    scene.storage.fail_at = None
    arrived = scene.storage.fetched_bytes
    assert len(scene.storage.fetched) == calls
    applied = resume(scene, scene.index, scene.target)
    assert tree(scene.target) == tree(scene.root)
    assert applied.downloaded_bytes == cold.download_bytes - arrived


def test_a_pull_is_resumed_again_and_again(scene: Scene) -> None:
    cold = plan_of(scene.index).download_bytes
    fetched = 0
    for _attempt in range(100):
        scene.storage.fetched.clear()
        present_ids = verify.hash_files(str(scene.target), scene.index.listing.entries, CHUNK)
        scene.storage.fail_at = 1
        try:
            apply(plan_of(scene.index, present_ids=present_ids), scene.target, scene.storage)
            break
        except ConnectionResetError:
            pass
        finally:
            fetched += scene.storage.fetched_bytes
    assert tree(scene.target) == tree(scene.root)
    assert fetched == cold


def test_a_delta_that_was_cut_off_keeps_what_the_seed_gave(scene: Scene) -> None:
    scene.pull(scene.index, scene.target)
    second = scene.second_version()
    seed = seed_of(scene.target, scene.index.listing)
    target = scene.make("second")
    scene.storage.fail_at = 0
    with pytest.raises(ConnectionResetError):
        apply(plan_of(second, seeds=[seed], can_clone=True), target, scene.storage)
    scene.storage.fail_at = None
    applied = resume(scene, second, target)
    assert tree(target) == tree(scene.root)
    assert applied.downloaded_bytes < 2 * CHUNK + 1000


def test_garbage_in_a_partial_bundle_is_replaced(scene: Scene) -> None:
    scene.pull(scene.index, scene.target)
    damage(scene.target / IMAGE, 25 * CHUNK, b"where a hole belongs")
    damage(scene.target / IMAGE, 3 * CHUNK, b"where data belong")
    with (scene.target / "NVRAM.dat").open("ab") as stream:
        stream.write(b"too much")
    (scene.target / "run.sh").unlink()
    (scene.target / "run.sh").mkdir()
    (scene.target / "run.sh").rmdir()
    (scene.target / "disk").unlink()
    applied = resume(scene, scene.index, scene.target)
    assert tree(scene.target) == tree(scene.root)
    assert applied.written_bytes == CHUNK + len(b"#!/bin/sh\n")


def test_a_complete_bundle_is_only_flushed(scene: Scene) -> None:
    scene.pull(scene.index, scene.target)
    applied = resume(scene, scene.index, scene.target)
    assert applied == reader.Applied(0, 0, 0, 0)
    assert scene.storage.fetched == []


def test_an_error_while_writing_comes_out_as_itself(scene: Scene) -> None:
    made = plan_of(scene.index)

    def fetch(segment: SegmentRef, offset: int, length: int) -> bytes:
        shutil.rmtree(scene.target, ignore_errors=True)
        return scene.storage.fetch(segment, offset, length)

    with pytest.raises(FileNotFoundError):
        reader.apply_plan(made, str(scene.target), fetch=fetch, clone_file=shutil.copyfile)


def test_a_clone_that_fails_comes_out_as_itself(scene: Scene) -> None:
    scene.pull(scene.index, scene.target)

    def clone(source: str, destination: str) -> None:
        raise OSError("no room")

    made = plan_of(scene.index, seeds=[seed_of(scene.target, scene.index.listing)], can_clone=True)
    assert {start.start for start in made.starts} == {CLONE, EMPTY}
    with pytest.raises(OSError, match="no room"):
        reader.apply_plan(made, str(scene.make("second")), fetch=scene.storage.fetch, clone_file=clone)


def test_what_a_writer_counts_a_reader_fetches(scene: Scene) -> None:
    written: writer.WrittenPack = pack(scene.root, MemoryStorage(), segment_bytes=2 * CHUNK)
    made = plan_of(written)
    assert made.download_chunks == written.new_chunks
    assert made.download_raw_bytes == written.new_bytes
