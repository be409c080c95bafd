# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import QUICK
from hypothesis import given
from hypothesis import strategies as st

SIZES = st.sampled_from([1 << shift for shift in range(16, 23)])


@pytest.mark.parametrize("size", [1 << shift for shift in range(16, 23)])
def test_powers_of_two_from_64_kib_to_4_mib_are_chunk_sizes(size: int) -> None:
    assert chunks.is_chunk_size(size)


@pytest.mark.parametrize("size", [-65536, 0, 1, 32768, 65535, 65537, 98304, 8 << 20])
def test_nothing_else_is_a_chunk_size(size: int) -> None:
    assert not chunks.is_chunk_size(size)


@pytest.mark.parametrize(
    ("size", "data_start", "spans"),
    [
        (0, 0, []),
        (1, 0, [(0, 1)]),
        (65536, 0, [(0, 65536)]),
        (65537, 0, [(0, 65536), (65536, 1)]),
        # A header shorter than a chunk, and a data area that begins where it ends
        (65536 + 512, 512, [(0, 512), (512, 65536)]),
        (131072, 512, [(0, 512), (512, 65536), (66048, 65024)]),
        # A header longer than a chunk
        (262144, 65536 + 1024, [(0, 65536), (65536, 1024), (66560, 65536), (132096, 65536), (197632, 64512)]),
        # A data area that is empty
        (512, 512, [(0, 512)]),
        (131072, 65536, [(0, 65536), (65536, 65536)]),
    ],
)
def test_the_spans_of_a_file(size: int, data_start: int, spans: list[tuple[int, int]]) -> None:
    assert list(chunks.chunk_spans(size, data_start, 65536)) == spans
    assert chunks.chunk_count(size, data_start, 65536) == len(spans)


@QUICK
@given(st.integers(0, 64 << 20), st.data(), SIZES)
def test_the_spans_cover_a_file_without_gap_or_overlap(size: int, data: st.DataObject, chunk_size: int) -> None:
    data_start = data.draw(st.integers(0, size))
    position = 0
    for number, (offset, length) in enumerate(chunks.chunk_spans(size, data_start, chunk_size)):
        assert offset == position
        assert 0 < length <= chunk_size
        start = 0 if offset < data_start else data_start
        assert (offset - start) % chunk_size == 0
        assert not offset < data_start < offset + length
        assert chunks.chunk_span(number, size, data_start, chunk_size) == (offset, length)
        position += length
    assert position == size


@QUICK
@given(st.integers(0, 1 << 48), st.data(), SIZES)
def test_a_span_of_a_huge_file_is_found_without_walking_there(size: int, data: st.DataObject, chunk_size: int) -> None:
    data_start = data.draw(st.integers(0, min(size, 256 << 20)))
    count = chunks.chunk_count(size, data_start, chunk_size)
    if count:
        offset, length = chunks.chunk_span(count - 1, size, data_start, chunk_size)
        assert offset + length == size


LENGTHS = [0, 1, 63, 64, 65, 4095, 65535, 65536, 65537, 1 << 20, (1 << 20) + 1, 4 << 20]


@pytest.mark.parametrize("length", LENGTHS)
def test_zeros_are_a_hole_whatever_their_length(length: int) -> None:
    assert chunks.is_zero(memoryview(bytearray(length)))


@pytest.mark.parametrize("length", [length for length in LENGTHS if length])
def test_a_single_other_byte_makes_data(length: int) -> None:
    for position in (0, length // 2, max(0, length - 2), length - 1, min(63, length - 1), min(64, length - 1)):
        buffer = bytearray(length)
        buffer[position] = 1
        assert not chunks.is_zero(memoryview(buffer))


def test_the_zero_test_looks_at_its_view_alone() -> None:
    buffer = bytearray(b"x" * 100 + bytes(65536) + b"x" * 100)
    assert chunks.is_zero(memoryview(buffer)[100:-100])
    assert not chunks.is_zero(memoryview(buffer)[99:-100])
    assert not chunks.is_zero(memoryview(buffer)[100:-99])


def test_a_chunk_is_named_by_its_sha256() -> None:
    assert chunks.chunk_id(memoryview(b"abc")) == hashlib.sha256(b"abc").digest()
    assert len(chunks.ZERO_CHUNK_ID) == chunks.CHUNK_ID_BYTES


@pytest.mark.parametrize(
    ("logical_bytes", "chunk_size"),
    [
        (0, 256 << 10),
        (512 << 30, 256 << 10),
        ((512 << 30) + 1, 1 << 20),
        (1 << 40, 1 << 20),
        (2 << 40, 1 << 20),
        ((2 << 40) + 1, 4 << 20),
        (1 << 50, 4 << 20),
    ],
)
def test_large_bundles_have_larger_chunks(logical_bytes: int, chunk_size: int) -> None:
    assert chunks.chunk_size_for(logical_bytes) == chunk_size
    assert chunks.is_chunk_size(chunk_size)
