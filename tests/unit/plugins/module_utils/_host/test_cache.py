# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pathlib
import shutil
import subprocess
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import Stamp
from ansible_collections.macfleet.parallels.plugins.module_utils._host import clone, file_clone
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache import entries, locking
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache, difference
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.layout import Survey
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.records import (
    CachedAddress,
    Origin,
    decode_record,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.stamps import TreeStamps, read_stamps
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CacheError,
    CacheLocked,
    DiskFull,
    UnknownRecord,
)
from ansible_collections.macfleet.parallels.tests.unit.support.macs import ADDRESS, DIGEST, contents, fill, make_record

OTHER = "cd" * 32
LATER = "2026-11-24T08:00:00Z"


def publish(cache: Cache, digest: str = DIGEST, **changes: t.Any) -> pathlib.Path:
    partial = cache.partial(digest)
    fill(pathlib.Path(partial.bundle_path))
    pathlib.Path(partial.listing_path).write_bytes(b"listing")
    cache.publish(digest, make_record(digest, **changes))
    return pathlib.Path(cache.path, "bundles", digest)


def test_opening_without_creating_makes_nothing(tmp_path: pathlib.Path) -> None:
    cache = Cache.open(str(tmp_path / "a/b/cache"), create=False)
    assert not cache.exists
    assert cache.entries() == cache.partials() == []
    assert cache.survey() == Survey((), (), {})
    assert cache.find(DIGEST) is None
    assert cache.find_partial(DIGEST) is None
    assert list(tmp_path.iterdir()) == []


def test_new_cache_is_private_under_any_umask(tmp_path: pathlib.Path) -> None:
    before = os.umask(0)
    try:
        cache = Cache.open(str(tmp_path / "a/cache"), create=True)
    finally:
        os.umask(before)
    assert cache.exists
    for directory in [tmp_path / "a", tmp_path / "a/cache", *(tmp_path / "a/cache").iterdir()]:
        assert directory.stat().st_mode & 0o777 == 0o700, directory


def test_published_entry_is_found_read_only_and_trusted(cache: Cache) -> None:
    path = publish(cache)
    entry = cache.find(DIGEST)
    assert entry is not None
    assert [found.digest for found in cache.entries()] == [DIGEST]
    assert set(entry.record.stamps.files) == {"config.pvs", "disk.hdd/disk.hds", "empty", "script"}
    assert not difference(entry)
    assert entry.record.allocated_bytes < 1 << 20
    modes = {name: (path / "bundle" / name).stat().st_mode & 0o777 for name in ("config.pvs", "script", "disk.hdd")}
    assert modes == {"config.pvs": 0o444, "script": 0o555, "disk.hdd": 0o755}
    assert cache.find_partial(DIGEST) is None
    assert os.listdir(os.path.join(cache.path, "partial")) == []


@pytest.mark.parametrize("change", ["write", "replace", "chmod", "remove"])
def test_file_that_was_touched_is_not_trusted(cache: Cache, change: str) -> None:
    path = publish(cache) / "bundle/config.pvs"
    status = path.stat()
    if change == "write":
        path.chmod(0o644)
        path.write_bytes(b"x" * status.st_size)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "replace":
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    elif change == "chmod":
        path.chmod(0o600)
    else:
        path.unlink()
    entry = cache.find(DIGEST)
    assert entry is not None
    assert difference(entry).changed == {"config.pvs"}


def test_entry_stays_trusted_when_vms_are_cloned_from_it(reflink_volume: pathlib.Path) -> None:
    cache = Cache.open(str(reflink_volume / "trusted-cache"), create=True)
    publish(cache)
    entry = cache.find(DIGEST)
    assert entry is not None
    result = clone.clone_tree(entry.bundle_path, str(reflink_volume / "trusted.pvm"))
    assert result.method == file_clone.REFLINK
    assert not difference(entry)


def test_verification_stamps_what_was_hashed(cache: Cache) -> None:
    path = publish(cache) / "bundle/config.pvs"
    path.chmod(0o400)
    entry = cache.find(DIGEST)
    assert entry is not None
    seen = read_stamps(entry.bundle_path, entry.record.stamps.directories)
    (path.parent / "script").chmod(0o500)  # somebody interferes while the hashing goes on
    verified = cache.set_verified(DIGEST, LATER, seen)
    assert verified.record.verified_at == LATER
    assert difference(verified).changed == {"script"}
    assert cache.find(DIGEST) == verified


def test_use_is_counted_and_orders_the_entries(cache: Cache) -> None:
    publish(cache)
    publish(cache, OTHER)
    second = dataclasses.replace(ADDRESS, version="1.5.0")
    entry = cache.touch(DIGEST, LATER, second)
    assert (entry.record.last_used_at, entry.record.use_count) == (LATER, 1)
    assert entry.record.first_used_at != LATER
    assert entry.record.addresses == (ADDRESS, second)
    assert cache.touch(DIGEST, LATER, second).record.addresses == (ADDRESS, second)
    assert [found.digest for found in cache.entries()] == [DIGEST, OTHER]


def test_manifest_state_is_remembered_for_its_address(cache: Cache) -> None:
    publish(cache, addresses=(ADDRESS, dataclasses.replace(ADDRESS, catalog_url="https://other.example.com")))
    entry = cache.mark_manifest_state(DIGEST, dataclasses.replace(ADDRESS, state="tainted"))
    assert {address.catalog_url: address.state for address in entry.record.addresses} == {
        "https://catalog.example.com": "tainted",
        "https://other.example.com": "active",
    }


def test_changing_a_missing_entry_is_an_error(cache: Cache) -> None:
    with pytest.raises(CacheError, match="no such entry"):
        cache.touch(DIGEST, LATER)


def test_partial_is_kept_and_made_writable(cache: Cache) -> None:
    bundle = pathlib.Path(cache.partial(DIGEST).bundle_path)
    (bundle / "sub").mkdir()
    (bundle / "sub/file").write_bytes(b"half")
    (bundle / "sub/file").chmod(0o444)
    (bundle / "link").symlink_to("missing")
    assert cache.find(DIGEST) is None
    again = cache.partial(DIGEST)
    assert cache.find_partial(DIGEST) == again
    assert (bundle / "sub/file").read_bytes() == b"half"
    assert (bundle / "sub/file").stat().st_mode & 0o200


def test_partials_are_listed_with_size_and_age(cache: Cache) -> None:
    for number, digest in enumerate([OTHER, DIGEST]):
        partial = cache.partial(digest)
        pathlib.Path(partial.bundle_path, "file").write_bytes(os.urandom(65536))
        os.sync()
        for path in [partial.path, partial.bundle_path, os.path.join(partial.bundle_path, "file")]:
            os.utime(path, (0, 1000 + number))
    states = cache.partials()
    assert [(state.partial.digest, state.modified_at) for state in states] == [(OTHER, 1000), (DIGEST, 1001)]
    assert states[0].allocated_bytes >= 65536
    cache.remove(OTHER)
    assert [state.partial.digest for state in cache.partials()] == [DIGEST]


def test_removed_entry_is_gone_with_its_bytes(cache: Cache) -> None:
    publish(cache)
    assert cache.remove(DIGEST)
    assert not cache.remove(DIGEST)
    assert cache.entries() == []
    assert cache.trash_bytes() > 0
    assert cache.empty_trash() == []
    assert cache.trash_bytes() == 0
    assert os.listdir(os.path.join(cache.path, "trash")) == []


def test_trash_of_an_interrupted_removal_is_counted_and_emptied(cache: Cache) -> None:
    path = publish(cache)
    path.rename(pathlib.Path(cache.path, "trash/left-over"))
    assert cache.entries() == []
    assert cache.trash_bytes() > 0
    cache.empty_trash()
    assert os.listdir(os.path.join(cache.path, "trash")) == []


@pytest.mark.parametrize(
    "record",
    [b"", b"{}", b"\xff", b"[" * 100_000, b'{"format": 0}', b'{"format": "2"}', None],
    ids=lambda value: repr(value)[:10],
)
def test_entry_without_a_readable_record_is_material_for_the_next_pull(cache: Cache, record: t.Optional[bytes]) -> None:
    path = publish(cache)
    before = contents(path / "bundle")
    (path / "record.json").unlink()
    if record is not None:
        (path / "record.json").write_bytes(record)
    assert cache.find(DIGEST) is None
    assert cache.entries() == []
    assert cache.survey().damaged == (DIGEST,)
    found = cache.find_partial(DIGEST)
    assert found is not None
    assert found.path == str(path)
    partial = cache.partial(DIGEST)
    assert contents(pathlib.Path(partial.bundle_path)) == before
    cache.publish(DIGEST, make_record())
    assert cache.survey().damaged == ()
    assert cache.find(DIGEST) is not None


def unreadable(cache: Cache) -> str:
    """Why the entry cannot be read; nothing takes it for damaged, or for material."""
    for call in (cache.find, cache.find_partial, cache.partial):
        with pytest.raises(CacheError) as caught:
            call(DIGEST)
    assert cache.entries() == []
    assert cache.survey().damaged == ()
    assert cache.survey().unreadable == {DIGEST: str(caught.value)}
    return str(caught.value)


def test_entry_of_a_later_version_is_left_alone(cache: Cache) -> None:
    path = publish(cache)
    (path / "record.json").write_bytes(b'{"format": 2, "something": "new"}')
    assert "format 2" in unreadable(cache)
    with pytest.raises(UnknownRecord, match="newer version of the collection"):
        cache.find(DIGEST)
    assert os.listdir(os.path.join(cache.path, "partial")) == []
    cache.remove(DIGEST)
    assert cache.survey() == Survey((), (), {})


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.EACCES])
def test_entry_whose_record_cannot_be_read_now_is_left_alone(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    record = publish(cache) / "record.json"
    original = os.open

    def fail(path: t.Any, *arguments: t.Any, **options: t.Any) -> int:
        if str(path) == str(record):
            raise OSError(number, os.strerror(number), str(path))
        return original(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        assert os.strerror(number) in unreadable(cache)
    assert cache.find(DIGEST) is not None


def test_addresses_are_forgotten(cache: Cache) -> None:
    other = dataclasses.replace(ADDRESS, version="1.5.0")
    publish(cache, addresses=(ADDRESS, other))
    entry = cache.forget(DIGEST, lambda address: address.version == "1.5.0")
    assert entry.record.addresses == (ADDRESS,)
    assert cache.find(DIGEST) == entry


def test_record_of_another_entry_does_not_count(cache: Cache) -> None:
    path = publish(cache)
    path.rename(path.parent / OTHER)
    assert cache.find(OTHER) is None
    assert cache.survey().damaged == (OTHER,)


def test_demoted_entry_can_be_repaired_and_published_again(cache: Cache) -> None:
    publish(cache)
    cache.demote(DIGEST)
    partial = cache.partial(DIGEST)
    assert cache.find(DIGEST) is None
    pathlib.Path(partial.bundle_path, "config.pvs").write_text("<Repaired/>")
    entry = cache.publish(DIGEST, make_record())
    assert not difference(entry)


@pytest.mark.parametrize("step", ["write_file_durably", "rename_durably"])
def test_a_partial_image_is_known_by_its_name_when_it_could_not_be_published(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    cache.partial(DIGEST, Origin(ADDRESS, "2026-11-24T08:00:00Z"))

    def refuse(*_arguments: t.Any) -> t.NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(entries, step, refuse)
    with pytest.raises(DiskFull):
        cache.publish(DIGEST, make_record())
    monkeypatch.undo()
    (state,) = cache.partials()
    assert state.origin is not None and state.origin.address == ADDRESS


def test_publishing_replaces_a_damaged_entry(cache: Cache) -> None:
    (publish(cache) / "record.json").unlink()
    os.makedirs(os.path.join(cache.path, "partial", DIGEST, "bundle"))
    entry = cache.publish(DIGEST, make_record())
    assert entry.record.stamps == TreeStamps()
    cache.empty_trash()
    assert os.listdir(os.path.join(cache.path, "trash")) == []


def test_publishing_needs_the_record_of_that_digest(cache: Cache) -> None:
    cache.partial(DIGEST)
    with pytest.raises(CacheError, match="record is that of"):
        cache.publish(DIGEST, make_record(OTHER))


def test_publishing_without_a_partial_is_one_clear_error(cache: Cache) -> None:
    with pytest.raises(CacheError, match="Publishing .* failed"):
        cache.publish(DIGEST, make_record())


@pytest.mark.parametrize("digest", ["", "..", "AB" * 32, "ab" * 31, DIGEST + "\n", f"../{DIGEST}"])
def test_what_is_no_digest_names_no_directory(cache: Cache, digest: str) -> None:
    for call in (
        cache.partial,
        cache.remove,
        cache.find,
        cache.demote,
        lambda digest: cache.lock(digest, locking.USE, "one", 0),
    ):
        with pytest.raises(CacheError, match="is not a digest"):
            call(digest)


def test_strange_names_among_the_entries_are_passed_over(cache: Cache) -> None:
    bundles = pathlib.Path(cache.path, "bundles")
    (bundles / ".DS_Store").touch()
    (bundles / OTHER).symlink_to(cache.path)
    assert cache.entries() == []
    assert cache.survey().damaged == ()


@pytest.mark.parametrize("first", sorted(locking.LOCK_MODES))
@pytest.mark.parametrize("second", sorted(locking.LOCK_MODES))
def test_operations_on_one_entry_exclude_one_another_as_the_table_says(cache: Cache, first: str, second: str) -> None:
    with cache.lock(DIGEST, first, "one", 0):
        with cache.lock(OTHER, second, "another", 0):
            pass
        if locking.may_overlap(first, second):
            with cache.lock(DIGEST, second, "another", 0):
                return
        with pytest.raises(CacheLocked, match="held by one"), cache.lock(DIGEST, second, "another", 0):
            pass


def test_only_what_changes_files_is_exclusive() -> None:
    exclusive = {operation for operation, mode in locking.LOCK_MODES.items() if mode == locking.EXCLUSIVE}
    assert exclusive == {locking.FILL, locking.TIDY, locking.REMOVE}


def test_full_disk_is_said_so(small_volume: pathlib.Path) -> None:
    cache = Cache.open(str(small_volume / "full-cache"), create=True)
    partial = cache.partial(DIGEST)
    with open(small_volume / "filler", "wb", buffering=0) as stream, pytest.raises(OSError, match="No space"):
        while True:
            stream.write(b"\1" * 4096)
    with pytest.raises(DiskFull, match="Publishing"):
        cache.publish(DIGEST, make_record(bundle_name="x" * (1 << 20)))
    assert cache.find(DIGEST) is None
    assert cache.find_partial(DIGEST) == partial


def test_record_survives_its_json() -> None:
    stamps = TreeStamps({"a/b": Stamp(1, 2, 3, 4)}, {"link": "a"}, frozenset({"a"}))
    record = make_record(verified_at=LATER, use_count=3, allocated_bytes=5, stamps=stamps, sketch="AAAA")
    assert decode_record(record.encode()) == record


def test_record_keeps_what_a_later_version_added(cache: Cache) -> None:
    path = publish(cache) / "record.json"
    later = {**json.loads(path.read_bytes()), "pins": ["night"], "parent": {"digest": OTHER}}
    path.write_text(json.dumps(later))
    cache.touch(DIGEST, LATER)
    now = json.loads(path.read_bytes())
    assert {name: now[name] for name in ("pins", "parent")} == {"pins": ["night"], "parent": {"digest": OTHER}}
    assert now["use_count"] == 1


def test_record_without_what_was_added_later_is_read(cache: Cache) -> None:
    path = publish(cache) / "record.json"
    kept = ("format", "digest", "bundle_name", "type", "addresses", "logical_bytes", "stored_bytes")
    record = json.loads(path.read_bytes())
    path.write_text(json.dumps({name: record[name] for name in (*kept, "first_used_at", "last_used_at")}))
    entry = cache.find(DIGEST)
    assert entry is not None
    # Nothing was stamped, so nothing is trusted.
    assert difference(entry).strays


@pytest.mark.parametrize("change", ["link", "directory", "missing link", "link in place of a directory"])
def test_links_and_directories_that_changed_are_noticed(cache: Cache, change: str) -> None:
    partial = cache.partial(DIGEST)
    bundle = pathlib.Path(partial.bundle_path)
    fill(bundle)
    (bundle / "Snapshots").mkdir()
    (bundle / "current").symlink_to("config.pvs")
    entry = cache.publish(DIGEST, make_record())
    bundle = pathlib.Path(entry.bundle_path)
    assert not difference(entry)
    changed = "Snapshots" if "directory" in change else "current"
    if changed == "current":
        (bundle / "current").unlink()
    else:
        (bundle / "Snapshots").rmdir()
    if change == "link":
        (bundle / "current").symlink_to("script")
    elif change == "link in place of a directory":
        (bundle / "Snapshots").symlink_to("/")
    assert difference(entry).changed == {changed}


def test_what_was_added_is_a_stray_once_and_files_of_finder_are_none(cache: Cache) -> None:
    path = publish(cache) / "bundle"
    (path / "added/below").mkdir(parents=True)
    (path / "added/below/file").touch()
    (path / ".DS_Store").touch()
    (path / "disk.hdd/._x").touch()
    entry = cache.find(DIGEST)
    assert entry is not None
    assert difference(entry).changed == frozenset()
    assert difference(entry).strays == ("added",)


def test_a_partial_image_knows_whose_it_is(cache: Cache) -> None:
    origin = Origin(ADDRESS, LATER)
    cache.partial(DIGEST, origin)
    # Whoever resumes it does not change where it came from.
    cache.partial(DIGEST, Origin(CachedAddress("https://x", "other", "1", "arm64"), LATER))
    assert [state.origin for state in cache.partials()] == [origin]
    fill(pathlib.Path(cache.partial(DIGEST).bundle_path))
    entry = cache.publish(DIGEST, make_record())
    assert not os.path.exists(entry.origin_path)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"format": 9}'])
def test_a_partial_image_whose_origin_cannot_be_read_is_nobodys(cache: Cache, data: bytes) -> None:
    pathlib.Path(cache.partial(DIGEST).origin_path).write_bytes(data)
    assert [state.origin for state in cache.partials()] == [None]


def test_what_cannot_be_deleted_is_told_and_stays_counted(cache: Cache) -> None:
    if os.geteuid() != 0 or shutil.which("chattr") is None:
        pytest.skip("needs root and chattr, to make a file that cannot be removed")
    path = publish(cache) / "bundle/config.pvs"
    subprocess.run(["chattr", "+i", path], check=True)
    cache.remove(DIGEST)
    try:
        (sentence,) = cache.empty_trash()
        assert "config.pvs was removed from the cache, but cannot be deleted: Operation not permitted" in sentence
        assert cache.trash_bytes() > 0
    finally:
        (left,) = pathlib.Path(cache.path, "trash").rglob("config.pvs")
        subprocess.run(["chattr", "-i", left], check=True)
    assert cache.empty_trash() == []
    assert cache.trash_bytes() == 0
