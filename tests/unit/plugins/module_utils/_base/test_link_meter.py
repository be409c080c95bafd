# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.macfleet.parallels.plugins.module_utils._base.link import Sample
from ansible_collections.macfleet.parallels.plugins.module_utils._base.link_meter import LinkMeter


def test_the_last_requests_are_remembered() -> None:
    meter = LinkMeter()
    assert meter.samples() == ()
    for number in range(40):
        meter.add(Sample(0.1, number, 1.0))
    assert [sample.count for sample in meter.samples()] == list(range(8, 40))
