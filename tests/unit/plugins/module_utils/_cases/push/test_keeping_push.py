# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A push that keeps its clone in the cache: whole pushes, with a real cache."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import typing as t
import unicodedata
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._base import files
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push import keep
from ansible_collections.macfleet.parallels.plugins.module_utils._host import file_clone, sharing, volumes
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache import locking
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import difference
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.layout import CacheEntry
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.records import CachedAddress
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import sketch, verify
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import decode_listing
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import (
    CHUNK,
    IMAGE,
    make_bundle,
    noise,
    tree,
    write_file,
)
from ansible_collections.macfleet.parallels.tests.unit.support.builders import Builder
from ansible_collections.macfleet.parallels.tests.unit.support.shelf import CATALOG_ID, URL

BLOCK = 4096


@pytest.fixture
def clones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is taken to have clones; copies stand in for them."""
    monkeypatch.setattr(volumes, "has_clones", lambda path: True)
    monkeypatch.setattr(file_clone, "probe", lambda directory: True)


@pytest.fixture
def builder(tmp_path: Path, clones: None) -> Builder:
    return Builder(tmp_path)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "vms/Runner.pvm", {IMAGE: noise(1, 8 * CHUNK)})


def newest(builder: Builder) -> Manifest:
    return builder.published[-1]


def write_block(bundle: Path, number: int) -> None:
    with (bundle / IMAGE).open("r+b") as stream:
        stream.seek(number * BLOCK)
        stream.write(noise(number + 100, BLOCK))


def sound(builder: Builder) -> CacheEntry:
    """The entry of what was pushed last, of which every chunk is right."""
    manifest = newest(builder)
    entry, listing = builder.entry(manifest), builder.indexes[manifest.id].listing
    assert not difference(entry)
    assert verify.damaged_paths(entry.bundle_path, listing) == []
    assert list(verify.strays(entry.bundle_path, listing, with_left_out=True)) == []
    return entry


# What is kept


def test_what_was_pushed_is_an_entry(builder: Builder, bundle: Path) -> None:
    before = tree(bundle)
    result = builder.publish(bundle, "1.0")
    assert result["changed"] and result["cloned"] and result["kept_in_cache"] and not builder.warnings
    entry, manifest = sound(builder), newest(builder)
    assert tree(entry.bundle_path) == before == tree(bundle)
    record = entry.record
    assert record.addresses == (CachedAddress(URL, CATALOG_ID, "1.0", "arm64"),)
    assert (record.digest, record.bundle_name, record.type) == (manifest.digest, "Runner.pvm", "pvm")
    assert (record.logical_bytes, record.stored_bytes) == (manifest.logical_bytes, manifest.stored_bytes)
    assert record.first_used_at == record.last_used_at and record.verified_at is None
    assert record.downloaded_bytes == 0 and record.use_count == 1 and record.allocated_bytes >= 8 * CHUNK
    listing = decode_listing(Path(entry.listing_path).read_bytes())
    assert listing == builder.indexes[manifest.id].listing
    assert record.sketch == sketch.encode(sketch.of(listing))
    assert sorted(os.listdir(entry.path)) == ["bundle", "listing", "record.json"]
    assert os.listdir(bundle.parent) == ["Runner.pvm"] and not builder.cache.partials()


def test_nobody_writes_to_it_by_accident(builder: Builder, bundle: Path) -> None:
    write_file(bundle / "run.sh", b"#!/bin/sh\n")
    (bundle / "run.sh").chmod(0o755)
    builder.publish(bundle, "1.0")
    root = Path(sound(builder).bundle_path)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*") if path.is_file()}
    assert modes.pop("run.sh") == 0o555 and set(modes.values()) == {0o444}
    write_block(bundle, 0)
    assert tree(root) != tree(bundle)
    sound(builder)


def test_a_pull_of_it_downloads_nothing(builder: Builder, bundle: Path) -> None:
    builder.publish(bundle, "1.0")
    outcome = builder.pull(newest(builder))
    assert not outcome.changed and outcome.was_cached
    assert not builder.storage.fetched and not builder.warnings
    done = builder.run(newest(builder))
    assert not done["changed"] and done["bytes"]["downloaded"] == 0


def test_without_the_option_nothing_is_kept(builder: Builder, bundle: Path) -> None:
    result = builder.publish(bundle, "1.0", keep_in_cache=False)
    assert result["changed"] and result["cloned"] and not result["kept_in_cache"]
    assert builder.cache.entries() == [] and not builder.warnings


def test_check_mode_tells_what_will_be_kept(builder: Builder, bundle: Path) -> None:
    assert builder.publish(bundle, "1.0", check_mode=True)["kept_in_cache"]
    assert not builder.publish(bundle, "1.0", check_mode=True, keep_in_cache=False)["kept_in_cache"]
    assert builder.cache.entries() == [] and not builder.warnings
    assert builder.publish(bundle, "1.0")["kept_in_cache"]


def test_a_push_of_nothing_keeps_nothing(builder: Builder, bundle: Path) -> None:
    builder.publish(bundle, "1.0", keep_in_cache=False)
    again = builder.publish(bundle, "1.0", manifests=tuple(builder.published))
    assert not again["changed"] and not again["kept_in_cache"]
    assert builder.cache.entries() == [] and not builder.warnings


def test_what_belongs_to_the_mac_is_not_in_it(builder: Builder, bundle: Path) -> None:
    for path in (".DS_Store", "parallels.log", "vm.lock", "Runner.app/Contents/Info.plist", "harddisk.hdd/._disk"):
        write_file(bundle / path, b"of this Mac")
    (bundle / "Windows Disks").symlink_to("harddisk.hdd")
    builder.publish(bundle, "1.0")
    kept = tree(sound(builder).bundle_path)
    assert set(tree(bundle)) - set(kept) == {
        *(".DS_Store", "parallels.log", "vm.lock", "Runner.app", "Runner.app/Contents"),
        *("Runner.app/Contents/Info.plist", "harddisk.hdd/._disk", "Windows Disks"),
    }


def test_names_and_targets_have_the_normal_form_of_the_listing(builder: Builder, bundle: Path) -> None:
    name = unicodedata.normalize("NFD", "Caf\u00e9")
    for path in (f"{name}/{name}/{name}.txt", f"{name}/b"):
        write_file(bundle / path, b"coffee")
    (bundle / name / "empty").mkdir()
    (bundle / f"to {name}").symlink_to(f"{name}/b")
    builder.publish(bundle, "1.0")
    root = Path(sound(builder).bundle_path)
    assert os.readlink(root / "to Caf\u00e9") == "Caf\u00e9/b"
    found = set(tree(root))
    assert {"Caf\u00e9/Caf\u00e9/Caf\u00e9.txt", "Caf\u00e9/b", "Caf\u00e9/empty"} <= found
    assert all(unicodedata.is_normalized("NFC", path) for path in found)


def test_an_entry_that_is_there_is_used(builder: Builder, bundle: Path) -> None:
    builder.publish(bundle, "1.0")
    before = sound(builder)
    result = builder.publish(bundle, "1.1")
    assert result["kept_in_cache"] and not builder.warnings
    entry = sound(builder)
    assert [address.version for address in entry.record.addresses] == ["1.0", "1.1"]
    assert entry.record.use_count == before.record.use_count + 1 and entry.record.stamps == before.record.stamps
    assert os.listdir(bundle.parent) == ["Runner.pvm"] and len(builder.cache.entries()) == 1


def test_an_image_that_a_killed_pull_has_left_gives_way(builder: Builder, bundle: Path) -> None:
    builder.publish(bundle, "1.0")
    builder.cache.demote(newest(builder).digest)
    partial = builder.cache.partial(newest(builder).digest)
    write_file(Path(partial.bundle_path) / "stray", b"half of a file")
    assert builder.publish(bundle, "1.1")["kept_in_cache"] and not builder.warnings
    assert [address.version for address in sound(builder).record.addresses] == ["1.0", "1.1"]
    assert not builder.cache.partials()


def test_an_entry_whose_record_is_damaged_is_made_anew(builder: Builder, bundle: Path) -> None:
    builder.publish(bundle, "1.0")
    Path(builder.entry(newest(builder)).record_path).write_bytes(b"damaged")
    assert builder.publish(bundle, "1.1")["kept_in_cache"] and not builder.warnings
    sound(builder)


def test_what_the_bundle_becomes_after_the_clone_was_made_is_not_kept(builder: Builder, bundle: Path) -> None:
    before = tree(bundle)
    builder.on_commit = lambda: write_block(bundle, 3)
    result = builder.publish(bundle, "1.0")
    assert result["kept_in_cache"] and not builder.warnings
    assert tree(sound(builder).bundle_path) == before != tree(bundle)


def test_where_files_can_be_cloned_it_takes_no_room(reflink_volume: Path) -> None:
    builder = Builder(reflink_volume)
    bundle = make_bundle(reflink_volume / "vms/Runner.pvm", {IMAGE: noise(1, 64 * CHUNK)})
    assert builder.publish(bundle, "1.0")["kept_in_cache"] and not builder.warnings
    kept = os.path.join(sound(builder).bundle_path, IMAGE)
    assert sharing.exclusive_bytes(kept) == 0
    write_block(bundle, 3)
    sound(builder)


# The next push


def test_the_next_push_compares_with_what_was_kept(builder: Builder, bundle: Path) -> None:
    builder.publish(bundle, "1.0")
    for number in (0, 40, 77):
        write_block(bundle, number)
    predicted = builder.publish(bundle, "1.1", check_mode=True, delta_budget=0)
    done = builder.publish(bundle, "1.1", delta_budget=0)
    assert not builder.storage.fetched
    assert not predicted["encoded_is_estimate"] and predicted["deltas"] == done["deltas"]
    (delta,) = done["deltas"]
    assert delta["base"] == "1.0" and 3 * BLOCK < delta["patch_bytes"] < 3 * BLOCK + 100
    assert done["bytes"] == predicted["bytes"] and done["bytes"]["new"] == 3 * CHUNK
    assert done["kept_in_cache"] and len(builder.cache.entries()) == 2 and not builder.warnings
    sound(builder)


def test_without_it_the_next_push_has_no_base_at_hand(builder: Builder, bundle: Path) -> None:
    builder.publish(bundle, "1.0", keep_in_cache=False)
    write_block(bundle, 40)
    assert builder.publish(bundle, "1.1", check_mode=True)["encoded_is_estimate"]
    assert builder.publish(bundle, "1.1")["deltas"] and builder.storage.fetched


# What goes wrong is a warning


def warned(builder: Builder, bundle: Path, sentence: str) -> None:
    """A push that changes what it should, but cannot keep it, and leaves nothing."""
    result = builder.publish(bundle, "1.0")
    assert result["changed"] and not result["kept_in_cache"]
    assert result["manifest"]["digest"] == newest(builder).digest
    (warning,) = builder.warnings
    assert warning.startswith(f"{CATALOG_ID} 1.0 is pushed, and was not kept in the cache {builder.cache.path}: ")
    assert sentence in warning
    assert os.listdir(bundle.parent) == ["Runner.pvm"]


def nothing_left(builder: Builder) -> None:
    for room in ("bundles", "partial", "trash"):
        assert os.listdir(os.path.join(builder.cache.path, room)) == []


def full(*_arguments: t.Any) -> t.NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_without_clones(builder: Builder, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volumes, "has_clones", lambda path: False)
    assert not builder.publish(bundle, "1.0", check_mode=True)["kept_in_cache"]
    warned(builder, bundle, "No clone")
    nothing_left(builder)


def test_a_cache_on_another_volume(builder: Builder, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volumes, "share_volume", lambda one, other: False)
    assert not builder.publish(bundle, "1.0", check_mode=True)["kept_in_cache"]
    warned(builder, bundle, "is on another volume")
    nothing_left(builder)


def test_a_volume_that_is_mounted_twice(builder: Builder, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def crossing(source: str, target: str, **options: t.Any) -> None:
        if os.path.dirname(source) == str(bundle.parent) and target.startswith(builder.cache.path):
            raise OSError(errno.EXDEV, "Cross-device link")
        rename(source, target, **options)

    monkeypatch.setattr(os, "rename", crossing)
    warned(builder, bundle, "Cross-device link")
    nothing_left(builder)


@pytest.mark.parametrize("what", ["listing", "record.json"])
def test_a_full_disk(what: str, builder: Builder, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = files.write_file_durably

    def written(path: str, data: bytes, mode: int) -> None:
        if os.path.basename(path) == what:
            full()
        write(path, data, mode)

    monkeypatch.setattr(files, "write_file_durably", written)
    monkeypatch.setattr(
        "ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries.write_file_durably", written
    )
    warned(builder, bundle, "No space left")
    nothing_left(builder)


@contextlib.contextmanager
def held_by_another(builder: Builder, digest: str, operation: str) -> t.Iterator[None]:
    """Another task holds the lock of an entry."""
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with builder.cache.lock(digest, operation, "a pull of another task", 0.0):
            taken.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(60)
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("operation", [locking.FILL, locking.READ])
def test_a_lock_that_another_task_holds(
    operation: str, builder: Builder, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keep, "_LOCK_SECONDS", 0.05)
    digest = builder.publish(bundle, "0.9", check_mode=True)["manifest"]["digest"]
    with held_by_another(builder, digest, operation):
        warned(builder, bundle, "a pull of another task" if operation == locking.FILL else "Wait until that has ended")
    nothing_left(builder)


def test_an_entry_that_others_read_meanwhile_is_used(
    builder: Builder, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keep, "_LOCK_SECONDS", 0.05)
    builder.publish(bundle, "1.0")
    with held_by_another(builder, newest(builder).digest, locking.READ):
        assert builder.publish(bundle, "1.1")["kept_in_cache"] and not builder.warnings


def clone_of(bundle: Path) -> Path:
    (found,) = bundle.parent.glob(".push-*")
    return found


SPOILT: dict[str, t.Callable[[Path], t.Any]] = {
    "a file is written": lambda clone: write_block(clone, 5),
    "a file is replaced": lambda clone: [
        (clone / "NVRAM.dat").unlink(),
        write_file(clone / "NVRAM.dat", b"nvram" * 20),
    ],
    "a file is gone": lambda clone: (clone / "NVRAM.dat").unlink(),
    "a directory is gone": lambda clone: (clone / "empty").rmdir(),
    "a link is a file": lambda clone: [(clone / "link").unlink(), write_file(clone / "link", b"a file")],
}


@pytest.mark.parametrize("spoilt", SPOILT)
def test_a_clone_that_somebody_has_changed(spoilt: str, builder: Builder, bundle: Path) -> None:
    (bundle / "empty").mkdir()
    (bundle / "link").symlink_to("config.pvs")
    builder.on_commit = lambda: SPOILT[spoilt](clone_of(bundle))
    warned(builder, bundle, "")
    nothing_left(builder)


def test_what_somebody_has_added_to_the_clone_is_not_kept(builder: Builder, bundle: Path) -> None:
    builder.on_commit = lambda: write_file(clone_of(bundle) / "new/stray", b"stray")
    assert builder.publish(bundle, "1.0")["kept_in_cache"] and not builder.warnings
    sound(builder)


def test_a_cache_that_is_damaged(builder: Builder, bundle: Path) -> None:
    room = Path(builder.cache.path, "partial")
    room.rmdir()
    room.write_bytes(b"no directory")
    warned(builder, bundle, str(room))


def test_a_cache_that_others_may_write_to(builder: Builder, bundle: Path) -> None:
    os.chmod(builder.cache.path, 0o777)
    warned(builder, bundle, builder.cache.path)


def test_a_record_of_a_later_version_stays(builder: Builder, bundle: Path) -> None:
    builder.publish(bundle, "0.9")
    record = Path(builder.entry(newest(builder)).record_path)
    record.write_bytes(record.read_bytes().replace(b'"format": 1', b'"format": 2'))
    later = record.read_bytes()
    warned(builder, bundle, "newer version")
    assert record.read_bytes() == later


def test_a_push_that_is_cancelled_meanwhile_leaves_nothing(
    builder: Builder, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancelled(*_arguments: t.Any) -> t.NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(sketch, "of", cancelled)
    with pytest.raises(KeyboardInterrupt):
        builder.publish(bundle, "1.0")
    nothing_left(builder)
    assert os.listdir(bundle.parent) == ["Runner.pvm"]
