# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cold pushes and pulls beside the limit of this machine; many small files; what watching a task costs."""

from __future__ import annotations

import os
import statistics
from pathlib import Path

from ansible_collections.macfleet.parallels.tests.bench import small_files
from ansible_collections.macfleet.parallels.tests.bench.report import AT_MOST, Bar
from ansible_collections.macfleet.parallels.tests.bench.stand import (
    ARCHITECTURE,
    MAIN_CASE,
    MIB,
    TRANSFER_SECONDS,
    Case,
    Stand,
    pull_options,
    push_options,
    scratch,
)
from ansible_collections.macfleet.parallels.tests.integration.gate import Gate
from ansible_collections.macfleet.parallels.tests.support import bundles

# Enough for the background; what it is pulled through decides how long it takes.
WATCHED_BYTES = 96 * MIB
WATCHED_SECONDS = (1, 5, 20, 60)
SMALL_FILES = 5000


def measure_throughput(stand: Stand, case: Case, machine: bundles.SampleVm, runs: int) -> None:
    """Cold pushes and pulls in turn with the limit."""
    bench, image = stand.bench, Path(bundles.image_path(machine.bundle))
    times: dict[str, list[float]] = {name: [] for name in ("push", "push limit", "pull", "pull limit")}
    peaks = {"push": 0, "pull": 0}
    chunk_size = 0
    for number in range(runs):
        bench.say(f"{case.name}: run {number + 1} of {runs}")
        catalog_id = f"cold-{number}"
        pushed, peak = stand.module(case.host, "catalog_push", push_options(case, machine, catalog_id, "1.0.0"))
        chunk_size = pushed.result["manifest"]["chunk_size"]
        times["push"].append(pushed.result["elapsed"])
        peaks["push"] = max(peaks["push"], peak)
        address = {"catalog_id": catalog_id, "version": "1.0.0"}
        limit = stand.limit(case, "push", image, {**address, "version": "limit"}, chunk_size)
        times["push limit"].append(limit["elapsed"])
        with scratch(bench, "limit") as place:
            times["pull limit"].append(stand.limit(case, "pull", place / "disk", address, chunk_size)["elapsed"])
        with scratch(bench, "cache") as cache:
            cache.chmod(0o700)
            pulled, peak = stand.module(case.host, "catalog_pull", pull_options(catalog_id, "1.0.0", cache))
        times["pull"].append(pulled.result["elapsed"])
        peaks["pull"] = max(peaks["pull"], peak)
        bench.say(", ".join(f"{name} {rows[-1]:.1f} s" for name, rows in times.items()))
    for verb in ("push", "pull"):
        module, limit_seconds = statistics.median(times[verb]), statistics.median(times[f"{verb} limit"])
        note = f"{module:.1f} s, limit {limit_seconds:.1f} s, medians of {runs}"
        bench.bars.append(
            Bar(
                f"{verb}, cold, {case.name}",
                limit_seconds / module,
                "of the limit",
                asked=case.asked,
                note=note,
                runs=times[verb],
            )
        )
        bench.bars.append(
            Bar(f"{verb}, peak memory, {case.name}", peaks[verb] / MIB, "MiB", AT_MOST, 256, "most of any one process")
        )


def measure_small_files(stand: Stand, runs: int) -> None:
    """A bundle of thousands of small files pulled, and made a machine of, in turn with plain scripts."""
    bench, case = stand.bench, MAIN_CASE
    times: dict[str, list[float]] = {name: [] for name in ("pull", "plain pull", "VM", "plain copy")}
    address = {"catalog_id": "small-files", "version": "1.0.0"}
    with scratch(bench, "small-files") as place:
        bundle = bundles.make_bundle(str(place), os.urandom(MIB), "small", bundles.MACVM, bundles.PLAIN)
        small_files.fill(bundle, SMALL_FILES)
        options = {**address, "architecture": ARCHITECTURE, "path": bundle, "codec": case.codec}
        stand.module(case.host, "catalog_push", options)
        for number in range(runs):
            bench.say(f"small files: run {number + 1} of {runs}")
            plain = place / f"plain-{number}"
            words = [*(item for pair in address.items() for item in (f"--{pair[0].replace('_', '-')}", pair[1]))]
            words += ["--url", stand.server.url, "--provider", case.provider]
            times["plain pull"].append(stand.plain(case.host, "pull", str(plain / "pulled"), *words))
            cache = place / f"cache-{number}"
            cache.mkdir(0o700)
            pulled, _peak = stand.module(case.host, "catalog_pull", pull_options("small-files", "1.0.0", cache))
            times["pull"].append(pulled.result["elapsed"])
            times["plain copy"].append(stand.plain(case.host, "copy", bundle, str(plain / "copied")))
            vm = {"state": "present", "name": f"small-{number}", "path": str(place / "machines")}
            made, _peak = stand.module(case.host, "catalog_pull", pull_options("small-files", "1.0.0", cache, **vm))
            times["VM"].append(made.result["elapsed"])
    for name, plain_name, allowed in (("pull", "plain pull", 2.0), ("VM", "plain copy", 1.5)):
        took, yardstick = statistics.median(times[name]), statistics.median(times[plain_name])
        note = f"{took:.1f} s, {plain_name} {yardstick:.1f} s, medians of {runs}"
        bench.bars.append(
            Bar(f"{SMALL_FILES} small files, {name}", took / yardstick, "×", AT_MOST, allowed, note, times[name])
        )


def measure_watching(stand: Stand) -> None:
    """What the controller adds to pulls of several lengths, in the background, over one with nothing to do."""
    bench, case = stand.bench, MAIN_CASE
    with scratch(bench, "watching") as place:
        bundle = bundles.make_bundle(str(place), os.urandom(WATCHED_BYTES), "watched", bundles.MACVM, bundles.PLAIN)
        address = {"catalog_id": "watched", "version": "1.0.0", "architecture": ARCHITECTURE}
        stand.module(case.host, "catalog_push", {**address, "path": bundle, "codec": "raw"})
        for wanted_seconds in WATCHED_SECONDS:
            bench.say(f"a pull of {wanted_seconds} s")
            cache = place / f"cache-{wanted_seconds}"
            cache.mkdir(mode=0o700)
            with Gate(stand.server.url, WATCHED_BYTES // wanted_seconds) as gate:
                options = {**pull_options("watched", "1.0.0", cache), "catalog_url": gate.url}
                task = {"macfleet.parallels.catalog_pull": options}
                run, _mark = stand.start(case.host, [task, task], verbosity=3)
                first, second = run.wait(TRANSFER_SECONDS)
            if not first.result["changed"] or second.result["changed"]:
                raise RuntimeError("the first pull shall have something to do, the second nothing")
            added, empty = (done.seconds - done.result["elapsed"] for done in (first, second))
            polls = run.log.read_text(encoding="utf-8").count("def _wait_for_end")
            bench.bars.append(
                Bar(
                    f"pull of {first.result['elapsed']:.0f} s, added by the controller",
                    added - empty,
                    "s",
                    AT_MOST,
                    1.0,
                    f"{added:.2f} s, nothing to do {empty:.2f} s; {polls} commands to watch it",
                )
            )
