# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.macfleet.parallels.plugins.module_utils._base.retry import delays
from hypothesis import given
from hypothesis import strategies as st


def test_the_bound_doubles_up_to_the_longest() -> None:
    assert list(delays(6, 1.0, 5.0, jitter=lambda: 1.0)) == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert list(delays(3, 1.0, 5.0, jitter=lambda: 0.0)) == [0.5, 1.0]


@given(st.integers(-1, 40), st.floats(0.001, 100), st.floats(0.001, 100))
def test_there_is_a_delay_between_attempts_and_none_is_too_long(attempts: int, first: float, longest: float) -> None:
    schedule = list(delays(attempts, first, longest))
    assert len(schedule) == max(0, attempts - 1)
    assert all(0 < delay <= longest for delay in schedule)
