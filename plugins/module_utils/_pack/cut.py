# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""How a file is cut into orders: the pieces that one worker reads and handles at a time. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import Entry

# At least one chunk.
ORDER_BYTES = 4 << 20


@dataclass(frozen=True)
class Order:
    """Neighbouring chunks of one file: the path in the listing, offset and length in bytes of each chunk.

    ``first`` is the chunk reference of the first one.
    """

    path: str
    spans: tuple[tuple[int, int], ...]
    first: int = 0

    @property
    def start(self) -> int:
        """Offset of the first byte."""
        return self.spans[0][0]

    @property
    def length(self) -> int:
        """Number of bytes."""
        return self.spans[-1][0] + self.spans[-1][1] - self.spans[0][0]


def orders(entry: Entry, chunk_size: int) -> t.Iterator[Order]:
    """Yield the orders of a file from its first chunk to its last, each of at most ``ORDER_BYTES`` or one chunk."""
    spans: list[tuple[int, int]] = []
    first = entry.first_chunk
    for span in chunks.chunk_spans(entry.size, entry.data_start, chunk_size):
        if spans and span[0] + span[1] - spans[0][0] > ORDER_BYTES:
            yield Order(entry.path, tuple(spans), first)
            first += len(spans)
            spans = []
        spans.append(span)
    if spans:
        yield Order(entry.path, tuple(spans), first)


def buffer_bytes(chunk_size: int) -> int:
    """Return the size of a buffer that holds any order."""
    return max(ORDER_BYTES, chunk_size)
