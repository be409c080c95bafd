# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What the volume of a path is and offers. Only asks, and writes nothing.

A path need not exist: its nearest existing parent tells the volume. That files can be cloned is a forecast: should a
clone fail after all, ``file_clone.clone_file`` copies, which gives the same content.
"""

from __future__ import annotations

import ctypes
import dataclasses
import fcntl
import os
import struct
import sys
import typing as t

_WITH_CLONES = frozenset({"apfs", "btrfs", "xfs", "bcachefs"})
# struct statfs of 64-bit macOS, sys/mount.h: 2168 bytes. u32 f_bsize at 0, u64 f_bavail at 24, u32 f_flags at 64,
# char f_fstypename[16] at 72, char f_mntonname[1024] at 88.
_DARWIN_STATFS = struct.Struct("=I20xQ32xI4x16s1024s")
_DARWIN_STATFS_BYTES = 2168
_MNT_LOCAL = 0x00001000
_MNT_IGNORE_OWNERSHIP = 0x00200000
# linux/xfs_fs.h: the first form of struct xfs_fsop_geom is 112 bytes, with its flags at offset 92.
_XFS_IOC_FSGEOMETRY_V1 = 0x80705864
_XFS_GEOMETRY_BYTES = 112
_XFS_FLAGS_OFFSET = 92
_XFS_HAS_REFLINKS = 1 << 20

_ON_A_NETWORK = "other computers can change what is on it, and neither locks nor flushes can be relied on"
_WITHOUT_OWNERS = "it keeps no owners, and inode numbers change"
_THROUGH_A_PROGRAM = "a program serves it, which need not keep inode numbers, locks and flushes"
# Why a cache cannot lie on a file system: what is trusted there is known by its inode number, its times in nanoseconds
# and its owner. All others are taken: macOS has no others, and local ones of Linux keep all that.
_UNSUITABLE = {
    "hfs": "it keeps times in whole seconds, so a change could go unnoticed",
    **dict.fromkeys(("exfat", "msdos", "vfat", "ntfs", "ntfs3", "lifs"), _WITHOUT_OWNERS),
    **dict.fromkeys(("smbfs", "cifs", "smb3", "nfs", "nfs4", "afpfs", "webdav", "ftp", "9p", "ceph"), _ON_A_NETWORK),
    **dict.fromkeys(("cd9660", "iso9660", "udf"), "it is read-only"),
}


@dataclasses.dataclass(frozen=True)
class Volume:
    """A mounted volume.

    ``kind`` is the name of its file system, ``""`` if the system does not tell. ``free_bytes`` is what an ordinary
    user can still write, without what macOS would purge to make room. A volume that ``ignores_owners`` shows each user
    as the owner of everything.
    """

    mount_point: str
    kind: str
    free_bytes: int
    is_local: bool = True
    ignores_owners: bool = False


def volume_of(path: str) -> Volume:
    """Returns the volume of a path.

    :raises OSError: the path, or its nearest existing parent, cannot be examined
    """
    path = existing(path)
    return _darwin_volume(path) if sys.platform == "darwin" else _linux_volume(path)


def existing(path: str) -> str:
    """Returns the absolute path itself if it exists, or else its nearest existing parent."""
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def free_bytes(path: str) -> int:
    """Returns the bytes that an ordinary user can still write on the volume of ``path``.

    What macOS would purge to make room, old snapshots of Time Machine for instance, does not count.

    :raises OSError: the path, or its nearest existing parent, cannot be examined
    """
    return volume_of(path).free_bytes


def unsuitable(volume: Volume) -> t.Optional[str]:
    """Returns why a cache cannot lie on a volume, as the end of a sentence, or None if it can."""
    reason = _UNSUITABLE.get(volume.kind)
    if reason is None and "fuse" in volume.kind:
        reason = _THROUGH_A_PROGRAM
    if reason is None and not volume.is_local:
        reason = _ON_A_NETWORK
    return reason


def has_clones(path: str) -> bool:
    """Returns True if files on the volume of ``path`` can be cloned."""
    path = existing(path)
    kind = volume_of(path).kind
    return kind in _WITH_CLONES and (kind != "xfs" or _xfs_has_reflinks(path))


def can_clone(source: str, destination: str) -> bool:
    """Returns True if files below one path can be cloned to another one."""
    return share_volume(source, destination) and has_clones(source)


def share_volume(one: str, other: str) -> bool:
    """Returns True if both paths lie on one volume, so that what is written below either takes room from both."""
    return os.stat(existing(one)).st_dev == os.stat(existing(other)).st_dev


def _darwin_volume(path: str) -> Volume:
    buffer = ctypes.create_string_buffer(_DARWIN_STATFS_BYTES)
    libc = ctypes.CDLL(None, use_errno=True)
    # Intel needs the name of the 64-bit inode variant; Apple silicon has one only.
    call = getattr(libc, "statfs$INODE64", None) or libc.statfs
    if call(os.fsencode(path), buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return decode_darwin_statfs(buffer.raw)


def decode_darwin_statfs(data: bytes) -> Volume:
    """Returns the volume that a ``struct statfs`` of 64-bit macOS describes.

    os.statvfs would not do: its counts of blocks have 32 bits there, and wrap on large volumes.
    """
    block_bytes, free_blocks, flags, kind, mount_point = _DARWIN_STATFS.unpack_from(data)
    return Volume(
        os.fsdecode(mount_point.split(b"\0", 1)[0]),
        kind.split(b"\0", 1)[0].decode("ascii", "replace"),
        free_blocks * block_bytes,
        bool(flags & _MNT_LOCAL),
        bool(flags & _MNT_IGNORE_OWNERSHIP),
    )


def _linux_volume(path: str) -> Volume:
    status = os.statvfs(path)
    mount_point, kind = _linux_mount(path)
    return Volume(mount_point, kind, status.f_bavail * status.f_frsize)


def _linux_mount(path: str) -> t.Tuple[str, str]:
    """Mount point and file system, by the longest mount point above the path.

    Not by the device number: Btrfs has one for each subvolume.
    """
    real_path = os.path.realpath(path)
    best, kind = "", ""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            for line in table:
                mount, _dash, rest = line.partition(" - ")
                point = _unescaped(mount.split(" ")[4])
                is_above = point == "/" or real_path == point or real_path.startswith(point + "/")
                if is_above and len(point) >= len(best):
                    best, kind = point, rest.split(" ", 1)[0]
    except OSError:
        return "/", ""
    return best or "/", kind


def _xfs_has_reflinks(path: str) -> bool:
    geometry = bytearray(_XFS_GEOMETRY_BYTES)
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _XFS_IOC_FSGEOMETRY_V1, geometry)
        finally:
            os.close(descriptor)
    except OSError:
        # It does not tell; newer ones have them.
        return True
    return bool(struct.unpack_from("=I", geometry, _XFS_FLAGS_OFFSET)[0] & _XFS_HAS_REFLINKS)


def _unescaped(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
