# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Push and pull beside the limit of this machine; deltas, resumption, memory, the cost of doing nothing; the server.

The modules run as a playbook runs them, against a real server process; times are their own ``elapsed``. They are
measured in turn with ``limit.py``, which moves the same bytes by plain loops. Prints a table, writes results.json.
The exit status says whether the measurement worked, not whether the bars are met: figures of a shared machine are no
gate.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import typing as t
from pathlib import Path

from ansible_collections.macfleet.parallels.tests.bench import (
    chunk_size_table,
    deltas,
    network,
    second_version,
    throughput,
    versions,
)
from ansible_collections.macfleet.parallels.tests.bench.report import Bar, as_json, as_table
from ansible_collections.macfleet.parallels.tests.bench.server_parts import measure_server
from ansible_collections.macfleet.parallels.tests.bench.stand import (
    CASES,
    GIB,
    MAIN_CASE,
    Bench,
    Stand,
    new_stand,
    volume_bytes,
)
from ansible_collections.macfleet.parallels.tests.support import bundles
from ansible_collections.macfleet.parallels.tests.support.signals import end_in_order
from ansible_collections.macfleet.parallels.tests.support.volume import (
    NoVolume,
    keep_mounts_private,
    reflink_volume,
)

IMAGE_PARTS = ("throughput", "small-files", "watching", "long-way", "silence", "rest", "deltas")
SERVER = "server"
PARTS = (*IMAGE_PARTS, SERVER)
# They take long, and run when they are named.
CHUNK_SIZES, VERSIONS = "chunk-sizes", "versions"


def parse() -> argparse.Namespace:
    """Arguments; ``prepare.py`` fills in the first three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", required=True)
    parser.add_argument("--server-python", required=True)
    parser.add_argument("--plain-python", required=True)
    parser.add_argument("--data-gib", type=float, default=bundles.BENCH.data_bytes / GIB)
    parser.add_argument("--logical-gib", type=float, default=bundles.BENCH.logical_bytes / GIB)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=[*PARTS, CHUNK_SIZES, VERSIONS], help="a part of it")
    return parser.parse_args()


def main() -> None:
    """Everything, and the table."""
    arguments = parse()
    keep_mounts_private()
    end_in_order()
    bench = Bench(arguments)
    shutil.rmtree(bench.work / "runs", ignore_errors=True)
    parts = (arguments.only,) if arguments.only else PARTS
    machines = None if parts == (SERVER,) else make_machines(bench)
    try:
        if machines is not None:
            measure_images(bench, parts, *machines)
        if SERVER in parts:
            measure_server(bench, arguments.runs)
    finally:
        write_report(bench, None if machines is None else machines[0])


def make_machines(bench: Bench) -> tuple[bundles.SampleVm, bundles.SampleVm]:
    """The machine whose images are pushed and pulled, and what became of it after an update."""
    size = bundles.Size(int(bench.arguments.logical_gib * GIB), int(bench.arguments.data_gib * GIB))
    first = bench.machine(
        "1", lambda place: bundles.SampleVm.create(str(place), "bench", bundles.MACVM, bundles.PLAIN, size)
    )

    def make_second(place: Path) -> bundles.SampleVm:
        machine = first.copy_to(str(place))
        machine.update(0.01)
        return machine

    return first, bench.machine("2", make_second)


def measure_images(bench: Bench, parts: t.Collection[str], first: bundles.SampleVm, second: bundles.SampleVm) -> None:
    """What the modules do with images."""
    runs = bench.arguments.runs
    if "throughput" in parts:
        for case in CASES:
            with new_stand(bench, case.provider) as stand:
                throughput.measure_throughput(stand, case, first, runs)
    if "small-files" in parts:
        with new_stand(bench, "small-files") as stand:
            throughput.measure_small_files(stand, runs)
    if "watching" in parts:
        with new_stand(bench, "watching") as stand:
            throughput.measure_watching(stand)
    if "long-way" in parts:
        with new_stand(bench, "long-way") as stand:
            network.measure_long_way(stand)
    if "silence" in parts:
        with new_stand(bench, "silence", CATALOG_GRANT_SECONDS=str(network.GRANT_SECONDS)) as stand:
            network.measure_silence(stand, first)
    if "rest" in parts:
        with new_stand(bench, "rest") as stand:
            second_version.measure_rest(stand, first, second)
    if "deltas" in parts:
        with new_stand(bench, "deltas") as stand:
            measure_deltas(stand, first)
    if CHUNK_SIZES in parts:
        chunk_size_table.print_tables(bench, MAIN_CASE, first, volume_bytes(first))
    if VERSIONS in parts:
        measure_twenty_versions(bench, first)


def measure_deltas(stand: Stand, first: bundles.SampleVm) -> None:
    """Updates with deltas, beside other programs."""
    try:
        with reflink_volume(stand.bench.work, volume_bytes(first)) as volume:
            updates = deltas.UpdateStand(stand, MAIN_CASE, volume)
            deltas.Deltas(updates, volume).measure(first.copy_to(str(volume / "first")))
    except NoVolume as error:
        stand.bench.bars.append(Bar("deltas on reflinks", None, "", note=str(error)))


def measure_twenty_versions(bench: Bench, first: bundles.SampleVm) -> None:
    """A long history with deltas."""
    with new_stand(bench, VERSIONS) as stand, reflink_volume(bench.work, volume_bytes(first)) as volume:
        updates = deltas.UpdateStand(stand, MAIN_CASE, volume)
        versions.measure_versions(updates, first.copy_to(str(volume / "first")), volume)


def write_report(bench: Bench, machine: bundles.SampleVm | None) -> None:
    """Table and JSON, also of a measurement that broke off."""
    about = f"{os.cpu_count()} cores"
    if machine is not None:
        size = os.path.getsize(bundles.image_path(machine.bundle)) / GIB
        about += f"; image of {size:.0f} GiB with {machine.guest.data_bytes / GIB:.2f} GiB of files in it"
    print(f"{about}.\n\n{as_table(bench.bars)}")
    path = bench.work / "results.json"
    path.write_text(json.dumps(as_json(bench.bars), indent=2) + "\n", encoding="utf-8")
    bench.say(f"{path} holds the same and every single run.")


if __name__ == "__main__":
    main()
