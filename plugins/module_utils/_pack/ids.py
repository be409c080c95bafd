# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Chunk ids and their numbers in little memory. Pure."""

from __future__ import annotations

import typing as t
from array import array

from ansible_collections.macfleet.parallels.plugins.module_utils._pack.chunks import CHUNK_ID_BYTES

_FIRST_SLOTS = 1 << 10


class IdTable(t.Mapping[bytes, int]):
    """Numbers distinct ids from 0 on, in the order in which they are added.

    It takes about 42 bytes an id where a dictionary takes 170, which counts with the hundreds of thousands of chunks
    of a large virtual machine. One thread may add while others look up: those may miss what is being added.
    """

    def __init__(self) -> None:
        self._ids = bytearray()
        # Open addressing: 0 is a free slot, anything else the number of an id plus one. At most half of them are taken.
        self._slots = array("I", bytes(4 * _FIRST_SLOTS))

    def add(self, identity: bytes) -> int:
        """The number of an id, which gets the next one if it has none."""
        slots = self._slots
        slot = self._find(slots, identity)
        if slots[slot]:
            return slots[slot] - 1
        self._ids += identity
        count = len(self)
        slots[slot] = count
        if 2 * count >= len(slots):
            self._grow()
        return count - 1

    def __getitem__(self, identity: bytes) -> int:
        slots = self._slots
        number = slots[self._find(slots, identity)]
        if not number:
            raise KeyError(identity)
        return number - 1

    def __contains__(self, identity: object) -> bool:
        slots = self._slots
        return isinstance(identity, bytes) and bool(slots[self._find(slots, identity)])

    def __len__(self) -> int:
        return len(self._ids) // CHUNK_ID_BYTES

    def __iter__(self) -> t.Iterator[bytes]:
        for number in range(len(self)):
            yield self._id(number)

    def _id(self, number: int) -> bytes:
        return bytes(self._ids[number * CHUNK_ID_BYTES : (number + 1) * CHUNK_ID_BYTES])

    def _find(self, slots: array[int], identity: bytes) -> int:
        """The slot of an id, or the one that it would get."""
        mask = len(slots) - 1
        # Python's own hash is keyed: whoever makes up ids cannot make them collide.
        slot = hash(identity) & mask
        while slots[slot] and self._id(slots[slot] - 1) != identity:
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        slots = array("I", bytes(8 * len(self._slots)))
        for number, identity in enumerate(self):
            slots[self._find(slots, identity)] = number + 1
        self._slots = slots
