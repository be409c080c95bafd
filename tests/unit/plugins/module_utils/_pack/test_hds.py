# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import struct

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import hds
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import QUICK, hds_header
from hypothesis import given
from hypothesis import strategies as st

BIG = 1 << 30
IN_USE = 0x746F6E59


@pytest.mark.parametrize("magic", [b"WithoutFreeSpace", b"WithouFreSpacExt"])
def test_both_magics_are_known(magic: bytes) -> None:
    unit = 1 << 20 if magic == b"WithouFreSpacExt" else 512
    assert hds.read_header(hds_header(data_sector=2048, magic=magic), BIG) == hds.ImageHeader(
        data_start=1 << 20,
        in_use=False,
        disk_bytes=512 << 20,
        cluster_bytes=1 << 20,
        unit_bytes=unit,
        table_entries=64,
    )


def data_start(head: bytes, size: int = BIG) -> int:
    header = hds.read_header(head, size)
    assert header and not header.in_use
    return header.data_start


@pytest.mark.parametrize("head", [b"", hds_header()[:63], b"\0" * 64, b"withoutfreespace" + bytes(48)])
def test_whatever_else_is_no_image(head: bytes) -> None:
    assert hds.read_header(head, BIG) is None


def test_the_flag_of_an_open_image_is_seen() -> None:
    header = hds.read_header(hds_header(in_use=IN_USE), BIG)
    assert header and header.in_use


def test_another_value_of_the_flag_means_closed() -> None:
    header = hds.read_header(hds_header(in_use=0x312E3276), BIG)
    assert header and not header.in_use


def test_without_a_first_sector_the_data_begin_behind_the_table() -> None:
    assert data_start(hds_header(table_entries=112)) == 512
    assert data_start(hds_header(table_entries=113)) == 1024


@pytest.mark.parametrize(
    ("table_entries", "data_sector", "size"),
    [
        (64, 2048, 1 << 19),  # behind the end of the file
        (1 << 20, 1, BIG),  # inside the table
        (0xFFFFFFFF, 0, 1 << 40),  # a table that no image has
        (64, 0xFFFFFFFF, 1 << 42),  # a header that no image has
    ],
)
def test_a_header_that_cannot_be_true_is_cut_like_any_file(table_entries: int, data_sector: int, size: int) -> None:
    assert data_start(hds_header(table_entries, data_sector), size) == 0


@QUICK
@given(st.binary(min_size=48, max_size=48), st.integers(0, 1 << 45))
def test_any_header_gives_a_data_area_inside_the_file(fields: bytes, size: int) -> None:
    header = hds.read_header(b"WithoutFreeSpace" + fields, size)
    assert header
    assert header.data_start <= size


MIB = 1 << 20


@pytest.mark.parametrize(
    ("magic", "unit"), [(b"WithouFreSpacExt", MIB), (b"WithoutFreeSpace", 512)], ids=["clusters", "sectors"]
)
def test_a_cluster_behind_the_end_is_found(magic: bytes, unit: int) -> None:
    header = hds.read_header(hds_header(magic=magic), BIG)
    assert header
    table = struct.pack("<4I", 3 * MIB // unit, 0, MIB // unit, 2 * MIB // unit)
    assert hds.first_outside(header, 4 * MIB, 0, table) is None
    assert hds.first_outside(header, 4 * MIB - 1, 0, table) == 0
    assert hds.first_outside(header, 3 * MIB - 1, 100, table[4:]) == 102


def test_the_last_cluster_of_a_disk_may_be_short() -> None:
    header = hds.ImageHeader(MIB, False, 5 * MIB // 2, MIB, MIB, 3)
    table = struct.pack("<3I", 1, 2, 3)
    assert hds.first_outside(header, 7 * MIB // 2, 0, table) is None
    assert hds.first_outside(header, 7 * MIB // 2 - 1, 0, table) == 2


def test_a_table_that_ends_within_an_entry_is_read_up_to_there() -> None:
    header = hds.ImageHeader(MIB, False, 8 * MIB, MIB, MIB, 3)
    assert hds.first_outside(header, MIB, 0, b"\0\0\0\0\xff\xff") is None
    assert hds.first_outside(header, MIB, 0, b"") is None
