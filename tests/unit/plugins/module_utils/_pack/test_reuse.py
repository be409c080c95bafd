# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib

from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import Placement, SegmentRef, chunk_rows
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.reuse import KnownChunks
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.segments import TrailerRow
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.test_plan import locate, name, sketch

SEGMENT = SegmentRef("f" * 32, hashlib.sha256(b"segment").hexdigest(), 5000)


def row(number: int, offset: int) -> TrailerRow:
    return TrailerRow(name(number), offset, 10, 100, 1)


def test_nothing_is_known_at_first() -> None:
    known = KnownChunks()
    assert len(known) == 0
    assert name(1) not in known
    assert known.placement(name(1)) is None


def test_all_chunks_of_a_base_are_known_but_holes() -> None:
    listing = sketch({"a": [1, 0, 2, 1], "b": [3]})
    locator = locate(listing)
    known = KnownChunks()
    known.add_index(chunk_rows(listing), locator)
    assert len(known) == 3
    for number in (1, 2, 3):
        assert known.placement(name(number)) == locator.placement(chunk_rows(listing).row_of[name(number)])
    assert name(0) not in known


def test_all_chunks_of_a_segment_are_known() -> None:
    known = KnownChunks()
    known.add_trailer(SEGMENT, [row(1, 8), row(2, 18)])
    assert len(known) == 2
    assert known.placement(name(2)) == Placement(SEGMENT, 18, 10, 1)


def test_what_was_added_first_wins() -> None:
    first, second = sketch({"a": [1, 2]}), sketch({"b": [2, 3]})
    known = KnownChunks()
    known.add_trailer(SEGMENT, [row(1, 8), row(1, 18)])
    known.add_index(chunk_rows(first), locate(first))
    known.add_index(chunk_rows(second), locate(second))
    known.add_trailer(SEGMENT, [row(3, 28), row(4, 38)])
    assert known.placement(name(1)) == Placement(SEGMENT, 8, 10, 1)
    assert known.placement(name(2)) == locate(first).placement(1)
    assert known.placement(name(3)) == locate(second).placement(1)
    assert known.placement(name(4)) == Placement(SEGMENT, 38, 10, 1)
    assert len(known) == 4
