# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import pathlib
import shutil
import sys
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import Stamp
from ansible_collections.macfleet.parallels.plugins.module_utils._base.trees import walk
from ansible_collections.macfleet.parallels.plugins.module_utils._host import clone, file_clone, trees
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CloneFailed
from ansible_collections.macfleet.parallels.tests.unit.support.macs import contents, fill

# linux/fs.h: what chattr(1) changes. The immutable flag is the nearest that Linux has to a locked file of macOS.
_GET_FLAGS = 0x80086601
_SET_FLAGS = 0x40086602
_IMMUTABLE = 0x10


def set_locked(path: str, locked: bool) -> None:
    with _flags_of(path) as (descriptor, flags):
        flags[0] = flags[0] | _IMMUTABLE if locked else flags[0] & ~_IMMUTABLE
        fcntl.ioctl(descriptor, _SET_FLAGS, flags)


def is_locked(path: str) -> bool:
    with _flags_of(path) as (_descriptor, flags):
        return bool(flags[0] & _IMMUTABLE)


@contextlib.contextmanager
def _flags_of(path: str) -> t.Iterator[t.Tuple[int, array.array[int]]]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        flags = array.array("L", [0])
        fcntl.ioctl(descriptor, _GET_FLAGS, flags, True)
        yield descriptor, flags
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(*paths: pathlib.Path) -> t.Iterator[None]:
    for path in paths:
        set_locked(str(path), True)
    try:
        yield
    finally:
        for path in paths:
            if path.exists():
                set_locked(str(path), False)


@pytest.fixture(name="unlocking")
def unlocking_fixture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks can be taken off, as on macOS."""

    def unlock(path: str, status: os.stat_result) -> None:
        if not os.path.islink(path):
            set_locked(path, False)

    monkeypatch.setattr(trees, "unlock", unlock)


class Fsyncs:
    """Paths of what was fsynced."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: list[str] = []
        fsync = os.fsync

        def noted(descriptor: int) -> None:
            self.paths.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", noted)


def everything(root: pathlib.Path) -> list[str]:
    """The files and directories from a root down that an fsync takes."""
    found = [os.path.join(root, item.disk_path) for item in walk(str(root)) if not item.is_link]
    return sorted([str(root), *found])


def test_sealing_fsyncs_everything_once_and_leaves_it_read_only(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "bundle"
    fill(root)
    before = contents(root)
    fsyncs = Fsyncs(monkeypatch)
    sealed = trees.seal(str(root))
    assert sorted(fsyncs.paths) == everything(root)
    assert contents(root) == before
    modes = {item.path: item.status.st_mode & 0o777 for item in sealed if not item.is_link}
    assert {path: mode for path, mode in modes.items() if mode not in {0o444, 0o755}} == {"script": 0o555}
    now = sorted(walk(str(root)), key=lambda item: item.path)
    assert [(item.path, Stamp.of(item.status)) for item in sealed] == [
        (item.path, Stamp.of(item.status)) for item in now
    ]


@pytest.mark.parametrize("mode", [0o755, 0o744, 0o654, 0o611, 0o644, 0o100, 0o400])
def test_what_its_owner_may_execute_everybody_may_execute_when_sealed(tmp_path: pathlib.Path, mode: int) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(mode | 0o400)
    (sealed,) = trees.seal(str(tmp_path))
    assert sealed.status.st_mode & 0o777 == (tmp_path / "file").stat().st_mode & 0o777
    assert sealed.status.st_mode & 0o777 == (0o555 if mode & 0o100 else 0o444)


def test_what_cannot_be_fsynced_is_not_sealed(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "bundle"
    fill(root)

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="the disk is broken"):
        trees.seal(str(root))


def test_a_bundle_is_cloned_with_one_fsync_for_each_file(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "entry")
    fsyncs = Fsyncs(monkeypatch)
    destination = tmp_path / "VM.pvm"
    clone.clone_tree(str(tmp_path / "entry"), str(destination))
    temporary = clone.temporary_path(str(destination))
    expected = [path.replace(str(destination), temporary, 1) for path in everything(destination)]
    assert sorted(fsyncs.paths) == sorted([*expected, str(tmp_path)])


def test_removing(tmp_path: pathlib.Path) -> None:
    fill(tmp_path / "tree")
    (tmp_path / "tree/closed/inner").mkdir(parents=True)
    (tmp_path / "tree/closed").chmod(0)
    (tmp_path / "file").touch()
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to("target")
    for name in ("tree", "file", "link", "missing"):
        assert trees.remove(str(tmp_path / name)) == ()
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_tree_deeper_than_pythons_stack_is_removed(tmp_path: pathlib.Path) -> None:
    place = tmp_path / "tree"
    for _level in range(1100):
        place.mkdir()
        (place / "file").touch()
        place = place / "d"
    assert trees.remove(str(tmp_path / "tree")) == ()
    assert os.listdir(tmp_path) == []


def test_what_a_link_leads_to_is_not_removed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").touch()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/link").symlink_to(tmp_path / "other")
    assert trees.remove(str(tmp_path / "tree")) == ()
    assert [path.name for path in tmp_path.rglob("*")] == ["other", "file"]


def test_what_cannot_be_removed_is_reported(small_volume: pathlib.Path) -> None:
    fill(small_volume / "tree")
    kept, other = small_volume / "tree/disk.hdd/image.hds", small_volume / "tree/script"
    kept.parent.mkdir(exist_ok=True)
    kept.touch()
    reason = os.strerror(errno.EPERM)
    with locked(kept, other):
        left = trees.remove(str(small_volume / "tree"))
        assert sorted(left, key=lambda item: item.path) == [
            trees.Unremoved(str(kept), reason),
            trees.Unremoved(str(other), reason),
        ]
        assert {item.disk_path for item in walk(str(small_volume / "tree")) if not item.is_directory} == {
            "disk.hdd/image.hds",
            "script",
        }
        with pytest.raises(CloneFailed, match=f"{reason} .* and 1 more") as caught:
            clone.remove_tree(str(small_volume / "tree"))
        assert {item["path"] for item in caught.value.details["left"]} == {str(kept), str(other)}
        assert trees.remove(str(other)) == (trees.Unremoved(str(other), reason),)


@pytest.mark.usefixtures("unlocking")
def test_locked_files_and_directories_are_removed(small_volume: pathlib.Path) -> None:
    root = small_volume / "tree"
    fill(root)
    with locked(root / "script", root / "disk.hdd"):
        assert trees.remove(str(root)) == ()
    assert not root.exists()


@pytest.mark.usefixtures("unlocking")
def test_locked_files_are_sealed_and_made_writable(small_volume: pathlib.Path) -> None:
    root = small_volume / "tree"
    fill(root)
    with locked(root / "script", root / "disk.hdd"):
        trees.seal(str(root))
    with locked(root / "script"):
        trees.make_writable(str(root))
    assert (root / "script").stat().st_mode & 0o200


@pytest.fixture(name="clonefile")
def clonefile_fixture(monkeypatch: pytest.MonkeyPatch, unlocking: None) -> None:
    """Clones as macOS makes them: with the permissions and locks of their original."""

    def clonefile(source: str, destination: str) -> None:
        shutil.copy2(source, destination)
        set_locked(destination, is_locked(source))

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(file_clone, "_clonefile", clonefile)


@pytest.mark.usefixtures("clonefile")
def test_the_clone_of_a_locked_file_is_not_locked(small_volume: pathlib.Path) -> None:
    root, copy = small_volume / "tree", small_volume / "VM.pvm"
    fill(root)
    (root / "script").chmod(0o555)
    with locked(root / "script"):
        result = clone.clone_tree(str(root), str(copy))
        assert is_locked(str(root / "script"))
    assert result.method == file_clone.CLONEFILE
    assert contents(copy) == contents(root)
    assert (copy / "script").stat().st_mode & 0o777 == 0o700
    assert not is_locked(str(copy / "script"))


@pytest.mark.usefixtures("clonefile")
def test_a_clone_that_cannot_be_finished_leaves_nothing(
    small_volume: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(small_volume / "tree")

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CloneFailed, match="the disk is broken"):
        clone.clone_tree(str(small_volume / "tree"), str(small_volume / "VM.pvm"))
    assert [path.name for path in small_volume.iterdir()] == ["tree"]


@pytest.mark.parametrize("kind", ["directory", "link", "pipe", "large"])
def test_only_regular_files_of_a_sensible_size_are_read(tmp_path: pathlib.Path, kind: str) -> None:
    path = tmp_path / "file"
    if kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("/etc/hostname")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(b"12345")
    with pytest.raises((ValueError, OSError)):
        trees.read_regular_file(str(path), 4)
