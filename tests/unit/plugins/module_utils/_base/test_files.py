# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base import files

MIB = 1 << 20


class Calls:
    """What was done to the disk, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        fsync, rename = os.fsync, os.rename

        def record_fsync(descriptor: int) -> None:
            self.made.append("fsync directory" if os.path.isdir(f"/dev/fd/{descriptor}") else "fsync file")
            fsync(descriptor)

        def record_rename(source: t.Any, destination: t.Any) -> None:
            self.made.append("rename")
            rename(source, destination)

        monkeypatch.setattr(os, "fsync", record_fsync)
        monkeypatch.setattr(os, "rename", record_rename)


@pytest.fixture(name="calls")
def calls_fixture(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


# Writing


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o444])
def test_a_file_has_its_content_and_mode_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a"
    before = os.umask(0o077)
    try:
        files.write_file_durably(str(path), b"content", mode)
    finally:
        os.umask(before)
    assert path.read_bytes() == b"content"
    assert path.stat().st_mode & 0o777 == mode
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"a long content")
    with path.open("rb") as old:
        files.write_file_durably(str(path), b"short")
        assert old.read() == b"a long content"
    assert path.read_bytes() == b"short"


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / "a").symlink_to("target")
    files.write_file_durably(str(tmp_path / "a"), b"content")
    assert (tmp_path / "target").read_bytes() == b"precious"
    assert not (tmp_path / "a").is_symlink()


def test_the_final_name_comes_after_the_content_and_before_the_directory(tmp_path: Path, calls: Calls) -> None:
    files.write_file_durably(str(tmp_path / "a"), b"content")
    assert calls.made == ["fsync file", "rename", "fsync directory"]


def test_a_name_without_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files.write_file_durably("a", b"content")
    assert (tmp_path / "a").read_bytes() == b"content"


@pytest.mark.parametrize("failing", ["fsync", "rename"])
def test_what_fails_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def fail(*arguments: t.Any) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="the disk is broken"):
        files.write_file_durably(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interruption_leaves_nothing_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: t.Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_file_durably(str(tmp_path / "a"), b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.write_file_durably(str(tmp_path / "missing" / "a"), b"content")


# Renaming and flushing


def test_a_rename_inside_a_directory(tmp_path: Path, calls: Calls) -> None:
    (tmp_path / "a").write_bytes(b"content")
    files.rename_durably(str(tmp_path / "a"), str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == b"content"
    assert calls.made == ["rename", "fsync directory"]


def test_a_rename_between_directories_flushes_both(tmp_path: Path, calls: Calls) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one/a").mkdir()
    files.rename_durably(str(tmp_path / "one/a"), str(tmp_path / "two/a"))
    assert (tmp_path / "two/a").is_dir()
    assert calls.made == ["rename", "fsync directory", "fsync directory"]


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        files.fsync_directory(str(tmp_path / "a"))


def test_a_volume_is_flushed_through_any_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    files.flush_volume(str(tmp_path))
    files.flush_volume(str(tmp_path / "a"))
    with pytest.raises(FileNotFoundError):
        files.flush_volume(str(tmp_path / "missing"))


def answer_fsync(monkeypatch: pytest.MonkeyPatch, number: int, directories_only: bool) -> None:
    """Have the file system answer an fsync, and what flushes a volume, by an error."""
    fsync = os.fsync

    def answer(descriptor: int) -> None:
        if directories_only and not os.path.isdir(f"/dev/fd/{descriptor}"):
            return fsync(descriptor)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", answer)
    monkeypatch.setattr(files, "_full_fsync" if sys.platform == "darwin" else "_syncfs", answer)


@pytest.mark.parametrize(
    "number", [errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS], ids=errno.errorcode.get
)
def test_directories_that_cannot_be_flushed_are_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    answer_fsync(monkeypatch, number, directories_only=True)
    files.write_file_durably(str(tmp_path / "a"), b"content")
    (tmp_path / "inner").mkdir()
    files.rename_durably(str(tmp_path / "a"), str(tmp_path / "inner/b"))
    files.flush_volume(str(tmp_path))
    assert (tmp_path / "inner/b").read_bytes() == b"content"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EBADF], ids=errno.errorcode.get)
def test_other_errors_of_a_flush_name_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    answer_fsync(monkeypatch, number, directories_only=True)
    (tmp_path / "a").write_bytes(b"content")
    for flush in (
        lambda: files.fsync_directory(str(tmp_path)),
        lambda: files.flush_volume(str(tmp_path)),
        lambda: files.rename_durably(str(tmp_path / "a"), str(tmp_path / "b")),
    ):
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            flush()
        assert (caught.value.errno, caught.value.filename) == (number, str(tmp_path))


def test_a_file_that_cannot_be_flushed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_fsync(monkeypatch, errno.EINVAL, directories_only=False)
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        files.write_file_durably(str(tmp_path / "a"), b"content")
    assert list(tmp_path.iterdir()) == []


def test_all_is_written_when_the_system_takes_a_part_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: pwrite(descriptor, data[:7], offset))
    content = os.urandom(100)
    with (tmp_path / "a").open("wb") as stream:
        files.write_all(stream.fileno(), content, 5)
        files.write_all(stream.fileno(), memoryview(bytearray(b"begin")), 0)
        files.write_all(stream.fileno(), b"", 50)
    assert (tmp_path / "a").read_bytes() == b"begin" + content


# Space


def test_allocated_bytes_are_those_on_disk(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as stream:
        stream.truncate(100 * MIB)
        stream.write(os.urandom(MIB))
        os.fsync(stream.fileno())
        assert MIB <= files.allocated_bytes(os.stat(stream.fileno())) < 2 * MIB


# Holes


def zeroed(path: Path, offset: int, length: int) -> bytes:
    """Zero a range of a file of noise; the content then."""
    noise = os.urandom(4 * MIB)
    path.write_bytes(noise)
    descriptor = os.open(path, os.O_RDWR)
    try:
        files.zero_range(descriptor, offset, length)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    assert path.read_bytes() == noise[:offset] + bytes(length) + noise[offset + length :]
    return noise


RANGES = [(0, 4 * MIB), (MIB, 2 * MIB), (1, 3 * MIB + 7), (4096, 1), (5, 0), (4 * MIB - 3, 3)]


@pytest.mark.parametrize(("offset", "length"), RANGES)
def test_a_range_reads_as_zeros(tmp_path: Path, offset: int, length: int) -> None:
    zeroed(tmp_path / "a", offset, length)


def test_a_large_range_becomes_a_hole(tmp_path: Path) -> None:
    zeroed(tmp_path / "a", MIB, 2 * MIB)
    assert files.allocated_bytes((tmp_path / "a").stat()) <= 2 * MIB + 65536


@pytest.mark.parametrize(("offset", "length"), [(512, 4 * MIB - 1024), (MIB + 512, 2 * MIB), (1, 4095), (4097, 4094)])
def test_whole_blocks_are_punched_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: int, length: int
) -> None:
    block = os.statvfs(tmp_path).f_frsize
    name = "_punch_darwin" if sys.platform == "darwin" else "_punch_linux"
    punch, punched = getattr(files, name), []

    def strict(descriptor: int, begin: int, count: int) -> None:
        # As on macOS.
        if begin % block or count % block or not count:
            raise OSError(errno.EINVAL, "not aligned")
        punched.append(count)
        punch(descriptor, begin, count)

    monkeypatch.setattr(files, name, strict)
    zeroed(tmp_path / "a", offset, length)
    whole = max(0, (offset + length) // block - -(-offset // block)) * block
    assert punched == ([whole] if whole else [])


def break_punching(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(descriptor: int, offset: int, length: int) -> None:
        raise error

    monkeypatch.setattr(files, "_punch_linux", fail)
    monkeypatch.setattr(files, "_punch_darwin", fail)


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EOPNOTSUPP, "no holes here"), OSError(errno.EINVAL, "not aligned"), AttributeError("no fallocate")],
)
@pytest.mark.parametrize(("offset", "length"), RANGES)
def test_zeros_are_written_where_there_are_no_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, offset: int, length: int
) -> None:
    break_punching(monkeypatch, error)
    zeroed(tmp_path / "a", offset, length)


def test_a_broken_disk_is_not_a_disk_without_holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_punching(monkeypatch, OSError(errno.EIO, "the disk is broken"))
    with pytest.raises(OSError, match="the disk is broken"):
        zeroed(tmp_path / "a", 0, MIB)
