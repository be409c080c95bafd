# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import QUICK, SLOW
from hypothesis import HealthCheck, settings


@pytest.mark.parametrize("used", [settings(), QUICK, SLOW], ids=["default", "quick", "slow"])
def test_properties_are_tested_without_a_stopwatch(used: settings) -> None:
    assert used.deadline is None
    assert HealthCheck.too_slow in used.suppress_health_check
