# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of a volume before anything is written is what happens when it is."""

from __future__ import annotations

import ctypes
import os
import pathlib
import struct
import sys
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._host import file_clone, sharing, volumes
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CacheUnsafe, VolumeUnsuitable
from ansible_collections.macfleet.parallels.plugins.module_utils._host.volumes import Volume

MIB = 1 << 20
_READ_ONLY, _LOCAL, _IGNORE_OWNERSHIP = 0x1, 0x1000, 0x200000


def test_forecast_for_a_volume_with_clones(reflink_volume: pathlib.Path, small_volume: pathlib.Path) -> None:
    assert file_clone.probe(str(reflink_volume))
    assert volumes.has_clones(str(reflink_volume / "not/there/yet"))
    assert volumes.can_clone(str(reflink_volume / "a"), str(reflink_volume / "b/c"))
    assert not volumes.can_clone(str(reflink_volume), str(small_volume))
    assert not volumes.share_volume(str(reflink_volume), str(small_volume))


def test_forecast_for_volumes_without_clones(small_volume: pathlib.Path, xfs_without_reflinks: pathlib.Path) -> None:
    for volume in (small_volume, xfs_without_reflinks):
        assert not file_clone.probe(str(volume))
        assert not volumes.has_clones(str(volume))
        assert volumes.share_volume(str(volume / "a"), str(volume / "b/c"))
        assert not volumes.can_clone(str(volume / "a"), str(volume / "b/c"))


# Space


def test_free_bytes_of_a_path_that_does_not_exist_yet(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = volumes.free_bytes(str(tmp_path))
    assert free > 0
    # Others write to this disk, too.
    assert abs(volumes.free_bytes(str(tmp_path / "not/yet/there")) - free) < 20 << 30
    monkeypatch.chdir(tmp_path)
    assert volumes.free_bytes("not-yet") > 0


def test_free_bytes_shrink_by_what_is_written(small_volume: pathlib.Path) -> None:
    before = volumes.free_bytes(str(small_volume))
    with open(small_volume / "file", "wb") as stream:
        stream.write(os.urandom(2 * MIB))
        stream.flush()
        os.fsync(stream.fileno())
    assert 2 * MIB <= before - volumes.free_bytes(str(small_volume)) < 3 * MIB


# Kinds


def test_kind_and_mount_point_of_real_volumes(reflink_volume: pathlib.Path, small_volume: pathlib.Path) -> None:
    for directory, kinds in ((reflink_volume, {"xfs", "btrfs"}), (small_volume, {"ext4"})):
        volume = volumes.volume_of(str(directory / "not/yet"))
        assert volume.kind in kinds
        assert volume.mount_point == str(directory.parent)
        assert (volume.is_local, volume.ignores_owners, volumes.unsuitable(volume)) == (True, False, None)


def darwin_statfs(block_bytes: int, free_blocks: int, flags: int, kind: bytes, mount_point: bytes) -> bytes:
    """A struct statfs as sys/mount.h of macOS declares it, field by field."""
    return struct.pack(
        "=Ii5Q8sIIII16s1024s1024s8I",
        *(block_bytes, MIB, 1 << 40, 1 << 39, free_blocks, 7, 8, b"fsid"),
        *(501, 0x1A, flags, 0, kind, mount_point, b"/dev/disk4s1", *range(8)),
    )


def test_what_macos_says_of_a_volume_that_is_larger_than_32_bits_of_blocks() -> None:
    data = darwin_statfs(512, 9 << 32, _LOCAL | _READ_ONLY, b"apfs", "/Volumes/Bücher 1".encode())
    assert len(data) == 2168
    assert volumes.decode_darwin_statfs(data) == Volume("/Volumes/Bücher 1", "apfs", 9 << 41, True, False)


@pytest.mark.parametrize(
    ("flags", "is_local", "ignores"), [(0, False, False), (_LOCAL | _IGNORE_OWNERSHIP, True, True)]
)
def test_flags_of_a_volume_of_macos(flags: int, is_local: bool, ignores: bool) -> None:
    volume = volumes.decode_darwin_statfs(darwin_statfs(4096, 10, flags, b"smbfs", b"/Volumes/x"))
    assert (volume.kind, volume.is_local, volume.ignores_owners) == ("smbfs", is_local, ignores)


@pytest.mark.parametrize(
    ("kind", "is_local", "reason"),
    [
        *((kind, True, None) for kind in ("apfs", "ext4", "xfs", "btrfs", "bcachefs", "zfs", "f2fs", "tmpfs")),
        *((kind, True, None) for kind in ("overlay", "something-new", "")),
        ("hfs", True, "whole seconds"),
        *((kind, True, "no owners") for kind in ("exfat", "msdos", "vfat", "ntfs", "lifs")),
        *((kind, False, "other computers") for kind in ("smbfs", "nfs", "afpfs", "webdav", "cifs", "nfs4", "9p")),
        *((kind, True, "a program") for kind in ("macfuse", "osxfuse", "fuse.sshfs", "fuseblk", "fuse")),
        ("cd9660", True, "read-only"),
        ("apfs", False, "other computers"),
    ],
)  # fmt: skip
def test_volumes_that_a_cache_may_lie_on(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, kind: str, is_local: bool, reason: t.Optional[str]
) -> None:
    monkeypatch.setattr(volumes, "volume_of", lambda path: Volume("/Volumes/X", kind, 1 << 40, is_local))
    if reason is None:
        assert Cache.open(cache.path, create=False).exists
        return
    for create in (False, True):
        with pytest.raises(VolumeUnsuitable, match=reason) as caught:
            Cache.open(cache.path, create)
        assert caught.value.code == "volume_unsuitable"
        assert f"the {kind} volume /Volumes/X" in caught.value.message
        assert caught.value.message.count(". ") == 0
        assert "APFS" in (caught.value.hint or "")


@pytest.mark.parametrize("create", [False, True])
def test_a_volume_that_ignores_owners_is_refused_with_what_mends_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, create: bool
) -> None:
    volume = Volume("/Volumes/My Images", "apfs", 1 << 40, ignores_owners=True)
    monkeypatch.setattr(volumes, "volume_of", lambda path: volume)
    with pytest.raises(CacheUnsafe, match="ignores owners") as caught:
        Cache.open(str(tmp_path / "new/cache"), create)
    assert "sudo diskutil enableOwnership '/Volumes/My Images'" in (caught.value.hint or "")
    assert list(tmp_path.iterdir()) == []


# Sharing


def write(path: pathlib.Path, size: int) -> pathlib.Path:
    with open(path, "wb") as stream:
        stream.write(os.urandom(size))
        stream.flush()
        os.fsync(stream.fileno())
    return path


def test_exclusive_bytes_of_clones(reflink_volume: pathlib.Path) -> None:
    source, copy = write(reflink_volume / "source", 8 * MIB), reflink_volume / "copy"
    assert sharing.exclusive_bytes(str(source)) == 8 * MIB
    assert file_clone.clone_file(str(source), str(copy)) == file_clone.REFLINK
    assert sharing.exclusive_bytes(str(source)) == sharing.exclusive_bytes(str(copy)) == 0
    with open(copy, "r+b") as stream:
        stream.seek(2 * MIB)
        stream.write(os.urandom(MIB))
        stream.flush()
        os.fsync(stream.fileno())
    assert sharing.exclusive_bytes(str(copy)) == MIB
    # Btrfs frees an extent as a whole, so removing the source would free nothing there.
    is_btrfs = volumes.volume_of(str(reflink_volume)).kind == "btrfs"
    assert sharing.exclusive_bytes(str(source)) == (0 if is_btrfs else MIB)


def test_exclusive_bytes_of_many_extents_and_holes(reflink_volume: pathlib.Path) -> None:
    path = reflink_volume / "holes"
    with open(path, "wb") as stream:
        stream.truncate(64 * MIB)
        for number in range(700):
            stream.seek(number * (64 << 10))
            stream.write(b"\1" * 4096)
    assert sharing.exclusive_bytes(str(path)) == 700 * 4096
    (reflink_volume / "empty").touch()
    assert sharing.exclusive_bytes(str(reflink_volume / "empty")) == 0


def test_exclusive_bytes_where_nothing_is_shared(small_volume: pathlib.Path) -> None:
    assert sharing.exclusive_bytes(str(write(small_volume / "file", MIB))) == MIB


def test_exclusive_bytes_where_nobody_knows(tmp_path: pathlib.Path) -> None:
    assert sharing.exclusive_bytes("/proc/self/status") is None
    with pytest.raises(OSError, match="link"):
        (tmp_path / "link").symlink_to("file")
        sharing.exclusive_bytes(str(tmp_path / "link"))


class DarwinLibrary:
    """A libc of macOS with getattrlist(2), which answers one size."""

    def __init__(self, answer: bytes, status: int = 0) -> None:
        self.asked: t.List[t.Tuple[bytes, bytes, int, int]] = []
        self._answer, self._status = answer, status

    def getattrlist(self, path: bytes, wanted: bytes, answer: t.Any, size: t.Any, options: t.Any) -> int:
        self.asked.append((path, wanted, size.value, options.value))
        answer.raw = self._answer
        return self._status


@pytest.mark.parametrize(
    ("answer", "status", "expected"),
    [
        (struct.pack("=Iq", 12, 9 << 40), 0, 9 << 40),
        (struct.pack("=Iq", 12, 0), 0, 0),
        # HFS+ knows no such attribute: the call fails, or the answer is its length alone.
        (bytes(12), -1, None),
        (struct.pack("=Iq", 4, 0), 0, None),
    ],
)
def test_exclusive_bytes_on_macos(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, status: int, expected: t.Optional[int]
) -> None:
    library = DarwinLibrary(answer, status)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda *_arguments, **_options: library)
    assert sharing.exclusive_bytes("/Users/build/disk.hds") == expected
    # struct attrlist of sys/attr.h: five bitmaps, the last of which asks for ATTR_CMNEXT_PRIVATESIZE.
    wanted = (5).to_bytes(2, sys.byteorder) + bytes(18) + (8).to_bytes(4, sys.byteorder)
    assert library.asked == [(b"/Users/build/disk.hds", wanted, 12, 0x21)]
