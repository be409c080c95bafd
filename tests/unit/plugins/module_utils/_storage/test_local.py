# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import signal
import tempfile
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base import files
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.base import ByteRange, ObjectInfo, Storage
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import (
    InvalidKey,
    StorageChanged,
    StorageError,
    StorageFull,
    StorageMissing,
    StorageUnavailable,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.local import LocalStorage
from hypothesis import given
from hypothesis import strategies as st


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def files_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


@pytest.fixture(name="storage")
def storage_fixture(tmp_path: Path) -> LocalStorage:
    return LocalStorage(str(tmp_path))


def test_puts_and_gets(storage: LocalStorage, tmp_path: Path) -> None:
    kept: Storage = storage
    kept.put("packs/1/abc", b"0123456789", sha256(b"0123456789"))
    assert (tmp_path / "packs/1/abc").read_bytes() == b"0123456789"
    assert kept.get("packs/1/abc") == b"0123456789"
    assert kept.get("packs/1/abc", ByteRange(3, 4)) == b"3456"
    assert kept.head("packs/1/abc") == ObjectInfo("packs/1/abc", 10)
    kept.put("packs/1/abc", b"other", sha256(b"other"))
    assert kept.get("packs/1/abc") == b"other"
    kept.put("empty", b"", sha256(b""))
    assert kept.get("empty") == b""
    assert files_below(tmp_path) == ["empty", "packs/1/abc"]


def test_makes_its_directory(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path / "new/root"))
    assert list(storage.list("")) == []
    with pytest.raises(StorageMissing):
        storage.get("a")
    storage.put("a/b", b"1", sha256(b"1"))
    assert files_below(tmp_path) == ["new/root/a/b"]


def test_what_is_not_there(storage: LocalStorage, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("/etc/hostname")
    (tmp_path / "file").write_bytes(b"1")
    os.mkfifo(tmp_path / "pipe")
    for key in ("a", "a/b", "folder", "link", "file/below", "pipe"):
        with pytest.raises(StorageMissing):
            storage.get(key)
        with pytest.raises(StorageMissing):
            storage.head(key)


@pytest.mark.parametrize("key", ["../out", "/out", "a/../../out", ".incoming-1", ""])
def test_refuses_keys_that_lead_elsewhere(storage: LocalStorage, tmp_path: Path, key: str) -> None:
    for attempt in (
        lambda: storage.put(key, b"", sha256(b"")),
        lambda: storage.get(key),
        lambda: storage.head(key),
        lambda: storage.delete_many([key]),
        lambda: storage.discard_incoming(key),
    ):
        with pytest.raises(InvalidKey):
            attempt()
    assert files_below(tmp_path) == []


def test_a_range_behind_the_end(storage: LocalStorage) -> None:
    storage.put("a", b"0123", sha256(b"0123"))
    with pytest.raises(StorageChanged, match="ends at 4"):
        storage.get("a", ByteRange(2, 3))


def test_other_bytes_than_announced_leave_nothing(storage: LocalStorage, tmp_path: Path) -> None:
    with pytest.raises(StorageChanged, match="SHA-256"):
        storage.put("a/b", b"0123", sha256(b"0124"))
    with pytest.raises(StorageChanged, match="more than"), storage.receive("a/b", sha256(b"01"), 2) as incoming:
        incoming.write(b"0")
        incoming.write(b"12")
    with pytest.raises(StorageChanged, match="1 of the announced 2"), storage.receive("a", "", 2) as incoming:
        incoming.write(b"0")
        incoming.finish()
    with storage.receive("a/b", sha256(b"01"), 2) as incoming:
        incoming.write(b"01")
    assert files_below(tmp_path) == []


def test_an_object_appears_whole(storage: LocalStorage, tmp_path: Path) -> None:
    with storage.receive("a", sha256(b"0123"), 4) as incoming:
        incoming.write(b"01")
        incoming.write(memoryview(b"23"))
        assert list(storage.list("")) == []
        with pytest.raises(StorageMissing):
            storage.get("a")
        incoming.finish()
    assert files_below(tmp_path) == ["a"]


def test_an_open_object_outlives_its_name(storage: LocalStorage) -> None:
    storage.put("a", b"0123", sha256(b"0123"))
    with storage.open("a") as opened:
        storage.delete_many(["a"])
        assert (opened.size, opened.read(1, 2)) == (4, b"12")
    opened.close()


def test_lists_in_order_of_the_keys(storage: LocalStorage, tmp_path: Path) -> None:
    keys = ["a", "a-b", "a.b", "a/b".replace("a/", "c/"), "c-d", "c/a/1", "c0", "z"]
    for key in keys:
        storage.put(key, key.encode(), sha256(key.encode()))
    (tmp_path / ".incoming-1").write_bytes(b"x")
    (tmp_path / "link").symlink_to("a")
    assert [info.key for info in storage.list("")] == sorted(keys)
    assert list(storage.list("c")) == [ObjectInfo("c/a/1", 5), ObjectInfo("c/b", 3)]
    assert list(storage.list("c/")) == list(storage.list("c"))
    assert [info.key for info in storage.list("", limit=2)] == ["a", "a-b"]
    assert list(storage.list("", limit=0)) == []
    assert list(storage.list("nothing")) == []
    assert list(storage.list("a")) == []


def test_deletes(storage: LocalStorage, tmp_path: Path) -> None:
    for key in ("p/1", "p/2", "q/1"):
        storage.put(key, b"", sha256(b""))
    storage.delete_many(["p/1", "q/1", "q/2", "r/1", "p/1/2"])
    assert files_below(tmp_path) == ["p/2"]
    assert not (tmp_path / "q").exists()
    storage.delete_many([])
    storage.put("q/1", b"", sha256(b""))


def test_discards_what_dead_receivers_left(storage: LocalStorage, tmp_path: Path) -> None:
    storage.put("p/1", b"1", sha256(b"1"))
    late = storage.receive("p/2", sha256(b"2"), 1)
    late.write(b"2")
    storage.discard_incoming("p")
    storage.discard_incoming("nothing")
    assert files_below(tmp_path) == ["p/1"]
    with pytest.raises(StorageMissing), late:
        late.finish()
    storage.delete_many(["p/1"])
    assert files_below(tmp_path) == []


def killed_while_receiving(root: Path, key: str) -> None:
    """Leave what a receiver leaves that is killed."""
    pid = os.fork()
    if pid == 0:
        receiver = LocalStorage(str(root)).receive(key, sha256(b"2"), 1)
        receiver.write(b"2")
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL


def test_discards_what_nobody_receives_any_more(storage: LocalStorage, tmp_path: Path) -> None:
    storage.put("p/1/x", b"1", sha256(b"1"))
    for key in ("mark", "p/1/y", "p/2/y"):
        killed_while_receiving(tmp_path, key)
    with storage.receive("p/2/y", sha256(b"2"), 1) as received:
        received.write(b"2")
        assert storage.discard_abandoned("p/3", 0) == 0
        assert storage.discard_abandoned("", 0, deep=False) == 1
        assert storage.discard_abandoned("", 0) == 2
        received.finish()
    assert files_below(tmp_path) == ["p/1/x", "p/2/y"]


def test_without_locks_what_got_no_bytes_since_is_discarded(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    old, new = (storage.receive(f"p/{number}/y", sha256(b"2"), 1) for number in (1, 2))
    (stale,) = (tmp_path / "p/1").glob(".incoming-*")
    os.utime(stale, (1000, 1000))
    assert storage.discard_abandoned("p", 1001) == 1
    assert not stale.exists()
    with new:
        new.write(b"2")
        new.finish()
    old.close()
    assert files_below(tmp_path) == ["p/2/y"]


def test_receives_into_a_folder_that_others_remove_when_it_is_empty(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = tempfile.mkstemp

    def remove_and_make(**options: t.Any) -> tuple[int, str]:
        monkeypatch.setattr(tempfile, "mkstemp", make)
        os.rmdir(options["dir"])
        return make(**options)

    monkeypatch.setattr(tempfile, "mkstemp", remove_and_make)
    storage.put("p/1", b"1", sha256(b"1"))
    assert files_below(tmp_path) == ["p/1"]


def test_nothing_is_stored_without_the_anchor(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path / "volume"), anchor="images/mark")
    with pytest.raises(StorageUnavailable, match="images/mark is not there"):
        storage.put("images/1", b"1", sha256(b"1"))
    assert not (tmp_path / "volume").exists()
    storage.put("images/mark", b"", sha256(b""))
    storage.put("images/1", b"1", sha256(b"1"))
    assert files_below(tmp_path) == ["volume/images/1", "volume/images/mark"]


def test_nothing_has_its_name_before_it_is_on_disk(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, files.rename_durably

    def noting_fsync(descriptor: int) -> None:
        steps.append("fsync")
        fsync(descriptor)

    def noting_rename(source: str, target: str) -> None:
        steps.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(files, "rename_durably", noting_rename)
    storage.put("p/1", b"1", sha256(b"1"))
    steps.clear()
    storage.put("p/1", b"1", sha256(b"1"))
    assert steps == ["fsync", "rename", "fsync"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [(28, StorageFull), (122, StorageFull), (5, StorageUnavailable), (30, StorageError), (21, StorageError)],
)
def test_a_failing_disk_is_an_error_of_ours(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: int, kind: type[StorageError]
) -> None:
    def fail(_descriptor: int, _data: t.Any) -> int:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", fail)
        with pytest.raises(kind, match="store the object a"):
            storage.put("a", b"1", sha256(b"1"))
    assert files_below(tmp_path) == []


def test_a_folder_in_the_way(storage: LocalStorage, tmp_path: Path) -> None:
    storage.put("a/b", b"1", sha256(b"1"))
    with pytest.raises(StorageError):
        storage.put("a", b"1", sha256(b"1"))
    with pytest.raises(StorageError):
        storage.put("a/b/c", b"1", sha256(b"1"))
    assert files_below(tmp_path) == ["a/b"]


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000), max_size=5), st.data())
def test_any_blocks_make_the_object(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, cuts: list[int], draw: st.DataObject
) -> None:
    storage = LocalStorage(str(tmp_path_factory.getbasetemp()))
    borders = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    with storage.receive("any", sha256(data), len(data)) as incoming:
        for start, end in zip(borders, borders[1:]):
            incoming.write(data[start:end])
        incoming.finish()
    assert storage.get("any") == data
    if data:
        offset = draw.draw(st.integers(0, len(data) - 1))
        length = draw.draw(st.integers(1, len(data) - offset))
        assert storage.get("any", ByteRange(offset, length)) == data[offset : offset + length]
