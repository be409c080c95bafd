# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Headers of expandable disk images (``.hds``).

The layout is that of qemu's docs/interop/parallels.txt: little endian, magic at 0, cluster size in sectors
at 28, entries of the allocation table at 32, in-use flag at 44, first sector of the data area at 48, and
the table itself from 64.
"""

from __future__ import annotations

import struct
import typing as t
from dataclasses import dataclass

_MAGICS = (b"WithoutFreeSpace", b"WithouFreSpacExt")
_IN_USE = 0x746F6E59
_SECTOR_BYTES = 512
_TABLE_OFFSET = 64
_HEADER = struct.Struct("<16sIIIIIQIIIQ")
HEADER_BYTES = _HEADER.size
# A table for 64 TiB in 1 MiB clusters; a header that claims more is not believed.
_MAX_DATA_START = 256 << 20


@dataclass(frozen=True)
class ImageHeader:
    """What a header says: start of the data area in bytes (0: not to be used), and whether it is open."""

    data_start: int
    in_use: bool


def read_header(head: bytes, size: int) -> t.Optional[ImageHeader]:
    """The header of an image file of ``size`` bytes from its first 64, or None when it is no such image.

    An image whose data area cannot be told is cut like any other file; only its in-use flag counts.
    """
    if len(head) < HEADER_BYTES or head[:16] not in _MAGICS:
        return None
    fields = _HEADER.unpack_from(head)
    table_entries, in_use, data_sector = fields[5], fields[7], fields[8]
    table_end = _TABLE_OFFSET + 4 * table_entries
    data_start = data_sector * _SECTOR_BYTES or -(-table_end // _SECTOR_BYTES) * _SECTOR_BYTES
    if not table_end <= data_start <= min(size, _MAX_DATA_START):
        data_start = 0
    return ImageHeader(data_start, in_use == _IN_USE)
