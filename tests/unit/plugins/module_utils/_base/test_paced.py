# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.paced import Pace, TooSlow, pieces


def test_each_window_needs_its_bytes() -> None:
    pace = Pace(30.0)
    pace.add(8 << 20, 30.0)
    # What came in the window before does not count for this one.
    pace.add(1, 29.0)
    with pytest.raises(TooSlow, match="only 2 bytes moved within 30 seconds"):
        pace.add(1, 1.0)


def test_a_slow_connection_is_no_silence() -> None:
    pace = Pace(30.0)
    for _second in range(3600):
        pace.add(1024, 1.0)


def test_what_is_sent_has_a_pace_too() -> None:
    data = bytes(200_000)
    assert b"".join(pieces(data, 30.0)) == data
    # The clock of a peer that takes 64 KiB in 40 or in 100 seconds.
    slow, slower = itertools.count(0.0, 40.0), itertools.count(0.0, 100.0)
    assert len(list(pieces(data, 30.0, lambda: next(slow)))) == 4
    with pytest.raises(TooSlow):
        list(pieces(data, 100.0, lambda: next(slower)))
