# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.moments import utc_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1795508100.9, "2026-11-24T08:15:00Z"),
        (3e11, "9999-12-31T23:59:59Z"),
        (float("inf"), "9999-12-31T23:59:59Z"),
        (-1.0, "1969-12-31T23:59:59Z"),
        (-1e12, "0001-01-01T00:00:00Z"),
    ],
)
def test_any_time_has_a_text(seconds: float, text: str) -> None:
    assert utc_text(seconds) == text
