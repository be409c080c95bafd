# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.tests.support import plan_cost

CHUNKS = 250_000
# The files of the index, what is read from them, and the plan, at their highest.
BOUNDS = {False: 130, True: 200}


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the peak of a process is read from /proc")
@pytest.mark.parametrize("with_seed", [False, True], ids=["cold", "with a seed"])
def test_a_plan_takes_few_bytes_for_each_chunk(tmp_path: Path, with_seed: bool) -> None:
    found = plan_cost.measure(tmp_path, CHUNKS, 256 << 10, with_seed=with_seed)
    assert found["to_download"] == (CHUNKS // plan_cost.CHANGED if with_seed else CHUNKS)
    assert found["bytes_per_chunk"] <= BOUNDS[with_seed]
