# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Headers and allocation tables of expandable disk images (``.hds``). Pure.

The layout is that of qemu's docs/interop/parallels.txt: little endian, magic at 0, cluster size in sectors
at 28, entries of the allocation table at 32, sectors of the disk at 36, in-use flag at 44, first sector of the
data area at 48, and the table itself from 64. An entry of the table is 0 where the disk has a hole, else the place of
a cluster from the start of the file: in clusters with the newer magic, in sectors with the older one.
"""

from __future__ import annotations

import struct
import sys
import typing as t
from array import array
from dataclasses import dataclass

_OLD_MAGIC = b"WithoutFreeSpace"
_MAGICS = (_OLD_MAGIC, b"WithouFreSpacExt")
_IN_USE = 0x746F6E59
_SECTOR_BYTES = 512
TABLE_OFFSET = 64
ENTRY_BYTES = 4
_HEADER = struct.Struct("<16sIIIIIQIIIQ")
HEADER_BYTES = _HEADER.size
# A table for 64 TiB in 1 MiB clusters; a header that claims more is not believed.
_MAX_DATA_START = 256 << 20


@dataclass(frozen=True)
class ImageHeader:
    """What a header says.

    ``data_start`` is the start of the data area in bytes, or 0 if it is not to be used; ``in_use`` says that a virtual
    machine has the image open. ``unit_bytes`` is what an entry of the table counts.
    """

    data_start: int
    in_use: bool
    disk_bytes: int
    cluster_bytes: int
    unit_bytes: int
    table_entries: int

    @property
    def table_end(self) -> int:
        """Offset of the first byte behind the table."""
        return TABLE_OFFSET + ENTRY_BYTES * self.table_entries

    def cluster_end(self, number: int, entry: int) -> int:
        """Offset of the first byte behind a cluster of the disk; the last one may be short."""
        length = min(self.cluster_bytes, max(1, self.disk_bytes - number * self.cluster_bytes))
        return entry * self.unit_bytes + length


def read_header(head: bytes, size: int) -> t.Optional[ImageHeader]:
    """Returns the header of an image file of ``size`` bytes from its first 64, or None if it is not such an image.

    An image whose data area cannot be told is cut like any other file; only its in-use flag counts.
    """
    if len(head) < HEADER_BYTES or head[:16] not in _MAGICS:
        return None
    fields = _HEADER.unpack_from(head)
    cluster_sectors, table_entries, disk_sectors, in_use, data_sector = fields[4:9]
    is_old = fields[0] == _OLD_MAGIC
    table_end = TABLE_OFFSET + ENTRY_BYTES * table_entries
    data_start = data_sector * _SECTOR_BYTES or -(-table_end // _SECTOR_BYTES) * _SECTOR_BYTES
    if not table_end <= data_start <= min(size, _MAX_DATA_START):
        data_start = 0
    cluster_bytes = cluster_sectors * _SECTOR_BYTES
    return ImageHeader(
        data_start,
        in_use == _IN_USE,
        # The older format has 32 bits for it.
        (disk_sectors & 0xFFFFFFFF if is_old else disk_sectors) * _SECTOR_BYTES,
        cluster_bytes,
        _SECTOR_BYTES if is_old else cluster_bytes,
        table_entries,
    )


def first_outside(header: ImageHeader, size: int, first: int, packed: bytes) -> t.Optional[int]:
    """Returns the first cluster of the disk that does not lie inside of a file of ``size`` bytes, or None.

    ``packed`` is a part of the table that begins with the entry ``first``. ``qemu-img check`` calls such an image
    corrupt, too (``parallels_check_outside_image``).
    """
    entries = array("I")
    entries.frombytes(packed[: len(packed) // ENTRY_BYTES * ENTRY_BYTES])
    if sys.byteorder == "big":
        entries.byteswap()
    # Nearly always nothing is wrong, and then one comparison of the largest entry is enough.
    if not entries or max(entries) * header.unit_bytes + header.cluster_bytes <= size:
        return None
    for number, entry in enumerate(entries, first):
        if entry and header.cluster_end(number, entry) > size:
            return number
    return None
