# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Transfers over a long way, and beside a metadata server that falls silent, through a relay."""

from __future__ import annotations

import os
import random
import time
from array import array
from pathlib import Path

from ansible_collections.macfleet.parallels.plugins.module_utils._base.link import LinkCost
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import Locator, chunk_rows
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import decode_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import decode_locator
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.pull_plan import MAX_RANGE_BYTES
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.ranges import coalesce
from ansible_collections.macfleet.parallels.tests.bench.report import AT_LEAST, AT_MOST, Bar
from ansible_collections.macfleet.parallels.tests.bench.stand import (
    ARCHITECTURE,
    GIB,
    MIB,
    TRANSFER_SECONDS,
    Stand,
    ask,
    pull_options,
    scratch,
)
from ansible_collections.macfleet.parallels.tests.integration.gate import DOWN, UP, Gate
from ansible_collections.macfleet.parallels.tests.support import bundles
from ansible_collections.macfleet.parallels.tests.support.ansible_runs import Run

HOST = "fast"
# The long way: 100 ms there and back, and four connections.
ROUND_TRIP_SECONDS = 0.1
CONNECTIONS = 4
CONNECTION_BYTES_PER_SECOND = 25e6
# An image of 1 GB in storage: of each chunk 100 KiB do not compress, and the rest is zeros.
CHUNK_BYTES = 256 << 10
NOISE_BYTES = 100 << 10
CHUNKS = 10_000
WANTED_SHARE = 0.5
# The grant is to be renewed when half of its life is over, which is in the silence.
GRANT_SECONDS = 300
SILENT_RATE = 20e6
SILENT_SECONDS = 120
RATED_SECONDS = 30
PUSHED_BYTES = GIB


def measure_long_way(stand: Stand) -> None:
    """Half of an image's chunks over a long way: seconds beside those of the model that the ranges are formed by."""
    bench = stand.bench
    with scratch(bench, "wan") as place:
        first, second = _two_images(place)
        for name, bundle in (("wan-a", first), ("wan-b", second)):
            bench.say(f"push of {name}")
            options = {"catalog_id": name, "version": "1.0.0", "architecture": ARCHITECTURE, "path": bundle}
            stand.module(HOST, "catalog_push", options)
        cache = place / "cache"
        cache.mkdir(mode=0o700)
        stand.module(HOST, "catalog_pull", pull_options("wan-a", "1.0.0", cache))
        bench.say("half of it over a long way")
        delay = ROUND_TRIP_SECONDS / 2
        with Gate(
            stand.server.url, connection_bytes_per_second=CONNECTION_BYTES_PER_SECOND, delay_seconds=delay
        ) as gate:
            options = {**pull_options("wan-b", "1.0.0", cache), "catalog_url": gate.url, "connections": CONNECTIONS}
            before = len(stand.server.requests())
            pulled, _peak = stand.module(HOST, "catalog_pull", options)
            seconds = gate.object_seconds
            moved = gate.moved(DOWN)
        asked = sum("/objects/" in line for line in stand.server.requests()[before:])
    requests, total, modelled = _model(stand)
    note = (
        f"{seconds:.1f} s, {asked} requests, {moved / MIB:.0f} MiB; model "
        f"{modelled:.1f} s, {requests} requests, {total / MIB:.0f} MiB; elapsed {pulled.result['elapsed']:.1f} s"
    )
    bench.bars.append(Bar("half of 1 GB at 100 ms, over the model", seconds / modelled, "×", AT_MOST, 1.25, note))
    bench.bars.append(Bar("half of 1 GB at 100 ms, over the model", seconds / modelled, "×", AT_LEAST, 0.75, note))


def _two_images(place: Path) -> tuple[str, str]:
    """Bundles that have half of their chunks in common, spread at random."""
    made = []
    chosen = os.urandom(CHUNKS)
    for name in ("a", "b"):
        bundle = bundles.make_bundle(str(place / name), b"", "wan", bundles.MACVM, bundles.PLAIN)
        with open(bundles.image_path(bundle), "wb") as stream:
            for number in range(CHUNKS):
                shared = chosen[number] >= 256 * WANTED_SHARE
                stream.seek(number * CHUNK_BYTES)
                stream.write(_noise(number, "both" if shared else name))
            stream.truncate(CHUNKS * CHUNK_BYTES)
        made.append(bundle)
    return made[0], made[1]


def _noise(number: int, owner: str) -> bytes:
    return random.Random(f"{owner} {number}").randbytes(NOISE_BYTES)


def _model(stand: Stand) -> tuple[int, int, float]:
    """Requests, bytes and seconds of the same pull, if the link were exactly what it is said to be."""
    locators = {}
    rows: dict[str, dict[bytes, int]] = {}
    for name in ("wan-a", "wan-b"):
        manifest = ask(stand, f"manifests?catalog_id={name}&version=1.0.0")["manifests"][0]["id"]
        listing = decode_listing(ask(stand, f"manifests/{manifest}/listing"))
        row_numbers = chunk_rows(listing)
        rows[name] = {listing.chunk_id(first): number for number, first in enumerate(row_numbers.first)}
        locators[name] = decode_locator(ask(stand, f"manifests/{manifest}/locator"), listing, row_numbers)
    wanted = array("I", sorted(row for identity, row in rows["wan-b"].items() if identity not in rows["wan-a"]))
    return _cost(locators["wan-b"], wanted)


def _cost(locator: Locator, wanted: array[int]) -> tuple[int, int, float]:
    link = LinkCost(ROUND_TRIP_SECONDS, CONNECTION_BYTES_PER_SECOND)
    ranges = list(coalesce(locator, wanted, request_bytes=link.request_bytes, max_range_bytes=MAX_RANGE_BYTES))
    total = sum(one.length for one in ranges)
    seconds = (len(ranges) * link.latency_seconds + total / link.bytes_per_second) / CONNECTIONS
    return len(ranges), total, seconds


def measure_silence(stand: Stand, machine: bundles.SampleVm) -> None:
    """A metadata server that answers nothing for two minutes, while objects move at 20 MB/s."""
    bench = stand.bench
    address = {"catalog_id": "silence", "version": "1.0.0", "architecture": ARCHITECTURE}
    stand.module(HOST, "catalog_push", {**address, "path": machine.bundle, "codec": "raw"})
    with scratch(bench, "cache") as cache, Gate(stand.server.url, SILENT_RATE) as gate:
        cache.chmod(0o700)
        options = {**pull_options("silence", "1.0.0", cache), "catalog_url": gate.url}
        run, _mark = stand.start(HOST, [{"macfleet.parallels.catalog_pull": options}])
        try:
            _wait_for(gate, run, DOWN, int(SILENT_RATE * RATED_SECONDS))
            before = _rate(gate, run, RATED_SECONDS)
            bench.say("a pull goes on while the metadata server is silent")
            gate.silence()
            during = _rate(gate, run, SILENT_SECONDS)
            gate.speak()
            pulled = run.wait(TRANSFER_SECONDS)[-1]
        finally:
            gate.speak()
            run.end()
    if not pulled.result["changed"]:
        raise RuntimeError("the pull had nothing to do")
    note = f"{during / 1e6:.1f} MB/s in {SILENT_SECONDS} s, {before / 1e6:.1f} before; grant of {GRANT_SECONDS} s"
    bench.bars.append(Bar("pull, metadata server silent", during / before, "of its rate", AT_LEAST, 0.9, note))
    _measure_silent_push(stand)


def _measure_silent_push(stand: Stand) -> None:
    bench = stand.bench
    with scratch(bench, "silent") as place, Gate(stand.server.url, SILENT_RATE) as gate:
        bundle = bundles.make_bundle(str(place), os.urandom(PUSHED_BYTES), "silent", bundles.MACVM, bundles.PLAIN)
        options = {"catalog_id": "silent", "version": "1.0.0", "architecture": ARCHITECTURE, "path": bundle}
        task = {"macfleet.parallels.catalog_push": {**options, "codec": "raw", "catalog_url": gate.url}}
        run, _mark = stand.start(HOST, [task])
        try:
            _wait_for(gate, run, UP, int(SILENT_RATE * 10))
            bench.say("a push waits while the metadata server is silent")
            gate.silence()
            before = gate.moved(UP)
            time.sleep(SILENT_SECONDS)
            during = gate.moved(UP) - before
            gate.speak()
            pushed = run.wait(TRANSFER_SECONDS)[-1]
        finally:
            gate.speak()
            run.end()
    alone = PUSHED_BYTES / SILENT_RATE
    waited = pushed.result["elapsed"] - alone
    note = f"{during / MIB:.0f} MiB in the silence of {SILENT_SECONDS} s; {alone:.0f} s of transfer at 20 MB/s"
    bench.bars.append(Bar("push, metadata server silent: waited", waited, "s", AT_MOST, SILENT_SECONDS + 60, note))


def _wait_for(gate: Gate, run: Run, direction: str, count: int) -> None:
    deadline = time.monotonic() + TRANSFER_SECONDS
    while gate.moved(direction) < count:
        _require_running(run, deadline)
        time.sleep(0.05)


def _rate(gate: Gate, run: Run, seconds: float) -> float:
    """Bytes that come down in a second, over some seconds."""
    before, began_at = gate.moved(DOWN), time.monotonic()
    time.sleep(seconds)
    _require_running(run, began_at + TRANSFER_SECONDS)
    return (gate.moved(DOWN) - before) / (time.monotonic() - began_at)


def _require_running(run: Run, deadline: float) -> None:
    if run.process.poll() is not None or time.monotonic() > deadline:
        raise RuntimeError(f"the transfer ended while it was measured, see {run.log}")
