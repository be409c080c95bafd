# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure what the chunk size costs and saves, on a real file system image with two histories.

Prints the Markdown tables of docs/chunk-size.md. Run it with the collection on the
Python path, and give ``--work`` a directory with room for two images.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import typing as t
from array import array

from ansible_collections.macfleet.parallels.plugins.module_utils._base import pipeline
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks, codecs, index
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index_file import decode_index, encode_index
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import encode_listing, make_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import encode_locator
from ansible_collections.macfleet.parallels.tests.support.guest_disk import Change, GuestDisk

KIB = 1024
MIB = 1 << 20
GIB = 1 << 30
CHUNK_SIZES = (64 * KIB, 256 * KIB, 1024 * KIB)
SEGMENT_BYTES = 32 * MIB
# What a worker is handed at a time, whatever the chunk size: the hand-over must not be what is measured.
ORDER_BYTES = MIB


class Piece(t.NamedTuple):
    """One chunk as a worker saw it."""

    identity: bytes
    raw_bytes: int
    encoded_bytes: int
    codec: int


def examine(image: str, chunk_size: int, codec: int, known: t.AbstractSet[bytes] = frozenset()) -> t.List[Piece]:
    """Read, test for zeros, hash, and encode what is not in ``known``, in as many threads as cores."""
    size = os.path.getsize(image)
    encode = codecs.make_encoder(codec, codecs.DEFAULT_LEVEL)
    workers = pipeline.core_count()
    buffers = pipeline.BufferPool(ORDER_BYTES)
    with open(image, "rb", buffering=0) as stream:

        def look_at_piece(view: memoryview) -> Piece:
            if chunks.is_zero(view):
                return Piece(chunks.ZERO_CHUNK_ID, len(view), 0, 0)
            identity = chunks.chunk_id(view)
            if identity in known:
                return Piece(identity, len(view), 0, 0)
            used, encoded = encode(view)
            return Piece(identity, len(view), len(encoded), used)

        def look(offset: int) -> t.List[Piece]:
            buffer = buffers.take()
            try:
                order = memoryview(buffer)[: size - offset]
                if os.preadv(stream.fileno(), [order], offset) != len(order):
                    raise OSError(f"{image} became shorter")
                return [look_at_piece(order[at : at + chunk_size]) for at in range(0, len(order), chunk_size)]
            finally:
                buffers.give_back(buffer)

        found = pipeline.ordered_map(look, range(0, size, ORDER_BYTES), workers=workers, window=2 * workers)
        return [piece for order in found for piece in order]


def make_index(pieces: t.Sequence[Piece], image_bytes: int, chunk_size: int) -> t.Tuple[bytes, bytes]:
    """The real listing and locator of an image whose chunks are ``pieces``."""
    identities = b"".join(piece.identity for piece in pieces)
    entry = index.Entry(index.FILE, "disk0.hdd/disk0.hds", size=image_bytes, chunk_count=len(pieces))
    directory = index.Entry(index.DIRECTORY, "disk0.hdd")
    listing = make_listing(chunk_size, [directory, entry], identities)
    seen: t.Set[bytes] = {chunks.ZERO_CHUNK_ID}
    segments: t.List[index.SegmentRef] = []
    numbers, offsets, lengths, used = array("I"), array("I"), array("I"), bytearray()
    fill = 0
    for piece in pieces:
        if piece.identity in seen:
            continue
        seen.add(piece.identity)
        if not segments or fill + piece.encoded_bytes > SEGMENT_BYTES:
            number = len(segments)
            segments.append(index.SegmentRef("0" * 32, f"{number:064x}", SEGMENT_BYTES + MIB))
            fill = 0
        numbers.append(len(segments) - 1)
        offsets.append(fill)
        lengths.append(piece.encoded_bytes)
        used.append(piece.codec)
        fill += piece.encoded_bytes
    locator = index.Locator(listing.digest, tuple(segments), numbers, offsets, lengths, bytes(used))
    return encode_listing(listing), encode_locator(locator)


def push_and_read_back(image: str, chunk_size: int, codec: int) -> t.Dict[str, t.Any]:
    """One whole cold pass and its index, in this process; what it took and how much memory."""
    begun, cpu_begun = time.monotonic(), time.process_time()
    pieces = examine(image, chunk_size, codec)
    elapsed, cpu = time.monotonic() - begun, time.process_time() - cpu_begun
    listing_file, locator_file = make_index(pieces, os.path.getsize(image), chunk_size)
    index_begun = time.process_time()
    checked = decode_index(encode_index(listing_file, locator_file))
    index_seconds = time.process_time() - index_begun
    rows = index.chunk_rows(checked.listing)
    return {
        "references": checked.listing.chunk_total,
        "distinct": checked.locator.row_total,
        "data_bytes": rows.data_bytes,
        "encoded_bytes": checked.locator.stored_bytes,
        "index_bytes": len(listing_file) + len(locator_file),
        "elapsed_seconds": elapsed,
        "cpu_seconds": cpu,
        "index_seconds": index_seconds,
        "provider": codecs.best_provider(codec).name,
        "peak_bytes": peak_bytes(),
    }


def peak_bytes() -> int:
    """Most memory that this process ever had; ru_maxrss would count what its parent had before exec."""
    with open("/proc/self/status", encoding="ascii") as stream:
        line = next(line for line in stream if line.startswith("VmHWM:"))
    return int(line.split()[1]) * KIB


def in_own_process(image: str, chunk_size: int) -> t.Dict[str, t.Any]:
    """``push_and_read_back`` in fresh processes, so that its peak memory is its own; the fastest of three."""
    argv = [sys.executable, __file__, "--one", image, str(chunk_size)]
    runs = [json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout) for unused in range(3)]
    return min(runs, key=lambda run: run["cpu_seconds"])


def measure_history(
    before: str, work: str, state: str, step: t.Callable[[GuestDisk], Change], base: t.Mapping[int, t.Set[bytes]]
) -> t.Tuple[Change, t.Dict[int, t.Tuple[int, int, int]]]:
    """Apply one history to a copy of the image: chunk size → (changed chunks, raw bytes, encoded bytes)."""
    after, after_state = os.path.join(work, "after.img"), os.path.join(work, "after.json")
    subprocess.run(["cp", "--reflink=auto", "--sparse=always", before, after], check=True)
    shutil.copy(state, after_state)
    try:
        change = step(GuestDisk.load(after, after_state))
        found = {}
        for chunk_size in CHUNK_SIZES:
            known = base[chunk_size]
            pieces = examine(after, chunk_size, index.CODEC_DEFLATE, known)
            changed = {piece.identity: piece for piece in pieces if piece.encoded_bytes}
            found[chunk_size] = (
                len(changed),
                sum(piece.raw_bytes for piece in changed.values()),
                sum(piece.encoded_bytes for piece in changed.values()),
            )
        return change, found
    finally:
        os.unlink(after)
        os.unlink(after_state)


HISTORIES: t.Tuple[t.Tuple[str, t.Callable[[GuestDisk], Change]], ...] = (
    ("update, 1 % of the bytes, directories", lambda disk: disk.update(0.01)),
    ("update, 5 % of the bytes, directories", lambda disk: disk.update(0.05)),
    ("update, 1 % of the bytes, single files", lambda disk: disk.update(0.01, by="file")),
    ("boot, 2000 scattered 4 KiB writes", lambda disk: disk.boot(2000)),
)


def _name(chunk_size: int) -> str:
    return f"{chunk_size // MIB} MiB" if chunk_size >= MIB else f"{chunk_size // KIB} KiB"


def _mib(count: float) -> str:
    return f"{count / MIB:.1f}" if count < 100 * MIB else f"{count / MIB:.0f}"


def _print_whole(whole: t.Mapping[int, t.Mapping[str, t.Any]]) -> None:
    reference = whole[CHUNK_SIZES[-1]]
    print(
        "| chunk size | distinct chunks | data MiB | encoded MiB | index KiB | index ÷ encoded | peak memory MiB",
        end="",
    )
    print(" | processor time | reading the index |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for chunk_size, row in whole.items():
        print(
            f"| {_name(chunk_size)} | {row['distinct']} | {_mib(row['data_bytes'])} | {_mib(row['encoded_bytes'])} "
            f"| {row['index_bytes'] / KIB:.0f} | {row['index_bytes'] / row['encoded_bytes']:.3%} "
            f"| {_mib(row['peak_bytes'])} | {row['cpu_seconds'] / reference['cpu_seconds']:.2f} × "
            f"| {row['elapsed_seconds'] / reference['elapsed_seconds']:.2f} × | {row['index_seconds'] * 1000:.0f} ms |"
        )


def _print_history(
    title: str,
    change: Change,
    found: t.Mapping[int, t.Tuple[int, int, int]],
    whole: t.Mapping[int, t.Mapping[str, t.Any]],
) -> None:
    for chunk_size, (count, raw_bytes, encoded_bytes) in found.items():
        row = whole[chunk_size]
        moved = encoded_bytes + row["index_bytes"]
        print(
            f"| {title} | {_mib(change.bytes_written)} | {_name(chunk_size)} | {count} | {count / row['distinct']:.1%} "
            f"| {_mib(raw_bytes)} | {_mib(encoded_bytes)} | {_mib(moved)} | {moved / row['encoded_bytes']:.2%} |"
        )


def main() -> None:
    """Make the image if needed, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", default=".build/bench/chunk-sizes", help="directory for the images")
    parser.add_argument("--data-gib", type=float, default=4.3, help="real file data in the image")
    parser.add_argument("--logical-gib", type=float, default=16, help="size of the image")
    parser.add_argument("--one", nargs=2, metavar=("IMAGE", "CHUNK_SIZE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        json.dump(push_and_read_back(arguments.one[0], int(arguments.one[1]), index.CODEC_DEFLATE), sys.stdout)
        return
    os.makedirs(arguments.work, exist_ok=True)
    image, state = os.path.join(arguments.work, "before.img"), os.path.join(arguments.work, "before.json")
    if not os.path.exists(state):
        GuestDisk.create(image, state, int(arguments.logical_gib * GIB), int(arguments.data_gib * GIB))
    disk = GuestDisk.load(image, state)
    whole = {chunk_size: in_own_process(image, chunk_size) for chunk_size in CHUNK_SIZES}
    print(
        f"Image: {os.path.getsize(image) / GIB:.1f} GiB, {len(disk.files)} files, {disk.data_bytes / GIB:.2f} GiB",
        end=" ",
    )
    print(f"of file data; deflate level 1 by {whole[MIB]['provider']}; {pipeline.core_count()} threads.\n")
    _print_whole(whole)
    base = {size: {piece.identity for piece in examine(image, size, index.CODEC_RAW)} for size in CHUNK_SIZES}
    print("\n| history | written MiB | chunk size | changed chunks | of all | raw MiB | encoded MiB", end="")
    print(" | with index MiB | of a cold transfer |")
    print("|---|---:|---|---:|---:|---:|---:|---:|---:|")
    for title, step in HISTORIES:
        change, found = measure_history(image, arguments.work, state, step, base)
        _print_history(title, change, found, whole)


if __name__ == "__main__":
    main()
