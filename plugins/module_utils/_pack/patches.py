# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Patches: a chunk told as the blocks of 4 KiB in which it differs from a chunk of a base. Pure.

    bitmap of changed blocks | these blocks one after another, encoded

An object of patches is a magic and patches, with nothing between them. ``docs/pack-format.md`` specifies it.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import codecs
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.codecs import Buffer
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import DamagedChunk
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import CODEC_RAW

# What guests write: the block of their file systems.
BLOCK_BYTES = 4096
PATCHES_MAGIC = b"MFPTCH1\n"
MAX_PATCHES_BYTES = 64 << 20
# A writer ends an object of patches with the patch that brings it to this size: a reader's largest range.
TARGET_BYTES = 8 << 20

Encode = t.Callable[[Buffer], t.Tuple[int, bytes]]


@dataclass(frozen=True)
class Patch:
    """A patch as it is stored: the codec of its blocks, and bitmap and encoded blocks together."""

    codec: int
    data: bytes


@dataclass(frozen=True)
class Patched:
    """A chunk that a patch made, and its changed blocks: block n is bit n of ``marks``."""

    chunk: bytearray
    marks: int


def block_count(length: int) -> int:
    """Return the number of blocks of a chunk of ``length`` bytes; the last one may be short."""
    return -(-length // BLOCK_BYTES)


def bitmap_bytes(length: int) -> int:
    """Return the bytes of the bitmap of a chunk of ``length`` bytes."""
    return -(-block_count(length) // 8)


def most_bytes(length: int) -> int:
    """Return the most bytes that a patch for a chunk of ``length`` bytes can have."""
    return bitmap_bytes(length) + length


def make_patch(old: bytes, new: Buffer, encode: Encode) -> Patch:
    """Return the patch that turns ``old`` into ``new``.

    ``old`` counts as cut, or filled with zeros, to the length of ``new``. If that is all, the patch has no blocks.
    """
    length = len(new)
    old = old[:length].ljust(length, b"\0")
    bitmap = bytearray(bitmap_bytes(length))
    blocks = []
    with memoryview(new) as view:
        for number in range(block_count(length)):
            begin = number * BLOCK_BYTES
            block = bytes(view[begin : begin + BLOCK_BYTES])
            if old[begin : begin + BLOCK_BYTES] != block:
                bitmap[number >> 3] |= 1 << (number & 7)
                blocks.append(block)
    codec, data = encode(b"".join(blocks)) if blocks else (CODEC_RAW, b"")
    return Patch(codec, bytes(bitmap) + data)


def apply_patch(old: Buffer, length: int, codec: int, data: Buffer) -> Patched:
    """Return what a patch makes of ``old``: a chunk of ``length`` bytes, whose hash the caller compares.

    :raises DamagedChunk: the patch does not fit a chunk of this length, or does not decode
    """
    with memoryview(data) as view:
        head = bitmap_bytes(length)
        marks = int.from_bytes(view[:head], "little")
        if len(view) < head or marks >> block_count(length):
            raise DamagedChunk("A patch is shorter than its bitmap, or marks blocks that its chunk does not have.")
        changed = marked_ranges(marks, length)
        with view[head:] as encoded:
            blocks = codecs.decode(codec, encoded, sum(count for _begin, count in changed))
            chunk = bytearray(length)
            there = min(len(old), length)
            chunk[:there] = memoryview(old)[:there]
            position = 0
            with memoryview(blocks) as source:
                for begin, count in changed:
                    chunk[begin : begin + count] = source[position : position + count]
                    position += count
            del blocks
    return Patched(chunk, marks)


def marked_ranges(marks: int, length: int) -> tuple[tuple[int, int], ...]:
    """Return begin and length of the ranges of a chunk that are marked; neighbouring blocks are one range."""
    found: list[tuple[int, int]] = []
    number = 0
    while marks:
        # Skip what is not marked, then take all that is.
        clear = (marks & -marks).bit_length() - 1
        number += clear
        marks >>= clear
        count = (~marks & (marks + 1)).bit_length() - 1
        begin = number * BLOCK_BYTES
        found.append((begin, min(count * BLOCK_BYTES, length - begin)))
        number += count
        marks >>= count
    return tuple(found)


def fits(codec: int, stored: int, length: int) -> bool:
    """Return True if a patch of ``stored`` bytes can be one for a chunk of ``length`` bytes."""
    blocks = stored - bitmap_bytes(length)
    return 0 <= blocks <= length and (codec != CODEC_RAW or blocks % BLOCK_BYTES in (0, length % BLOCK_BYTES))


class PatchesBuilder:
    """Takes patches in the order of the listing and makes objects of about ``target_bytes`` of them."""

    def __init__(self, target_bytes: int = TARGET_BYTES) -> None:
        self._target_bytes = target_bytes
        self._parts = [PATCHES_MAGIC]
        self._length = len(PATCHES_MAGIC)

    @property
    def is_empty(self) -> bool:
        """True if the open object has no patch."""
        return len(self._parts) == 1

    @property
    def is_full(self) -> bool:
        """True if the open object should be finished."""
        return self._length >= self._target_bytes

    def add(self, patch: Patch) -> None:
        """Append a patch to the open object."""
        self._parts.append(patch.data)
        self._length += len(patch.data)

    def finish(self) -> bytes:
        """Return the bytes of the open object; the next patch opens another."""
        data = b"".join(self._parts)
        self._parts, self._length = [PATCHES_MAGIC], len(PATCHES_MAGIC)
        return data
