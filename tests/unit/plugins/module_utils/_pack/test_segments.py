# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import segments
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import MalformedIndex, PackError
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import CODEC_DEFLATE, CODEC_RAW
from ansible_collections.macfleet.parallels.tests.formats import make_vectors
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import QUICK
from hypothesis import given
from hypothesis import strategies as st


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def built(pieces: t.Iterable[bytes]) -> bytes:
    builder = segments.SegmentBuilder()
    for piece in pieces:
        builder.add(sha256(piece), CODEC_RAW, piece, len(piece))
    return builder.finish()


class Tail:
    """Gives ranges of a segment and keeps count."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked: list[tuple[int, int]] = []

    def fetch(self, offset: int, length: int) -> bytes:
        assert 0 <= offset and offset + length <= len(self.data)
        self.asked.append((offset, length))
        return self.data[offset : offset + length]


@QUICK
@given(st.lists(st.binary(min_size=1, max_size=200), max_size=600))
def test_a_trailer_lists_what_was_added(pieces: list[bytes]) -> None:
    data = built(pieces)
    rows = segments.fetch_trailer(Tail(data).fetch, len(data))
    assert [data[row.offset : row.offset + row.length] for row in rows] == pieces
    assert [row.identity for row in rows] == [sha256(piece) for piece in pieces]


def test_a_segment_is_full_with_the_chunk_that_takes_it_to_its_target() -> None:
    builder = segments.SegmentBuilder(target_bytes=1000)
    states = [builder.is_full]
    builder.add(b"1" * 32, CODEC_RAW, bytes(946), 946)
    states.append(builder.is_full)
    builder.add(b"2" * 32, CODEC_RAW, b"!", 1)
    states.append(builder.is_full)
    builder.finish()
    states.append(builder.is_full)
    assert states == [False, False, True, False]


def test_chunks_that_shrink_to_nothing_do_not_make_a_segment_larger_than_it_may_be() -> None:
    builder = segments.SegmentBuilder(target_bytes=100_000)
    added = 0
    while not builder.is_full:
        builder.add(added.to_bytes(32, "big"), CODEC_DEFLATE, b"x", 65536)
        added += 1
    assert len(builder.finish()) < 100_000 + 100


def test_the_next_segment_begins_anew() -> None:
    builder = segments.SegmentBuilder()
    for piece in (b"one", b"two"):
        row = builder.add(sha256(piece), CODEC_RAW, piece, len(piece))
        assert row.offset == 8
        assert builder.finish() == built([piece])


def test_an_ordinary_trailer_takes_one_request_and_a_long_one_two() -> None:
    short, exact, long = (Tail(built(b"%5d" % number for number in range(count))) for count in (3, 363, 364))
    for tail, requests in ((short, 1), (exact, 1), (long, 2)):
        segments.fetch_trailer(tail.fetch, len(tail.data))
        assert len(tail.asked) == requests


@pytest.mark.parametrize("given_bytes", [0, 7, 15, 16, 60, 5000])
def test_storage_that_gives_less_than_was_asked_for_is_no_trailer(given_bytes: int) -> None:
    data = built(b"%5d" % number for number in range(1000))
    with pytest.raises(MalformedIndex):
        segments.fetch_trailer(lambda offset, length: data[len(data) - given_bytes :], len(data))


def test_every_truncation_of_a_segment_is_refused_at_either_end() -> None:
    data = (make_vectors.VECTORS / "segment-raw/segment.bin").read_bytes()
    for length in range(len(data)):
        for piece in (data[:length], data[-length:] if length else b""):
            with pytest.raises(PackError):
                segments.fetch_trailer(Tail(piece).fetch, len(piece))


def test_every_flipped_bit_of_a_trailer_is_refused_or_changes_what_it_says() -> None:
    data = (make_vectors.VECTORS / "segment-raw/segment.bin").read_bytes()
    rows = segments.read_trailer(data, len(data))
    chunks_end = rows[-1].offset + rows[-1].length
    for position in range(chunks_end, len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            try:
                read = segments.fetch_trailer(Tail(bytes(flipped)).fetch, len(data))
            except PackError:
                continue
            assert read != rows


@QUICK
@given(st.binary(max_size=300), st.integers(0, 400))
def test_any_bytes_are_a_trailer_or_a_pack_error(data: bytes, claimed: int) -> None:
    for tail in (data, data + segments.TRAILER_MAGIC, data + b"\1\0\0\0\x2d\0\0\0" + segments.TRAILER_MAGIC):
        for size in (len(tail), claimed):
            try:
                segments.read_trailer(tail, size)
            except PackError:
                pass


@QUICK
@given(st.lists(st.binary(min_size=1, max_size=200), max_size=600), st.randoms())
def test_single_rows_of_a_trailer_are_found_in_any_order(pieces: list[bytes], random: t.Any) -> None:
    data = built(pieces)
    rows = segments.fetch_trailer(Tail(data).fetch, len(data))
    search = segments.TrailerSearch(segments.fetch_tail(Tail(data).fetch, len(data)))
    assert search.count == len(rows)
    assert [search.at(row.offset) for row in rows] == rows
    shuffled = random.sample(rows, len(rows))
    assert [search.at(row.offset) for row in shuffled] == shuffled
    starts = {row.offset for row in rows}
    assert all(search.at(offset) is None for offset in range(40) if offset not in starts)
    assert search.at(len(data)) is None


def test_a_trailer_that_is_cut_off_is_not_searched() -> None:
    data = built([b"one", b"two"])
    with pytest.raises(MalformedIndex):
        segments.TrailerSearch(data[-50:])
    with pytest.raises(MalformedIndex):
        segments.TrailerSearch(b"no segment at all")
