# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import json
import struct
import tracemalloc
import typing as t
import zlib
from array import array

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks, columns, index, paths
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import MalformedIndex, PackError
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    DIRECTORY,
    FILE,
    LINK,
    Entry,
    Listing,
    Locator,
    Placement,
    SegmentRef,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index_file import (
    INDEX_MAGIC,
    decode_index,
    encode_index,
    memory_bytes,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import (
    LISTING_MAGIC,
    decode_listing,
    encode_listing,
    make_listing,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import decode_locator, encode_locator
from ansible_collections.macfleet.parallels.tests.formats import craft, make_vectors
from ansible_collections.macfleet.parallels.tests.formats.faults import make_index
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import (
    CHUNK,
    QUICK,
    SLOW,
    listing_of,
    noise,
)
from hypothesis import given
from hypothesis import strategies as st

ZERO = chunks.ZERO_CHUNK_ID
SMALL_INDEX = make_index()


def locator_of(listing: Listing) -> Locator:
    """All chunks of a listing raw, one behind the other, two to a segment."""
    lengths = index.chunk_rows(listing).lengths
    numbers = array("I", (row // 2 for row in range(len(lengths))))
    offsets = array("I", (8 if row % 2 == 0 else 8 + lengths[row - 1] for row in range(len(lengths))))
    segments = tuple(
        SegmentRef(f"{number % 3:032x}", hashlib.sha256(b"%d" % number).hexdigest(), 1 << 20)
        for number in range((len(lengths) + 1) // 2)
    )
    return Locator(listing.digest, segments, numbers, offsets, lengths, bytes(len(lengths)))


def is_refused(data: bytes) -> bool:
    try:
        decode_index(data)
    except PackError:
        return True
    return False


# Any bundle

NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=("Cs", "Cn")), min_size=1, max_size=12
)


@st.composite
def listings(draw: st.DrawFn) -> Listing:
    """Listings with all kinds of entries; names that may not be used are left away."""
    entries: list[Entry] = []
    ids: list[bytes] = []
    names = draw(st.lists(NAMES, max_size=8))
    pool = [ZERO, *(hashlib.sha256(b"%d" % number).digest() for number in range(4))]
    taken: set[str] = set()
    for name in sorted(names, key=lambda name: name.encode()):
        try:
            paths.check_path(name)
        except PackError:
            continue
        if paths.folded(name) in taken:
            continue
        taken.add(paths.folded(name))
        kind = draw(st.sampled_from([DIRECTORY, FILE, LINK]))
        if kind == FILE:
            # Whole chunks only: one id has one length
            count = draw(st.integers(0, 4))
            entries.append(Entry(FILE, name, draw(st.booleans()), count * CHUNK, 0, "", len(ids), count))
            ids += [draw(st.sampled_from(pool)) for _number in range(count)]
        else:
            entries.append(Entry(kind, name, target="target" if kind == LINK else ""))
    return make_listing(CHUNK, entries, b"".join(ids))


@QUICK
@given(listings())
def test_an_index_is_read_as_it_was_written(listing: Listing) -> None:
    locator = locator_of(listing)
    read = decode_index(encode_index(encode_listing(listing), encode_locator(locator)))
    assert read.listing == listing
    assert read.listing.digest == listing.digest
    assert read.locator == locator


@QUICK
@given(listings())
def test_a_listing_is_written_as_the_document_says(listing: Listing) -> None:
    kinds = {DIRECTORY: craft.DIRECTORY, FILE: craft.FILE, LINK: craft.LINK}
    rows = [
        craft.Row(
            kinds[entry.kind],
            entry.path.encode(),
            craft.EXECUTABLE if entry.executable else 0,
            entry.size,
            entry.data_start,
            entry.target.encode(),
        )
        for entry in listing.entries
    ]
    ids = [listing.chunk_id(number) for number in range(listing.chunk_total)]
    canonical = craft.listing_file(craft.listing_header(rows, ids), craft.listing_columns(rows, ids))
    assert hashlib.sha256(canonical).hexdigest() == listing.digest


@QUICK
@given(listings(), st.integers(0, 9), st.sampled_from([zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY, zlib.Z_FIXED]))
def test_the_digest_does_not_depend_on_how_columns_are_compressed(listing: Listing, level: int, strategy: int) -> None:
    data = encode_listing(listing)
    header_end = 12 + int.from_bytes(data[8:12], "little")
    columns = zlib.decompress(data[header_end:], -15)
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15, 8, strategy)
    other = data[:header_end] + compressor.compress(columns) + compressor.flush()
    assert decode_listing(other).digest == listing.digest


def test_all_that_is_listed_changes_the_digest() -> None:
    content = noise(1, 100)
    others = [
        listing_of({}),
        listing_of({"a": content}),
        listing_of({"b": content}),
        listing_of({"a": content[:-1]}),
        listing_of({"a": content}, [Entry(FILE, "a", executable=True, size=100)]),
        listing_of({"a": content}, [Entry(DIRECTORY, "b")]),
        listing_of({"a": content}, [Entry(LINK, "b", target="a")]),
        listing_of({"a": content}, [Entry(LINK, "b", target="c")]),
        listing_of({"a": b"", "b": content}),
        listing_of({"a": bytes(100)}),
        listing_of({"a": bytes(101)}),
        make_listing(2 * CHUNK, listing_of({"a": content}).entries, listing_of({"a": content}).chunk_ids),
    ]
    assert len({listing.digest for listing in others}) == len(others)


def test_the_start_of_the_data_area_is_part_of_the_digest() -> None:
    # Holes only, so that the chunk ids are the same
    def made(data_start: int) -> Listing:
        entry = Entry(FILE, "a.hds", size=2 * CHUNK, data_start=data_start, chunk_count=3)
        return make_listing(CHUNK, [entry], 3 * ZERO)

    assert made(512).digest != made(1024).digest


# Damage: every prefix, every flipped byte


def test_every_prefix_of_an_index_is_refused() -> None:
    assert not is_refused(SMALL_INDEX)
    for length in range(len(SMALL_INDEX)):
        assert is_refused(SMALL_INDEX[:length]), length


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80, 0xFF])
def test_every_flipped_byte_of_an_index_is_refused_or_leaves_the_listing_as_it_was(mask: int) -> None:
    good = decode_index(SMALL_INDEX)
    for position in range(len(SMALL_INDEX)):
        flipped = bytearray(SMALL_INDEX)
        flipped[position] ^= mask
        try:
            read = decode_index(bytes(flipped))
        except PackError:
            continue
        # Nothing of the listing can change without its digest, which the locator repeats.
        assert read.listing == good.listing, position


@pytest.mark.parametrize("case", ["pack-raw", "pack-deflate-zlib"])
def test_every_flipped_byte_of_a_larger_index_is_accepted_or_refused(case: str) -> None:
    data = (make_vectors.VECTORS / case / "index.bin").read_bytes()
    digest = decode_index(data).listing.digest
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 0x10
        try:
            assert decode_index(bytes(flipped)).listing.digest == digest
        except PackError:
            pass


def test_every_inserted_or_removed_byte_is_refused() -> None:
    for position in range(len(SMALL_INDEX) + 1):
        assert is_refused(SMALL_INDEX[:position] + b"\0" + SMALL_INDEX[position:])
        assert is_refused(SMALL_INDEX[:position] + SMALL_INDEX[position + 1 :]) or position == len(SMALL_INDEX)


@QUICK
@given(st.binary(max_size=200))
def test_any_bytes_are_an_index_or_a_pack_error(data: bytes) -> None:
    for candidate in (data, INDEX_MAGIC + data, SMALL_INDEX[:28] + data, SMALL_INDEX[:40] + data):
        assert is_refused(candidate)
    for candidate in (data, LISTING_MAGIC + data):
        with pytest.raises(PackError):
            decode_listing(candidate)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@QUICK
@given(st.sampled_from(sorted(craft.listing_header([], []))), JSON)
def test_any_value_of_a_field_is_accepted_or_refused(key: str, value: t.Any) -> None:
    header = {**craft.listing_header([], []), key: value}
    data = craft.listing_file(json.dumps(header, sort_keys=True, separators=(",", ":")).encode(), craft.stored(b""))
    try:
        read = decode_listing(data)
    except PackError:
        return
    assert header == {**craft.listing_header([], []), "chunk_size": read.chunk_size}
    assert make_listing(read.chunk_size, read.entries, read.chunk_ids).digest == read.digest


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_a_header_nested_at_any_depth_is_refused(bracket: str) -> None:
    closing = "]" if bracket == "[" else "}"
    plain = craft.canonical_json(craft.listing_header([], [])).decode()
    for depth in (*range(900, 1010), 5000, 100_000):
        nested = f"{bracket * depth}1{closing * depth}"
        for header in (nested, '{"a":' + nested + "," + plain[1:], plain.replace("[]", f"[{nested}]")):
            with pytest.raises(PackError):
                decode_listing(craft.listing_file(header.encode(), craft.stored(b"")))


def test_what_a_header_quotes_does_not_fill_a_message() -> None:
    for key, value in (("entries", "x" * 100_000), ("features", ["x" * 64] * 10_000), ("format", 10**4000)):
        header = craft.canonical_json({**craft.listing_header([], []), key: value})
        with pytest.raises(PackError) as caught:
            decode_listing(craft.listing_file(header, craft.stored(b"")))
        assert len(str(caught.value)) < 1000


# Records


def test_rows_are_in_order_of_first_appearance() -> None:
    one, two = noise(1, CHUNK), noise(2, CHUNK)
    listing = listing_of({"a": one + bytes(CHUNK) + two + one, "b": two + b"short"})
    rows = index.chunk_rows(listing)
    assert list(rows.first) == [0, 2, 5]
    assert list(rows.lengths) == [CHUNK, CHUNK, 5]
    assert rows.row_of == {hashlib.sha256(content).digest(): row for row, content in enumerate((one, two, b"short"))}
    assert rows.data_bytes == 2 * CHUNK + 5
    assert listing.logical_bytes == 5 * CHUNK + 5
    assert listing.file_total == 2
    assert listing.chunk_total == 6


def test_a_placement_is_taken_from_the_columns() -> None:
    listing = listing_of({"a": noise(1, CHUNK) + noise(2, CHUNK) + noise(3, CHUNK)})
    locator = locator_of(listing)
    assert locator.placement(1) == Placement(locator.segments[0], 8 + CHUNK, CHUNK, 0)
    assert locator.placement(2) == Placement(locator.segments[1], 8, CHUNK, 0)
    assert locator.stored_bytes == 3 * CHUNK
    assert locator.row_total == 3


def test_a_listing_is_checked_when_it_is_made() -> None:
    for entries, ids, reason in (
        ([Entry(FILE, "b"), Entry(FILE, "a")], b"", "does not come after"),
        ([Entry(FILE, "a", size=1, chunk_count=1)], b"", "as many chunks"),
        ([Entry(FILE, "a", size=1, first_chunk=1, chunk_count=1)], ZERO, "do not follow"),
        ([Entry(FILE, "a/b")], b"", "not in the listing"),
    ):
        with pytest.raises(MalformedIndex, match=reason):
            make_listing(CHUNK, entries, ids)


def test_a_locator_is_read_with_its_own_listing_only() -> None:
    one, two = listing_of({"a": noise(1, 10)}), listing_of({"a": noise(2, 10)})
    with pytest.raises(MalformedIndex, match="belongs to"):
        decode_locator(encode_locator(locator_of(one)), two, index.chunk_rows(two))


@SLOW
@given(st.integers(1, 5), st.integers(0, 2))
def test_packs_of_a_locator_are_sorted_whatever_the_order_of_segments(count: int, turn: int) -> None:
    listing = listing_of({f"{number}": noise(number + 1, 50) for number in range(2 * count)})
    locator = locator_of(listing)
    segments = tuple(
        SegmentRef(f"{(number * 7 + turn) % 11:032x}", segment.sha256, segment.size)
        for number, segment in enumerate(locator.segments)
    )
    moved = Locator(locator.digest, segments, locator.segment_numbers, locator.offsets, locator.lengths, locator.codecs)
    assert decode_locator(encode_locator(moved), listing, index.chunk_rows(listing)) == moved


def test_a_bomb_of_columns_does_not_fill_the_memory() -> None:
    bomb = craft.zeros_without_end(1_000_000)  # 258 MB of zeros
    data = craft.listing_file(craft.listing_header([craft.Row(1, b"a")], []), bomb)
    tracemalloc.start()
    try:
        with pytest.raises(MalformedIndex, match="shorter or longer"):
            decode_listing(data)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(data)
    finally:
        tracemalloc.stop()


# How much memory it takes, told by the headers


def _of_directories(count: int) -> Listing:
    return make_listing(CHUNK, [Entry(DIRECTORY, f"{'a' * 60}{number:07}") for number in range(count)], b"")


def _of_holes(count: int) -> Listing:
    return make_listing(CHUNK, [Entry(FILE, "a", size=count * CHUNK, chunk_count=count)], ZERO * count)


@pytest.mark.parametrize("listing", [_of_directories(20_000), _of_holes(200_000)], ids=["directories", "holes"])
def test_the_headers_tell_what_an_index_needs(listing: Listing) -> None:
    data = encode_index(encode_listing(listing), encode_locator(locator_of(listing)))
    tracemalloc.start()
    decode_index(data)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.7 < memory_bytes(data) / peak < 3


@pytest.mark.parametrize(
    "data", [b"", INDEX_MAGIC, INDEX_MAGIC + bytes(16), SMALL_INDEX[:-1], encode_index(b"a", b"b")]
)
def test_what_is_no_index_has_no_headers(data: bytes) -> None:
    with pytest.raises(MalformedIndex):
        memory_bytes(data)


def test_the_headers_are_bounded() -> None:
    assert 0 < memory_bytes(SMALL_INDEX) < 1 << 20
    (length,) = struct.unpack_from("<I", SMALL_INDEX, 28 + 8)
    header = json.loads(SMALL_INDEX[40 : 40 + length])
    for fields in ({**header, "entries": 1 << 40}, {**header, "entries": -1}, {"features": [], "format": 1}):
        listing = columns.encode_file(LISTING_MAGIC, columns.canonical_json(fields), [])
        with pytest.raises(MalformedIndex):
            memory_bytes(encode_index(listing, SMALL_INDEX[28 + struct.unpack_from("<Q", SMALL_INDEX, 8)[0] :]))
