# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The files of deltas. Pure.

What can be checked without the listing of the base is checked here; ``delta_apply.py`` checks the rest.
"""

from __future__ import annotations

import re
import typing as t
from array import array
from itertools import accumulate

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import columns
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta import Changes, Delta, EntryRuns, Patches
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import MalformedIndex
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    CODEC_NAMES,
    FORMAT,
    MAX_CHUNKS,
    MAX_ENTRIES,
    MAX_SEGMENT_BYTES,
    MAX_SEGMENTS,
    MAX_TEXT_BYTES,
    Locator,
    PatchesRef,
    SegmentRef,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import entry_columns, read_entries
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.patches import MAX_PATCHES_BYTES, PATCHES_MAGIC
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.segments import MAGIC as SEGMENT_MAGIC

DELTA_MAGIC = b"MFDELT1\n"
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_PACK_ID = re.compile(r"[0-9a-f]{32}\Z")
_COUNTS = {
    "chunks": MAX_CHUNKS,
    "entries": MAX_ENTRIES,
    "entry_runs": MAX_ENTRIES,
    "objects": MAX_SEGMENTS,
    "patches": MAX_CHUNKS,
    "path_bytes": MAX_TEXT_BYTES,
    "references": MAX_CHUNKS,
    "runs": MAX_CHUNKS,
    "segments": MAX_SEGMENTS,
    "target_bytes": MAX_TEXT_BYTES,
}
# What a reader takes at most for one of each, and how many bytes that costs while it is decoded.
_COSTS = {
    "chunks": (MAX_CHUNKS, 64),
    "entries": (MAX_ENTRIES, 700),
    "entry_runs": (MAX_ENTRIES, 12),
    "objects": (MAX_SEGMENTS, 500),
    "patches": (MAX_CHUNKS, 32),
    "path_bytes": (MAX_TEXT_BYTES, 3),
    "references": (MAX_CHUNKS, 80),
    "runs": (MAX_CHUNKS, 8),
    "segments": (MAX_SEGMENTS, 500),
    "target_bytes": (MAX_TEXT_BYTES, 3),
}
_FIELDS = {"base", "digest", "features", "format", "packs", *_COUNTS}
_MODULUS = 1 << 32
# Where the first chunk of a segment lies.
_FIRST_OFFSET = len(SEGMENT_MAGIC)


def encode_delta(delta: Delta) -> bytes:
    """Return the file of a delta."""
    packs = list(dict.fromkeys(segment.pack for segment in delta.rows.segments))
    header = columns.canonical_json(
        {
            "base": delta.base,
            "chunks": delta.rows.row_total,
            "digest": delta.digest,
            "entries": len(delta.entries.entries),
            "entry_runs": len(delta.entries.firsts),
            "features": [],
            "format": FORMAT,
            "objects": len(delta.patches.objects),
            "packs": packs,
            "patches": delta.patches.total,
            "path_bytes": sum(len(entry.path.encode("utf-8")) for entry in delta.entries.entries),
            "references": len(delta.changes.origins),
            "runs": len(delta.changes.gaps),
            "segments": len(delta.rows.segments),
            "target_bytes": sum(len(entry.target.encode("utf-8")) for entry in delta.entries.entries),
        }
    )
    return columns.encode_file(DELTA_MAGIC, header, _table(delta, packs))


def _table(delta: Delta, packs: t.Sequence[str]) -> t.Iterator[bytes]:
    """Yield the columns, in the order in which they lie in the file."""
    entries, changes, rows, patches = delta.entries, delta.changes, delta.rows, delta.patches
    for column in (entries.firsts, entries.counts, entries.added):
        yield columns.little_endian(column)
    yield from entry_columns(entries.entries)
    for column in (changes.gaps, changes.counts, changes.origins):
        yield columns.little_endian(column)
    yield delta.chunk_ids
    yield b"".join(bytes.fromhex(segment.sha256) for segment in rows.segments)
    yield columns.little_endian(array("Q", [segment.size for segment in rows.segments]))
    yield columns.little_endian(array("I", [packs.index(segment.pack) for segment in rows.segments]))
    yield columns.little_endian(rows.segment_numbers)
    yield columns.little_endian(_gaps(rows))
    yield columns.little_endian(rows.lengths)
    yield rows.codecs
    marks = bytearray(rows.row_total)
    for number in patches.chunks:
        marks[number] = 1
    yield bytes(marks)
    yield columns.little_endian(_differences(patches.bases))
    yield columns.little_endian(patches.lengths)
    yield patches.codecs
    yield b"".join(bytes.fromhex(item.sha256) for item in patches.objects)
    yield columns.little_endian(array("Q", [item.size for item in patches.objects]))
    yield columns.little_endian(_counts(patches))


def decode_delta(data: bytes, pack: str) -> Delta:
    """Read the file of a delta of the pack with this upload id, and check what does not need its base.

    :raises MalformedIndex: it breaks the grammar
    :raises UnsupportedFormat: it needs something that this version does not know
    """
    header, _header_bytes, compressed = columns.split_file(DELTA_MAGIC, data, "delta")
    columns.check_keys(header, _FIELDS, "delta")
    count = {key: columns.bounded(header, key, limit, "delta") for key, limit in _COUNTS.items()}
    for key in ("base", "digest"):
        if not isinstance(header[key], str) or not _SHA256.match(header[key]):
            raise MalformedIndex("The delta does not say to which listings it belongs.")
    table = columns.ColumnReader(compressed, "delta")
    firsts, counts, added = (table.numbers("I", count["entry_runs"]) for _column in range(3))
    runs = EntryRuns(firsts, counts, added, tuple(read_entries(table, header, "delta")))
    changes = Changes(
        table.numbers("I", count["runs"]), table.numbers("I", count["runs"]), table.numbers("I", count["references"])
    )
    chunk_ids = table.raw(32 * count["chunks"])
    rows = _read_rows(table, header, count)
    patches = _read_patches(table, count, pack)
    table.end()
    _check_runs(runs, changes)
    _check_rows(rows)
    return Delta(header["base"], header["digest"], runs, changes, chunk_ids, rows, patches)


def memory_bytes(data: bytes) -> int:
    """Return about how many bytes of memory a delta takes when it is read and applied, beside the listing of its base.

    :raises MalformedIndex, UnsupportedFormat: see ``decode_delta``
    """
    return columns.memory_bytes(DELTA_MAGIC, data[: columns.HEAD_BYTES], "delta", _COSTS)


def _read_rows(table: columns.ColumnReader, header: t.Mapping[str, t.Any], count: t.Mapping[str, int]) -> Locator:
    packs = header["packs"]
    if not isinstance(packs, list) or not all(isinstance(pack, str) and _PACK_ID.match(pack) for pack in packs):
        raise MalformedIndex("The delta names a pack that is not an upload id.")
    names = table.raw(32 * count["segments"])
    sizes = table.numbers("Q", count["segments"])
    pack_numbers = table.numbers("I", count["segments"])
    if list(dict.fromkeys(pack_numbers)) != list(range(len(packs))) or len(set(packs)) != len(packs):
        raise MalformedIndex("The packs of the delta are not those of its segments.")
    segments = tuple(
        SegmentRef(packs[pack], names[number * 32 : number * 32 + 32].hex(), size)
        for number, (pack, size) in enumerate(zip(pack_numbers, sizes))
    )
    numbers = table.numbers("I", count["chunks"])
    gaps = table.numbers("I", count["chunks"])
    lengths = table.numbers("I", count["chunks"])
    codecs = table.raw(count["chunks"])
    return Locator(header["digest"], segments, numbers, _offsets(numbers, gaps, lengths), lengths, codecs)


def _read_patches(table: columns.ColumnReader, count: t.Mapping[str, int], pack: str) -> Patches:
    marks = table.raw(count["chunks"])
    chunk_numbers = array("I", (number for number, mark in enumerate(marks) if mark))
    if len(chunk_numbers) != count["patches"] or marks.translate(None, b"\0\1"):
        raise MalformedIndex("The delta does not have a patch for each chunk that it says has one.")
    bases = _sums(table.numbers("I", count["patches"]))
    lengths = table.numbers("I", count["patches"])
    codecs = table.raw(count["patches"])
    if any(codec not in CODEC_NAMES for codec in codecs):
        raise MalformedIndex("A patch of the delta has an unknown codec.")
    names = table.raw(32 * count["objects"])
    sizes = table.numbers("Q", count["objects"])
    totals = table.numbers("I", count["objects"])
    objects = tuple(
        PatchesRef(pack, names[number * 32 : number * 32 + 32].hex(), size) for number, size in enumerate(sizes)
    )
    if len({item.sha256 for item in objects}) != len(objects):
        raise MalformedIndex("The delta names an object of patches twice.")
    return _placed(objects, totals, chunk_numbers, bases, lengths, codecs)


def _placed(
    objects: tuple[PatchesRef, ...],
    totals: array[int],
    chunk_numbers: array[int],
    bases: array[int],
    lengths: array[int],
    codecs: bytes,
) -> Patches:
    """Return patches with their places: each begins where the one before it ends, and the last one ends its object."""
    numbers, offsets = array("I"), array("I")
    patch = 0
    for number, (item, total) in enumerate(zip(objects, totals)):
        if not 0 < total <= len(lengths) - patch or item.size > MAX_PATCHES_BYTES:
            raise MalformedIndex(f"The object of patches {item.sha256} has an impossible size or number of patches.")
        position = len(PATCHES_MAGIC)
        for length in lengths[patch : patch + total]:
            numbers.append(number)
            offsets.append(min(position, _MODULUS - 1))
            position += length
        if position != item.size:
            raise MalformedIndex(f"The object of patches {item.sha256} is shorter or longer than its patches.")
        patch += total
    if patch != len(lengths):
        raise MalformedIndex("The delta has patches that lie in none of its objects.")
    return Patches(objects, chunk_numbers, bases, lengths, codecs, numbers, offsets)


def _check_runs(runs: EntryRuns, changes: Changes) -> None:
    if sum(runs.added) != len(runs.entries):
        raise MalformedIndex("The runs of entries of the delta are shorter or longer than its entries.")
    total = sum(runs.counts) + len(runs.entries)
    if total > MAX_ENTRIES:
        raise MalformedIndex(f"The delta leads to {total} entries, allowed is {MAX_ENTRIES}.")
    if sum(changes.counts) != len(changes.origins) or 0 in changes.counts:
        raise MalformedIndex("The runs of references of the delta are shorter or longer than its references.")
    if any(gap == 0 for gap in changes.gaps[1:]):
        raise MalformedIndex("Two runs of references of the delta should be one.")


def _check_rows(rows: Locator) -> None:
    used = bytearray(len(rows.segments))
    sizes = [segment.size for segment in rows.segments]
    if len({(segment.pack, segment.sha256) for segment in rows.segments}) != len(sizes):
        raise MalformedIndex("The delta names a segment twice.")
    if any(not 0 < size <= MAX_SEGMENT_BYTES for size in sizes):
        raise MalformedIndex("A segment of the delta has an impossible size.")
    for row, (number, offset, length) in enumerate(zip(rows.segment_numbers, rows.offsets, rows.lengths)):
        if number >= len(sizes) or length == 0 or offset + length > sizes[number]:
            raise MalformedIndex(f"Row {row} of the delta does not lie in a segment.")
        if rows.codecs[row] not in CODEC_NAMES:
            raise MalformedIndex(f"Row {row} of the delta has the unknown codec {rows.codecs[row]}.")
        used[number] = 1
    if not all(used):
        raise MalformedIndex("The delta names a segment that it does not use.")


def _gaps(rows: Locator) -> array[int]:
    """Return the offsets of rows as distances: from the end of the row before, or from the first place of a segment."""
    found = array("I")
    before, expected = -1, 0
    for number, offset, length in zip(rows.segment_numbers, rows.offsets, rows.lengths):
        found.append((offset - (expected if number == before else _FIRST_OFFSET)) % _MODULUS)
        before, expected = number, offset + length
    return found


def _offsets(numbers: array[int], gaps: array[int], lengths: array[int]) -> array[int]:
    found = array("I")
    before, expected = -1, 0
    for number, gap, length in zip(numbers, gaps, lengths):
        offset = ((expected if number == before else _FIRST_OFFSET) + gap) % _MODULUS
        found.append(offset)
        before, expected = number, offset + length
    return found


def _differences(column: array[int]) -> array[int]:
    return array("I", ((value - before) % _MODULUS for before, value in zip((0, *column), column)))


def _sums(differences: array[int]) -> array[int]:
    return array("I", (total % _MODULUS for total in accumulate(differences)))


def _counts(patches: Patches) -> array[int]:
    found = array("I", [0]) * len(patches.objects)
    for number in patches.numbers:
        found[number] += 1
    return found
