# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Numbers for chunk ids, in little memory. Pure."""

from __future__ import annotations

import abc
import typing as t
from array import array

from ansible_collections.macfleet.parallels.plugins.module_utils._pack.chunks import CHUNK_ID_BYTES

_FIRST_SLOTS = 1 << 10


class _Numbering(t.Mapping[bytes, int], abc.ABC):
    """Finds the number of an id by open addressing; the ids themselves are kept by the subclass.

    The table takes 8 to 16 bytes an id. One thread may add while others look up: those may miss what is being added,
    and never find what was not. A slot is therefore read once in a search: it may be taken at any time.
    """

    def __init__(self, expected: int = 0) -> None:
        slots = _FIRST_SLOTS
        while slots <= 2 * expected:
            slots *= 2
        # 0 is a free slot, anything else the number of an id plus one. At most half of them are taken.
        self._slots = array("I", [0]) * slots

    @abc.abstractmethod
    def _id(self, number: int) -> bytes:
        """Return the id that has a number."""

    def __getitem__(self, identity: bytes) -> int:
        number = self.find(identity)
        if number < 0:
            raise KeyError(identity)
        return number

    def find(self, identity: bytes) -> int:
        """Return the number of an id, or -1 if it has none."""
        return self._search(self._slots, identity)[1] - 1

    def __contains__(self, identity: object) -> bool:
        return isinstance(identity, bytes) and self.find(identity) >= 0

    def __iter__(self) -> t.Iterator[bytes]:
        for number in range(len(self)):
            yield self._id(number)

    def _search(self, slots: array[int], identity: bytes) -> tuple[int, int]:
        """Return the slot of an id, or the one that it would get, and what was read there: 0 if it was free."""
        mask = len(slots) - 1
        # Python's own hash is keyed: nobody can make up ids that collide.
        slot = hash(identity) & mask
        while True:
            entered = slots[slot]
            if not entered or self._id(entered - 1) == identity:
                return slot, entered
            slot = (slot + 1) & mask

    def _enter(self, slot: int, count: int) -> None:
        """Let a slot refer to the id that was added last, as the one with the number ``count`` - 1."""
        self._slots[slot] = count
        if 2 * count >= len(self._slots):
            self._grow()

    def _grow(self) -> None:
        slots = array("I", [0]) * (2 * len(self._slots))
        for number, identity in enumerate(self):
            slots[self._search(slots, identity)[0]] = number + 1
        self._slots = slots


class IdTable(_Numbering):
    """Numbers distinct ids from 0 on, in the order in which they are added.

    It takes about 44 bytes an id where a dictionary takes 170, which counts with the hundreds of thousands of chunks
    of a large virtual machine.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ids = bytearray()

    def add(self, identity: bytes) -> int:
        """Return the number of an id, which gets the next one if it has none."""
        slot, entered = self._search(self._slots, identity)
        if entered:
            return entered - 1
        self._ids += identity
        count = len(self)
        self._enter(slot, count)
        return count - 1

    def __len__(self) -> int:
        return len(self._ids) // CHUNK_ID_BYTES

    def _id(self, number: int) -> bytes:
        return bytes(self._ids[number * CHUNK_ID_BYTES : (number + 1) * CHUNK_ID_BYTES])


class ColumnTable(_Numbering):
    """Numbers the distinct ids of a column from 0 on, in the order in which they are added; holds no copy of them.

    ``first`` holds for each number the place in the column at which the id was added.
    """

    def __init__(self, column: bytes, expected: int) -> None:
        super().__init__(expected)
        self._column = column
        self.first = array("I")

    def add(self, place: int, identity: bytes) -> int:
        """Return the number of the id at a place of the column; it gets the next one if it has none."""
        slot, entered = self._search(self._slots, identity)
        if entered:
            return entered - 1
        self.first.append(place)
        count = len(self.first)
        self._enter(slot, count)
        return count - 1

    def __len__(self) -> int:
        return len(self.first)

    def _id(self, number: int) -> bytes:
        start = self.first[number] * CHUNK_ID_BYTES
        return self._column[start : start + CHUNK_ID_BYTES]
