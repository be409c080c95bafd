# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import bundle, codecs, segments, writer
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    CODEC_DEFLATE,
    CODEC_RAW,
    CODEC_ZSTD,
    SegmentRef,
    chunk_rows,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.reuse import KnownChunks
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import (
    CHUNK,
    IMAGE,
    PACK,
    MemoryStorage,
    hds_head,
    index_of,
    known_of,
    make_bundle,
    noise,
    pack,
    text,
    write_file,
)

IMAGE_BYTES = b"".join((noise(1, 3 * CHUNK), bytes(2 * CHUNK), text(2, 5 * CHUNK), noise(1, CHUNK), noise(3, 1234)))


@pytest.fixture(name="root")
def root_fixture(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "Runner.pvm", {IMAGE: IMAGE_BYTES, "second": noise(1, CHUNK), "third": text(2, 100)})


@pytest.fixture(name="storage")
def storage_fixture() -> MemoryStorage:
    return MemoryStorage()


def rows_of(storage: MemoryStorage, segment: SegmentRef) -> list[segments.TrailerRow]:
    return segments.fetch_trailer(lambda offset, length: storage.fetch(segment, offset, length), segment.size)


# What is written


def test_what_is_written_can_be_read(root: Path, storage: MemoryStorage) -> None:
    written = pack(root, storage)
    read = index_of(written)
    assert (read.listing, read.locator) == (written.listing, written.locator)
    assert read.listing.digest == written.listing.digest


def test_each_distinct_chunk_is_stored_once_and_holes_are_not(root: Path, storage: MemoryStorage) -> None:
    written = pack(root, storage, segment_bytes=2 * CHUNK)
    stored = [row for segment in written.locator.segments for row in rows_of(storage, segment)]
    rows = chunk_rows(written.listing)
    assert [row.identity for row in stored] == list(rows.row_of)
    assert bytes(32) not in {row.identity for row in stored}
    assert len(storage.objects) == len(written.locator.segments) > 1


def test_what_was_written_is_counted(root: Path, storage: MemoryStorage) -> None:
    written = pack(root, storage)
    rows = chunk_rows(written.listing)
    assert (written.new_chunks, written.new_bytes) == (len(rows.first), rows.data_bytes)
    assert written.new_encoded_bytes == written.locator.stored_bytes
    assert (written.reused_chunks, written.reused_bytes) == (0, 0)


def test_segments_are_filled_to_their_size(root: Path, storage: MemoryStorage) -> None:
    pack(root, storage, codec=CODEC_RAW, segment_bytes=3 * CHUNK)
    sizes = sorted(map(len, storage.objects.values()))
    assert sizes[-1] < 4 * CHUNK + 1000
    assert len([size for size in sizes if size < 3 * CHUNK]) <= 1


def test_the_chunks_of_a_segment_have_their_digests(root: Path, storage: MemoryStorage) -> None:
    written = pack(root, storage, codec=CODEC_ZSTD)
    for segment in written.locator.segments:
        data = storage.objects[segment.sha256]
        assert hashlib.sha256(data).hexdigest() == segment.sha256
        assert data[:8] == segments.MAGIC
        for row in rows_of(storage, segment):
            raw = codecs.decode(row.codec, data[row.offset : row.offset + row.length], row.raw_length)
            assert hashlib.sha256(raw).digest() == row.identity


@pytest.mark.parametrize("codec", [CODEC_RAW, CODEC_DEFLATE, CODEC_ZSTD])
def test_the_same_segments_come_of_any_number_of_workers(root: Path, codec: int) -> None:
    made = []
    for workers in (1, 2, 5):
        storage = MemoryStorage()
        written = pack(root, storage, codec=codec, segment_bytes=2 * CHUNK, workers=workers)
        made.append((written.locator, sorted(storage.objects)))
    assert made[0] == made[1] == made[2]


def test_the_digest_depends_on_the_content_alone(root: Path) -> None:
    digests = {
        pack(root, MemoryStorage(), codec=codec, segment_bytes=size, workers=workers).listing.digest
        for codec, size, workers in ((0, 1, 1), (1, CHUNK, 2), (2, 1 << 30, 3))
    }
    assert len(digests) == 1
    assert pack(root, MemoryStorage(), chunk_size=2 * CHUNK).listing.digest not in digests


def test_a_pass_without_storing_sees_the_same(root: Path) -> None:
    snapshot = bundle.inspect(str(root), CHUNK)
    encode = codecs.make_encoder(CODEC_DEFLATE, 1)
    written = pack(root, MemoryStorage())
    scan = writer.scan(snapshot, KnownChunks(), encode)
    assert scan.listing.digest == written.listing.digest
    assert (scan.new_chunks, scan.new_bytes) == (written.new_chunks, written.new_bytes)
    # Every chunk is in the sample of so small a bundle.
    assert scan.encoded_bytes == written.new_encoded_bytes
    assert writer.scan(snapshot, KnownChunks()).encoded_bytes == 0


def test_the_estimate_of_many_chunks_is_near(tmp_path: Path) -> None:
    pieces = [noise(n, CHUNK // 2) + bytes(CHUNK // 2) if n % 3 else text(n, CHUNK) for n in range(600)]
    root = make_bundle(tmp_path / "A.pvm", {IMAGE: b"".join(pieces)})
    written = pack(root, MemoryStorage())
    scan = writer.scan(bundle.inspect(str(root), CHUNK), KnownChunks(), codecs.make_encoder(CODEC_DEFLATE, 1))
    assert abs(scan.encoded_bytes - written.new_encoded_bytes) < written.new_encoded_bytes / 20


def test_progress_adds_up_to_all_bytes_and_stays_in_the_thread_of_the_caller(root: Path) -> None:
    snapshot = bundle.inspect(str(root), CHUNK)
    seen: list[int] = []
    threads: set[int] = set()

    def advance(count: int) -> None:
        seen.append(count)
        threads.add(threading.get_ident())

    writer.write_pack(snapshot, KnownChunks(), codecs.make_encoder(0, 1), MemoryStorage().put, advance=advance)
    writer.scan(snapshot, KnownChunks(), advance=advance)
    assert sum(seen) == 2 * snapshot.logical_bytes
    assert threads == {threading.get_ident()}


def test_an_empty_disk_makes_no_segment(tmp_path: Path) -> None:
    root = make_bundle(tmp_path / "A.pvm", {IMAGE: bytes(64 << 20)})
    known = known_of(pack(root, MemoryStorage()))
    storage = MemoryStorage()
    written = pack(root, storage, known=known)
    assert storage.objects == {}
    assert written.new_chunks == 0
    assert index_of(written).listing.digest == written.listing.digest


# What is known already


def test_a_second_version_stores_what_changed_alone(root: Path, storage: MemoryStorage) -> None:
    first = pack(root, storage)
    write_file(root / IMAGE, IMAGE_BYTES[:CHUNK] + noise(7, CHUNK) + IMAGE_BYTES[2 * CHUNK :])
    before = set(storage.objects)
    second = pack(root, storage, known=known_of(first))
    assert (second.new_chunks, second.new_bytes) == (1, CHUNK)
    assert second.reused_chunks == len(chunk_rows(second.listing).first) - 1
    assert len(set(storage.objects) - before) == 1
    assert {segment.sha256 for segment in second.locator.segments} <= set(storage.objects)
    scan = writer.scan(bundle.inspect(str(root), CHUNK), known_of(first))
    assert (scan.new_chunks, scan.new_bytes) == (1, CHUNK)
    assert (scan.reused_chunks, scan.reused_bytes) == (second.reused_chunks, second.reused_bytes)
    index_of(second)


def test_clusters_of_an_image_keep_their_digest_when_its_header_grows(root: Path, storage: MemoryStorage) -> None:
    clusters = noise(1, 4 * CHUNK)
    write_file(root / IMAGE, hds_head(512) + clusters)
    first = pack(root, storage)
    write_file(root / IMAGE, hds_head(200 * 512) + clusters)
    assert pack(root, storage, known=known_of(first)).new_bytes == 200 * 512


def test_the_same_content_again_stores_nothing(root: Path, storage: MemoryStorage) -> None:
    first = pack(root, storage)
    before = dict(storage.objects)
    again = pack(root, storage, known=known_of(first), codec=CODEC_ZSTD)
    assert storage.objects == before
    assert again.locator == first.locator
    assert again.listing.digest == first.listing.digest


def test_an_upload_is_resumed_from_the_trailers_of_its_segments(root: Path) -> None:
    whole = MemoryStorage()
    complete = pack(root, whole, segment_bytes=2 * CHUNK)
    for lost in range(len(complete.locator.segments)):
        storage, known = MemoryStorage(), KnownChunks()
        for number, segment in enumerate(complete.locator.segments):
            if number != lost:
                storage.objects[segment.sha256] = whole.objects[segment.sha256]
                known.add_trailer(segment, rows_of(storage, segment))
        again = pack(root, storage, segment_bytes=2 * CHUNK, known=known)
        missing = rows_of(whole, complete.locator.segments[lost])
        assert again.new_chunks == len(missing)
        assert again.new_bytes == sum(row.raw_length for row in missing)
        assert again.listing.digest == complete.listing.digest
        assert storage.objects.keys() == whole.objects.keys()


def test_a_push_that_was_cut_off_goes_on_where_it_was(root: Path) -> None:
    storage = MemoryStorage()
    stored: list[SegmentRef] = []
    lock = threading.Lock()

    def put(data: bytes) -> SegmentRef:
        with lock:
            if len(stored) == 2:
                raise ConnectionResetError("the cable was pulled")
            stored.append(storage.put(data))
            return stored[-1]

    snapshot = bundle.inspect(str(root), CHUNK)
    encode = codecs.make_encoder(CODEC_DEFLATE, 1)
    before = threading.active_count()
    with pytest.raises(ConnectionResetError):
        writer.write_pack(snapshot, KnownChunks(), encode, put, segment_bytes=CHUNK)
    assert threading.active_count() == before
    known = KnownChunks()
    for segment in stored:
        known.add_trailer(segment, rows_of(storage, segment))
    resumed = pack(root, storage, known=known, segment_bytes=CHUNK)
    assert resumed.new_chunks == len(chunk_rows(resumed.listing).first) - len(known)
    assert resumed.listing.digest == pack(root, MemoryStorage()).listing.digest
    index_of(resumed)


def test_a_chunk_that_was_placed_is_not_encoded_again(tmp_path: Path) -> None:
    root = make_bundle(tmp_path / "A.pvm", {IMAGE: noise(1, CHUNK) * 1000})
    encoded: list[int] = []

    def encode(data: codecs.Buffer) -> tuple[int, bytes]:
        encoded.append(len(data))
        return CODEC_RAW, bytes(data)

    snapshot = bundle.inspect(str(root), CHUNK)
    writer.write_pack(snapshot, KnownChunks(), encode, MemoryStorage().put, workers=1)
    # What was read before the first one was placed may be encoded, too: at most a window of 64 chunks each.
    assert encoded.count(CHUNK) <= 6 * 64


# What goes wrong


def test_no_more_segments_are_held_than_are_on_their_way(root: Path) -> None:
    write_file(root / IMAGE, noise(1, 8 << 20))
    held: list[int] = []
    most = []
    lock = threading.Lock()
    storage = MemoryStorage()

    def put(data: bytes) -> SegmentRef:
        with lock:
            held.append(len(data))
            most.append(len(held))
        try:
            return storage.put(data)
        finally:
            with lock:
                held.pop()

    pack(root, storage, segment_bytes=CHUNK)
    writer.write_pack(
        bundle.inspect(str(root), CHUNK), KnownChunks(), codecs.make_encoder(0, 1), put, segment_bytes=CHUNK
    )
    assert max(most) <= 3


@pytest.mark.parametrize("uploads", [1, 5])
def test_so_many_segments_are_stored_at_once(root: Path, uploads: int) -> None:
    write_file(root / IMAGE, noise(1, 8 << 20))
    # The first ones wait for one another: with fewer at once the barrier would break.
    full = threading.Barrier(uploads, timeout=30)
    lock = threading.Lock()
    storage = MemoryStorage()
    storing = most = turn = 0

    def put(data: bytes) -> SegmentRef:
        nonlocal storing, most, turn
        with lock:
            storing, turn = storing + 1, turn + 1
            most = max(most, storing)
            is_first_round = turn <= uploads
        if is_first_round:
            full.wait()
        with lock:
            storing -= 1
        return storage.put(data)

    pack_of = bundle.inspect(str(root), CHUNK), KnownChunks(), codecs.make_encoder(0, 1)
    writer.write_pack(*pack_of, put, segment_bytes=CHUNK, uploads=uploads)
    assert most == uploads


def test_an_error_of_the_encoder_comes_out_as_itself(root: Path) -> None:
    before = threading.active_count()

    def encode(data: codecs.Buffer) -> tuple[int, bytes]:
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        writer.write_pack(bundle.inspect(str(root), CHUNK), KnownChunks(), encode, MemoryStorage().put)
    assert threading.active_count() == before


def test_ids_of_packs_come_from_the_storage(root: Path) -> None:
    storage = MemoryStorage()

    def put(data: bytes) -> SegmentRef:
        return SegmentRef("a" * 32, storage.put(data).sha256, len(data))

    first = pack(root, storage)
    write_file(root / "new", noise(99, 100))
    second: t.Any = writer.write_pack(bundle.inspect(str(root), CHUNK), known_of(first), codecs.make_encoder(1, 1), put)
    assert {segment.pack for segment in second.locator.segments} == {PACK, "a" * 32}
    index_of(second)
