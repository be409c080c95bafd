# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import fcntl
import os
import pathlib
import struct

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._host import clone, file_clone
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CloneFailed, DiskFull, PathTaken
from ansible_collections.macfleet.parallels.tests.unit.support.macs import contents, fill

_FIEMAP = 0xC020660B
_SHARED = 0x2000


def _shared_extents(path: pathlib.Path) -> bool:
    """Whether every extent of a file is shared with another one, by the FIEMAP ioctl."""
    head = struct.Struct("=QQLLLL")
    extent = struct.Struct("=QQQQQLLLL")
    buffer = bytearray(head.pack(0, (1 << 64) - 1, 1, 0, 64, 0) + bytes(extent.size * 64))
    with open(path, "rb") as stream:
        fcntl.ioctl(stream.fileno(), _FIEMAP, buffer, True)
    mapped = head.unpack_from(buffer)[3]
    flags = [extent.unpack_from(buffer, head.size + number * extent.size)[5] for number in range(mapped)]
    return bool(flags) and all(flag & _SHARED for flag in flags)


def test_file_is_the_same_with_the_wanted_mode(tmp_path: pathlib.Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"hello")
    source.chmod(0o444)
    method = file_clone.clone_file(str(source), str(tmp_path / "copy"), 0o600)
    assert (tmp_path / "copy").read_bytes() == b"hello"
    assert (tmp_path / "copy").stat().st_mode & 0o7777 == 0o600
    assert method in {file_clone.CLONEFILE, file_clone.REFLINK, file_clone.COPY}


def test_destination_is_never_overwritten(tmp_path: pathlib.Path) -> None:
    (tmp_path / "source").write_bytes(b"new")
    (tmp_path / "copy").write_bytes(b"old")
    with pytest.raises(CloneFailed, match=os.strerror(errno.EEXIST)):
        file_clone.clone_file(str(tmp_path / "source"), str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == b"old"


def test_link_is_not_followed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "source").symlink_to("secret")
    with pytest.raises(CloneFailed):
        file_clone.clone_file(str(tmp_path / "source"), str(tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (2 << 20) + 17, 5 << 20])
def test_sparse_copy_keeps_bytes_and_holes(small_volume: pathlib.Path, tmp_path: pathlib.Path, size: int) -> None:
    source = tmp_path / "source"
    with open(source, "wb") as stream:
        stream.truncate(size)
        if size > 1 << 20:
            stream.seek(1 << 20)
            stream.write(b"data"[: size - (1 << 20)])
    copy = small_volume / f"copy-{size}"
    assert file_clone.clone_file(str(source), str(copy)) == file_clone.COPY
    assert copy.read_bytes() == source.read_bytes()
    assert copy.stat().st_blocks * 512 <= 64 << 10


def test_sparse_copy_keeps_holes_of_the_smallest_chunk(tmp_path: pathlib.Path) -> None:
    piece, data = bytes(64 << 10), os.urandom(64 << 10)
    content = b"".join((piece, data, data, piece, piece, data, *[data] * 10, data[:-1], b"x", piece, data, piece[:-7]))
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(content)
    assert file_clone._copy_sparse(str(source), str(copy), 0o600, durable=True) == 15 * len(data)
    assert copy.read_bytes() == content
    os.sync()
    assert copy.stat().st_blocks * 512 <= 15 * len(data) + 4096


def test_clones_share_their_blocks(reflink_volume: pathlib.Path) -> None:
    source = reflink_volume / "source"
    source.write_bytes(os.urandom(8 << 20))
    assert file_clone.clone_file(str(source), str(reflink_volume / "clone")) == file_clone.REFLINK
    assert (reflink_volume / "clone").read_bytes() == source.read_bytes()
    assert _shared_extents(reflink_volume / "clone")
    (reflink_volume / "empty").touch()
    assert (
        file_clone.clone_file(str(reflink_volume / "empty"), str(reflink_volume / "empty-clone")) == file_clone.REFLINK
    )


def test_cloning_does_not_touch_the_stamps_of_the_original(reflink_volume: pathlib.Path) -> None:
    source = reflink_volume / "stamped"
    source.write_bytes(os.urandom(1 << 20))
    os.sync()
    before = source.stat()
    file_clone.clone_file(str(source), str(reflink_volume / "stamped-clone"))
    os.sync()
    after = source.stat()
    assert (before.st_ctime_ns, before.st_mtime_ns) == (after.st_ctime_ns, after.st_mtime_ns)


def test_another_volume_gets_a_copy(reflink_volume: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "source").write_bytes(b"x" * 70000)
    assert file_clone.clone_file(str(tmp_path / "source"), str(reflink_volume / "copied")) == file_clone.COPY
    assert (reflink_volume / "copied").stat().st_size == 70000


def test_probe_says_where_clones_work_and_leaves_nothing(
    reflink_volume: pathlib.Path, small_volume: pathlib.Path
) -> None:
    directory = reflink_volume / "probe"
    directory.mkdir(exist_ok=True)
    assert file_clone.probe(str(directory))
    assert list(directory.iterdir()) == []
    before = sorted(small_volume.iterdir())
    assert not file_clone.probe(str(small_volume))
    assert sorted(small_volume.iterdir()) == before


def test_probe_removes_what_one_that_was_killed_left(tmp_path: pathlib.Path) -> None:
    old, new = tmp_path / ".macfleet-probe-old", tmp_path / ".macfleet-probe-new"
    for path in (old, new):
        path.mkdir()
        (path / "source").touch()
    os.utime(old, (1, 1))
    file_clone.probe(str(tmp_path))
    assert list(tmp_path.iterdir()) == [new]


def test_probe_of_a_missing_directory_fails(tmp_path: pathlib.Path) -> None:
    with pytest.raises(CloneFailed, match="clones"):
        file_clone.probe(str(tmp_path / "missing"))


@pytest.mark.parametrize("private", [True, False])
def test_bundle_is_whole_and_writable(tmp_path: pathlib.Path, private: bool) -> None:
    source = tmp_path / "entry"
    fill(source)
    for path in source.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(path.stat().st_mode & 0o555)
    destination = tmp_path / "VM.pvm"
    result = clone.clone_tree(str(source), str(destination), private=private)
    assert contents(destination) == contents(source)
    assert result.files == 4
    modes = {str(path.relative_to(destination)): path.lstat().st_mode & 0o777 for path in destination.rglob("*")}
    assert modes["config.pvs"] == (0o600 if private else 0o644)
    assert modes["script"] == (0o700 if private else 0o755)
    assert modes["disk.hdd"] == destination.stat().st_mode & 0o777 == (0o700 if private else 0o755)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["VM.pvm", "entry"]


def test_bundle_of_clones_copies_nothing(reflink_volume: pathlib.Path) -> None:
    fill(reflink_volume / "entry")
    result = clone.clone_tree(str(reflink_volume / "entry"), str(reflink_volume / "VM.pvm"))
    assert result == clone.CloneResult(file_clone.REFLINK, 4, 0)


def test_copied_bundle_tells_what_it_cost(small_volume: pathlib.Path, tmp_path: pathlib.Path) -> None:
    fill(tmp_path / "entry")
    result = clone.clone_tree(str(tmp_path / "entry"), str(small_volume / "cost.pvm"))
    assert result.method == file_clone.COPY
    assert 4096 < result.bytes_copied < (64 << 10) + 4096


def test_change_before_the_name_and_its_failure(tmp_path: pathlib.Path) -> None:
    fill(tmp_path / "entry")
    destination = tmp_path / "VM.pvm"

    def refuse(path: str) -> None:
        assert not destination.exists()
        assert os.path.exists(os.path.join(path, "config.pvs"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        clone.clone_tree(str(tmp_path / "entry"), str(destination), prepare=refuse)
    assert [path.name for path in tmp_path.iterdir()] == ["entry"]


def test_existing_bundle_is_not_touched(tmp_path: pathlib.Path) -> None:
    fill(tmp_path / "entry")
    (tmp_path / "VM.pvm").mkdir()
    with pytest.raises(PathTaken, match=r"VM\.pvm exists") as caught:
        clone.clone_tree(str(tmp_path / "entry"), str(tmp_path / "VM.pvm"))
    assert caught.value.code == "path_taken"
    assert list((tmp_path / "VM.pvm").iterdir()) == []


def test_a_bundle_that_appears_meanwhile_is_not_touched(tmp_path: pathlib.Path) -> None:
    fill(tmp_path / "entry")
    destination = tmp_path / "VM.pvm"

    def appear(path: str) -> None:
        destination.mkdir()
        (destination / "theirs").touch()

    with pytest.raises(PathTaken, match=r"VM\.pvm exists"):
        clone.clone_tree(str(tmp_path / "entry"), str(destination), prepare=appear)
    assert [path.name for path in destination.iterdir()] == ["theirs"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["VM.pvm", "entry"]


def test_leavings_of_an_interrupted_attempt_are_replaced(tmp_path: pathlib.Path) -> None:
    fill(tmp_path / "entry")
    destination = str(tmp_path / "VM.pvm")
    os.mkdir(clone.temporary_path(destination))
    pathlib.Path(clone.temporary_path(destination), "half").touch()
    clone.clone_tree(str(tmp_path / "entry"), destination)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["VM.pvm", "entry"]
    assert contents(tmp_path / "VM.pvm") == contents(tmp_path / "entry")


def test_pipe_in_a_bundle_is_refused(tmp_path: pathlib.Path) -> None:
    fill(tmp_path / "entry")
    os.mkfifo(tmp_path / "entry/pipe")
    with pytest.raises(CloneFailed, match="pipe"):
        clone.clone_tree(str(tmp_path / "entry"), str(tmp_path / "VM.pvm"))
    assert [path.name for path in tmp_path.iterdir()] == ["entry"]


def test_full_disk_leaves_nothing(small_volume: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "entry").mkdir()
    (tmp_path / "entry/disk").write_bytes(os.urandom(12 << 20))
    before = sorted(small_volume.iterdir())
    with pytest.raises(DiskFull, match="No space left") as caught:
        clone.clone_tree(str(tmp_path / "entry"), str(small_volume / "VM.pvm"))
    assert caught.value.code == "disk_full"
    assert sorted(small_volume.iterdir()) == before


@pytest.mark.parametrize("mode", [0o654, 0o611, 0o744, 0o644])
def test_a_clone_is_executable_where_its_owner_may_execute_the_original(tmp_path: pathlib.Path, mode: int) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").touch()
    os.chmod(tmp_path / "source" / "file", mode)
    clone.clone_tree(str(tmp_path / "source"), str(tmp_path / "copy"))
    assert os.stat(tmp_path / "copy" / "file").st_mode & 0o777 == 0o600 | (mode & 0o100)
