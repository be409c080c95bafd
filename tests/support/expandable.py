# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Expandable disk images (``.hds``): written as the layout in qemu's docs/interop/parallels says.

Little endian; magic at 0, version 16, heads 20, cylinders 24, sectors of a cluster 28, entries of the
allocation table 32, sectors of the disk 36, in-use flag 44, first sector of the data area 48, flags 52,
extension 56, table from 64. A table entry counts clusters from the start of the file with the newer magic,
sectors with the older one; 0 is a hole.
"""

from __future__ import annotations

import os
import struct
import typing as t

MAGIC = b"WithouFreSpacExt"
OLD_MAGIC = b"WithoutFreeSpace"
IN_USE = 0x746F6E59
CLOSED = 0x312E3276
SECTOR_BYTES = 512
CLUSTER_BYTES = 1 << 20
_IN_USE_OFFSET = 44
_TABLE_OFFSET = 64


def header(disk_bytes: int, cluster_bytes: int = CLUSTER_BYTES, magic: bytes = MAGIC, in_use: int = CLOSED) -> bytes:
    """The 64 bytes at the start of an image."""
    entries = -(-disk_bytes // cluster_bytes)
    sectors = disk_bytes // SECTOR_BYTES
    start = data_start(disk_bytes, cluster_bytes, magic) // SECTOR_BYTES
    geometry = (16, sectors // (16 * 63), cluster_bytes // SECTOR_BYTES)
    return struct.pack("<16sIIIIIQIIIQ", magic, 2, *geometry, entries, sectors, in_use, start, 0, 0)


def data_start(disk_bytes: int, cluster_bytes: int = CLUSTER_BYTES, magic: bytes = MAGIC) -> int:
    """Where the data area begins: on a cluster, in old images on the next sector behind the table."""
    table_end = _TABLE_OFFSET + 4 * -(-disk_bytes // cluster_bytes)
    unit = SECTOR_BYTES if magic == OLD_MAGIC else cluster_bytes
    return -(-table_end // unit) * unit


def mark_in_use(image: str, in_use: bool = True) -> None:
    """Set or clear the flag that a running virtual machine leaves in its image."""
    with open(image, "r+b") as stream:
        stream.seek(_IN_USE_OFFSET)
        stream.write(struct.pack("<I", IN_USE if in_use else CLOSED))


def synchronise(raw: str, image: str, cluster_bytes: int = CLUSTER_BYTES, magic: bytes = MAGIC) -> int:
    """Make ``image`` hold the disk of ``raw``; returns the clusters written.

    A cluster that has its place keeps it; a new one is appended, as the hypervisor does when the guest
    writes there for the first time.
    """
    disk_bytes = os.path.getsize(raw)
    table = _Table(disk_bytes, cluster_bytes, magic)
    written = 0
    exists = os.path.exists(image)
    with open(raw, "rb", buffering=0) as source, open(image, "r+b" if exists else "w+b", buffering=0) as target:
        if exists:
            table.read(target)
        for number in _clusters_with_data(source.fileno(), disk_bytes, cluster_bytes):
            content = os.pread(source.fileno(), cluster_bytes, number * cluster_bytes).ljust(cluster_bytes, b"\0")
            place = table.place(number)
            if place is None:
                if not content.strip(b"\0"):
                    continue
                place = table.append(number)
            elif os.pread(target.fileno(), cluster_bytes, place) == content:
                continue
            os.pwrite(target.fileno(), content, place)
            written += 1
        table.write(target)
    return written


class _Table:
    """The allocation table of one image."""

    def __init__(self, disk_bytes: int, cluster_bytes: int, magic: bytes) -> None:
        self._head = header(disk_bytes, cluster_bytes, magic)
        self._unit = SECTOR_BYTES if magic == OLD_MAGIC else cluster_bytes
        self._cluster_bytes = cluster_bytes
        self._entries = [0] * -(-disk_bytes // cluster_bytes)
        self._end = data_start(disk_bytes, cluster_bytes, magic)

    def read(self, stream: t.BinaryIO) -> None:
        packed = os.pread(stream.fileno(), 4 * len(self._entries), _TABLE_OFFSET)
        self._entries = list(struct.unpack(f"<{len(self._entries)}I", packed))
        self._end = max(self._end, os.fstat(stream.fileno()).st_size)

    def place(self, number: int) -> t.Optional[int]:
        """Offset in the image of a cluster of the disk."""
        return self._entries[number] * self._unit or None

    def append(self, number: int) -> int:
        """Give a cluster of the disk the next place at the end."""
        place = self._end
        self._entries[number] = place // self._unit
        self._end += self._cluster_bytes
        return place

    def write(self, stream: t.BinaryIO) -> None:
        packed = struct.pack(f"<{len(self._entries)}I", *self._entries)
        os.pwrite(stream.fileno(), self._head + packed, 0)
        os.ftruncate(stream.fileno(), self._end)


def _clusters_with_data(descriptor: int, disk_bytes: int, cluster_bytes: int) -> t.Iterator[int]:
    """Numbers of the clusters that are not wholly holes of the raw file."""
    position = 0
    while position < disk_bytes:
        try:
            begin = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(descriptor, begin, os.SEEK_HOLE)
        first = max(begin // cluster_bytes, -(-position // cluster_bytes))
        last = (end - 1) // cluster_bytes
        yield from range(first, last + 1)
        position = (last + 1) * cluster_bytes
