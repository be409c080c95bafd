# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The measurements of the server, each with a server of its own."""

from __future__ import annotations

from ansible_collections.macfleet.parallels.tests.bench import server_costs, server_crowds, server_rates
from ansible_collections.macfleet.parallels.tests.bench.report import Bar
from ansible_collections.macfleet.parallels.tests.bench.server_load import NoWrk, Wrk
from ansible_collections.macfleet.parallels.tests.bench.server_scale import measure_scale
from ansible_collections.macfleet.parallels.tests.bench.server_stand import CORES, server_stand
from ansible_collections.macfleet.parallels.tests.bench.stand import Bench


def measure_server(bench: Bench, runs: int) -> None:
    """All of them."""
    try:
        measure_rates(bench, Wrk(bench.work), runs)
    except NoWrk as reason:
        bench.bars.append(Bar("rates of the server", None, "", note=str(reason)))
    with server_stand(bench) as stand:
        server_crowds.measure_first_urls(stand, runs)
    for measure in (
        server_costs.measure_logins,
        server_costs.measure_slow_readers,
        server_costs.measure_head,
        server_costs.measure_idle,
        server_costs.measure_indexes,
    ):
        with server_stand(bench, "--index-bytes", str(server_costs.INDEX_MB * 1_000_000)) as stand:
            measure(stand)
    measure_scale(bench)


def measure_rates(bench: Bench, wrk: Wrk, runs: int) -> None:
    """What needs wrk."""
    with server_stand(bench) as stand:
        server_rates.measure_one_process(stand, wrk, runs)
        server_rates.measure_locked(stand, wrk)
    with server_stand(bench, workers=CORES) as stand:
        server_rates.measure_all_cores(stand, wrk, runs)
    with server_stand(bench) as stand:
        server_crowds.measure_flood(stand, wrk, runs)
