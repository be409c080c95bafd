# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Which file system a path lies on, and whether it has clones; asks only, writes nothing.

A plan needs the answer before anything may be written. It is a forecast: should a clone fail after all,
``clone.clone_file`` copies, which gives the same content.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import sys

_WITH_CLONES = frozenset({"apfs", "btrfs", "xfs", "bcachefs"})
# struct statfs of 64-bit macOS, sys/mount.h: f_fstypename is 16 bytes at offset 72 of 2168.
_DARWIN_STATFS_BYTES = 2168
_DARWIN_TYPE_OFFSET = 72
_DARWIN_TYPE_BYTES = 16
# linux/xfs_fs.h: the first form of struct xfs_fsop_geom is 112 bytes, with its flags at offset 92.
_XFS_IOC_FSGEOMETRY_V1 = 0x80705864
_XFS_GEOMETRY_BYTES = 112
_XFS_FLAGS_OFFSET = 92
_XFS_HAS_REFLINKS = 1 << 20


def has_clones(path: str) -> bool:
    """Whether files on the volume of ``path``, or of its nearest existing parent, can be cloned."""
    path = _existing(path)
    name = file_system(path)
    return name in _WITH_CLONES and (name != "xfs" or _xfs_has_reflinks(path))


def can_clone(source: str, destination: str) -> bool:
    """Whether files below one path can be cloned to another one; neither needs to exist."""
    return share_volume(source, destination) and has_clones(source)


def share_volume(one: str, other: str) -> bool:
    """Whether what is written below either of two paths takes the same room; neither needs to exist."""
    return os.stat(_existing(one)).st_dev == os.stat(_existing(other)).st_dev


def _existing(path: str) -> str:
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def file_system(path: str) -> str:
    """Name of the file system of an existing path, empty when the system does not tell."""
    return _darwin(path) if sys.platform == "darwin" else _linux(path)


def _darwin(path: str) -> str:
    buffer = ctypes.create_string_buffer(_DARWIN_STATFS_BYTES)
    libc = ctypes.CDLL(None, use_errno=True)
    # Intel needs the name of the 64-bit inode variant; Apple silicon has one only.
    call = getattr(libc, "statfs$INODE64", None) or libc.statfs
    if call(os.fsencode(path), buffer) != 0:
        return ""
    name = buffer.raw[_DARWIN_TYPE_OFFSET : _DARWIN_TYPE_OFFSET + _DARWIN_TYPE_BYTES]
    return name.split(b"\0", 1)[0].decode("ascii", "replace")


def _linux(path: str) -> str:
    """From the mount table, by the longest mount point above the path: Btrfs has a device number per subvolume."""
    real_path = os.path.realpath(path)
    best, found = -1, ""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            for line in table:
                mount, _dash, rest = line.partition(" - ")
                point = _unescaped(mount.split(" ")[4])
                is_above = point == "/" or real_path == point or real_path.startswith(point + "/")
                if is_above and len(point) >= best:
                    best, found = len(point), rest.split(" ", 1)[0]
    except OSError:
        return ""
    return found


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
