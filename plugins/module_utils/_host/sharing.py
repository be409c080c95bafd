# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""How much of a file no other file shares, on file systems that know: what its removal would free."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import sys
import typing as t

# macOS sys/attr.h
_ATTR_BIT_MAP_COUNT = 5
_ATTR_CMNEXT_PRIVATESIZE = 0x00000008
_FSOPT_NOFOLLOW = 0x00000001
_FSOPT_ATTR_CMN_EXTENDED = 0x00000020
# struct attrlist: u16 bitmapcount, u16 reserved, u32 for common, volume, directory, file, and here extended attributes.
_ATTRLIST = struct.Struct("=HH5I")
# What comes back: u32 length of all, then the attribute, an off_t.
_PRIVATE_SIZE = struct.Struct("=Iq")
# linux/fiemap.h and linux/fs.h
_FS_IOC_FIEMAP = 0xC020660B
_FIEMAP_FLAG_SYNC = 0x1
_FIEMAP_EXTENT_LAST = 0x1
_FIEMAP_EXTENT_UNKNOWN = 0x2
_FIEMAP_EXTENT_SHARED = 0x2000
# struct fiemap: u64 start, u64 length, u32 flags, u32 mapped extents, u32 room for extents, u32 reserved.
_FIEMAP = struct.Struct("=QQIIII")
# struct fiemap_extent: u64 logical, u64 physical, u64 length, 2 u64 reserved, u32 flags, 3 u32 reserved.
_EXTENT = struct.Struct("=QQQ16xI12x")
_EXTENTS_AT_ONCE = 512
_WHOLE_FILE = (1 << 64) - 1


def exclusive_bytes(path: str) -> t.Optional[int]:
    """Returns the bytes on disk of a regular file that it shares with no other one, or None if that is not known.

    On macOS APFS tells; on Linux XFS and Btrfs do. A snapshot of the volume, which shares everything, is not seen.

    :raises OSError: the file cannot be opened
    """
    return _darwin_exclusive_bytes(path) if sys.platform == "darwin" else _linux_exclusive_bytes(path)


def _darwin_exclusive_bytes(path: str) -> t.Optional[int]:
    wanted = _ATTRLIST.pack(_ATTR_BIT_MAP_COUNT, 0, 0, 0, 0, 0, _ATTR_CMNEXT_PRIVATESIZE)
    answer = ctypes.create_string_buffer(_PRIVATE_SIZE.size)
    options = ctypes.c_ulong(_FSOPT_NOFOLLOW | _FSOPT_ATTR_CMN_EXTENDED)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.getattrlist(os.fsencode(path), wanted, answer, ctypes.c_size_t(len(answer)), options) != 0:
        return None
    length, size = _PRIVATE_SIZE.unpack(answer.raw)
    return size if length == _PRIVATE_SIZE.size else None


def _linux_exclusive_bytes(path: str) -> t.Optional[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return sum(length for length, is_shared in _extents(descriptor) if not is_shared)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _extents(descriptor: int) -> t.Iterator[t.Tuple[int, bool]]:
    """Length in bytes of each extent on disk, and True if another file shares it.

    :raises OSError: the file system does not tell
    """
    start = 0
    while True:
        head = _FIEMAP.pack(start, _WHOLE_FILE - start, _FIEMAP_FLAG_SYNC, 0, _EXTENTS_AT_ONCE, 0)
        buffer = bytearray(head + bytes(_EXTENT.size * _EXTENTS_AT_ONCE))
        fcntl.ioctl(descriptor, _FS_IOC_FIEMAP, buffer, True)
        mapped = _FIEMAP.unpack_from(buffer)[3]
        flags = _FIEMAP_EXTENT_LAST
        for number in range(mapped):
            logical, _physical, length, flags = _EXTENT.unpack_from(buffer, _FIEMAP.size + number * _EXTENT.size)
            if not flags & _FIEMAP_EXTENT_UNKNOWN:
                yield length, bool(flags & _FIEMAP_EXTENT_SHARED)
            start = logical + length
        if flags & _FIEMAP_EXTENT_LAST:
            return
