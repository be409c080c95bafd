# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes deltas and patches by hand, as docs/pack-format.md describes them; broken ones as readily as good ones."""

from __future__ import annotations

import hashlib
import itertools
import struct
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.tests.formats import craft

BLOCK = 4096
MAGIC = b"MFPTCH1\n"

# From the bytes of blocks to (codec, encoded bytes).
Encoder = t.Callable[[bytes], t.Tuple[int, bytes]]


@dataclass(frozen=True)
class Draft:
    """The columns of a delta, unchecked.

    ``entry_runs`` are (first, copied, own), ``runs`` (gap, references), ``segments`` (SHA-256, size, pack number),
    ``placed`` (segment, gap, stored length, codec), ``patches`` (difference, stored length, codec), and ``objects``
    (SHA-256, size, patches).
    """

    base: str
    digest: str
    entry_runs: t.Sequence[tuple[int, int, int]]
    entries: t.Sequence[craft.Row]
    runs: t.Sequence[tuple[int, int]]
    origins: t.Sequence[int]
    ids: t.Sequence[bytes]
    packs: t.Sequence[str]
    segments: t.Sequence[tuple[bytes, int, int]]
    placed: t.Sequence[tuple[int, int, int, int]]
    marks: bytes
    patches: t.Sequence[tuple[int, int, int]]
    objects: t.Sequence[tuple[bytes, int, int]]


def header(draft: Draft) -> craft.Header:
    """The header of a delta."""
    return {
        "base": draft.base,
        "chunks": len(draft.ids),
        "digest": draft.digest,
        "entries": len(draft.entries),
        "entry_runs": len(draft.entry_runs),
        "features": [],
        "format": 1,
        "objects": len(draft.objects),
        "packs": list(draft.packs),
        "patches": len(draft.patches),
        "path_bytes": sum(len(row.path) for row in draft.entries),
        "references": len(draft.origins),
        "runs": len(draft.runs),
        "segments": len(draft.segments),
        "target_bytes": sum(len(row.target) for row in draft.entries),
    }


def columns(draft: Draft) -> bytes:
    """The columns of a delta."""
    return b"".join(
        (
            *(craft.numbers("I", (run[field] for run in draft.entry_runs)) for field in range(3)),
            craft.listing_columns(draft.entries, ()),
            *(craft.numbers("I", (run[field] for run in draft.runs)) for field in range(2)),
            craft.numbers("I", draft.origins),
            b"".join(draft.ids),
            b"".join(name for name, _size, _pack in draft.segments),
            craft.numbers("Q", (size for _name, size, _pack in draft.segments)),
            craft.numbers("I", (pack for _name, _size, pack in draft.segments)),
            *(craft.numbers("I", (row[field] for row in draft.placed)) for field in range(3)),
            bytes(row[3] for row in draft.placed),
            draft.marks,
            *(craft.numbers("I", (patch[field] for patch in draft.patches)) for field in range(2)),
            bytes(patch[2] for patch in draft.patches),
            b"".join(name for name, _size, _total in draft.objects),
            craft.numbers("Q", (size for _name, size, _total in draft.objects)),
            craft.numbers("I", (total for _name, _size, total in draft.objects)),
        )
    )


def delta_file(head: t.Union[craft.Header, bytes], body: bytes) -> bytes:
    """The file or the canonical form of a delta."""
    return craft.column_file(b"MFDELT1\n", head if isinstance(head, bytes) else craft.canonical_json(head), body)


def delta(draft: Draft) -> bytes:
    """The file of a delta, its columns not compressed."""
    return delta_file(header(draft), craft.stored(columns(draft)))


# Patches


def bitmap(numbers: t.Iterable[int], blocks: int) -> bytes:
    """The bitmap of these blocks."""
    marks = sum(1 << number for number in numbers)
    return marks.to_bytes(-(-blocks // 8), "little")


def patch(old: bytes, new: bytes, encode: Encoder) -> tuple[int, bytes]:
    """The codec and the bytes of the patch from one chunk to another."""
    padded = old[: len(new)] + bytes(max(0, len(new) - len(old)))
    begins = range(0, len(new), BLOCK)
    numbers = [n for n, begin in enumerate(begins) if new[begin : begin + BLOCK] != padded[begin : begin + BLOCK]]
    blocks = b"".join(new[BLOCK * number : BLOCK * number + BLOCK] for number in numbers)
    codec, encoded = encode(blocks) if blocks else (craft.RAW, b"")
    return codec, bitmap(numbers, len(begins)) + encoded


def patches_object(patches: t.Iterable[bytes]) -> bytes:
    """An object of patches."""
    return MAGIC + b"".join(patches)


# Codecs of which every library would read the same, and nobody but this writes the same


def runs(data: bytes) -> bytes:
    """DEFLATE with fixed codes, in which only a byte that repeats the one before it is not a literal."""
    bits = ["1", "10"]
    for value, repeated in itertools.groupby(data):
        literal = f"{0x30 + value:08b}" if value < 144 else f"{0x190 + value - 144:09b}"
        longest, rest = divmod(sum(1 for _byte in repeated) - 1, 258)
        copies, literals = divmod(rest, 3)
        # A copy is the code of its length and that of the distance 1.
        bits += [literal, ("11000101" + "00000") * longest, ("0000001" + "00000") * copies, literal * literals]
    return craft.from_bits("".join(bits) + "0000000")


def run_frame(value: int, length: int) -> bytes:
    """A frame of RFC 8878: one block that repeats one byte, from 256 to 65791 times."""
    descriptor, block = 0x60, 1 | 1 << 1 | length << 3
    return struct.pack("<IBH", 0xFD2FB528, descriptor, length - 256) + block.to_bytes(3, "little") + bytes([value])


def noise(name: str, length: int) -> bytes:
    """Bytes that no codec shrinks, the same for the same name."""
    parts = (hashlib.sha256(f"{name} {number}".encode()).digest() for number in range(length // 32 + 1))
    return b"".join(parts)[:length]
