# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the chunk size costs and saves: the same image and histories, pushed and pulled with chunks of several sizes.

Prints the tables of docs/chunk-size.md.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.macfleet.parallels.tests.bench.deltas import (
    BASE,
    HISTORIES,
    WITH,
    WITHOUT,
    UpdateStand,
    happened,
)
from ansible_collections.macfleet.parallels.tests.bench.stand import MIB, Bench, Case, new_stand
from ansible_collections.macfleet.parallels.tests.support import bundles
from ansible_collections.macfleet.parallels.tests.support.volume import reflink_volume

KIB = 1024
CHUNK_SIZES = (256 * KIB, 512 * KIB, MIB, 2 * MIB)


@dataclass(frozen=True)
class Cold:
    """The first version: seconds, and bytes."""

    push_seconds: float
    pull_seconds: float
    chunks: int
    encoded_bytes: int
    index_bytes: int
    push_peak_bytes: int
    pull_peak_bytes: int


@dataclass(frozen=True)
class Warm:
    """A second version: seconds of push and pull, and the bytes that the pull moved with deltas and without."""

    push_seconds: float
    pull_seconds: float
    moved: int
    moved_without: int
    pull_peak_bytes: int


def print_tables(bench: Bench, case: Case, first: bundles.SampleVm, volume_bytes: int) -> None:
    """Measure each size on a server and a volume of its own."""
    cold, warm = {}, {}
    for chunk_size in CHUNK_SIZES:
        bench.say(f"chunks of {_name(chunk_size)}")
        with (
            new_stand(bench, f"chunks-{chunk_size}") as stand,
            reflink_volume(bench.work, volume_bytes) as volume,
        ):
            updates = UpdateStand(stand, case, volume, chunk_size)
            machine = first.copy_to(str(volume / "first"))
            cold[chunk_size] = measure_cold(updates, machine)
            warm[chunk_size] = measure_warm(updates, machine, volume)
    print("\n".join([*cold_rows(cold), "", *warm_rows(warm)]))


def measure_cold(updates: UpdateStand, first: bundles.SampleVm) -> Cold:
    """Push and pull the first version."""
    pushed = updates.push(first, WITH, BASE, None)
    updates.push(first, WITHOUT, BASE, None)
    pulled = updates.pull(WITH, BASE)
    told = pushed.result
    return Cold(
        pushed.seconds,
        pulled.seconds,
        told["chunks"]["new"],
        told["bytes"]["encoded"],
        pulled.result["bytes"]["index"],
        pushed.peak_bytes,
        pulled.peak_bytes,
    )


def measure_warm(updates: UpdateStand, first: bundles.SampleVm, volume: Path) -> dict[str, Warm]:
    """Push and pull each history; by its name."""
    found = {}
    for history in HISTORIES:
        with happened(history, first, volume) as machine:
            version = f"{history.version}.0"
            pushed = updates.push(machine, WITH, version, BASE)
            updates.push(machine, WITHOUT, version, BASE)
            without, moved = updates.moved(WITHOUT, version), updates.moved(WITH, version)
            updates.remove(version)
            pulled = updates.pull(WITH, version)
            updates.remove(version)
        found[history.name] = Warm(pushed.seconds, pulled.seconds, moved, without, pulled.peak_bytes)
    return found


def cold_rows(found: t.Mapping[int, Cold]) -> list[str]:
    """The Markdown table of first versions."""
    rows = [
        "| chunk size | chunks | encoded MiB | index KiB | push s | pull s | push, MiB | pull, MiB of memory |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for size, one in found.items():
        cells = [
            _name(size),
            str(one.chunks),
            _mib(one.encoded_bytes),
            f"{one.index_bytes / KIB:.0f}",
            f"{one.push_seconds:.1f}",
            f"{one.pull_seconds:.1f}",
            _mib(one.push_peak_bytes),
            _mib(one.pull_peak_bytes),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def warm_rows(found: t.Mapping[int, t.Mapping[str, Warm]]) -> list[str]:
    """The Markdown table of second versions."""
    rows = [
        "| history | chunk size | moved MiB | without deltas MiB | push s | pull s | pull, peak MiB |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for history in HISTORIES:
        for size, histories in found.items():
            one = histories[history.name]
            cells = [
                history.name,
                _name(size),
                f"{one.moved / MIB:.2f}",
                _mib(one.moved_without),
                f"{one.push_seconds:.1f}",
                f"{one.pull_seconds:.2f}",
                _mib(one.pull_peak_bytes),
            ]
            rows.append(f"| {' | '.join(cells)} |")
    return rows


def _name(size: int) -> str:
    return f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"


def _mib(count: float) -> str:
    return f"{count / MIB:.1f}" if count < 100 * MIB else f"{count / MIB:.0f}"
