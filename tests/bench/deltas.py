# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an update moves and takes with deltas, beside whole chunks, the changed blocks themselves, and other programs.

Two catalog ids get the same versions, one with deltas and one without. A host has the first version in its cache, on a
file system with reflinks.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import statistics
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.macfleet.parallels.tests.bench.changed_blocks import ChangedBlocks, changed_blocks
from ansible_collections.macfleet.parallels.tests.bench.peers import Peer, find_peers
from ansible_collections.macfleet.parallels.tests.bench.report import AT_MOST, Bar
from ansible_collections.macfleet.parallels.tests.bench.stand import (
    MIB,
    Case,
    Stand,
    pull_options,
    push_options,
    scratch,
)
from ansible_collections.macfleet.parallels.tests.integration.gate import DOWN, Gate
from ansible_collections.macfleet.parallels.tests.support import bundles
from ansible_collections.macfleet.parallels.tests.support.ansible_runs import TaskResult

WITH, WITHOUT = "with-deltas", "without-deltas"
NOTHING = "nothing to do"
BASE = "1.0.0"
RUNS = 3
# Answers of the API and heads of HTTP, beside what the result of a pull counts
BESIDE_BYTES = 256 << 10


@dataclass(frozen=True)
class History:
    """What happened to the image, and what may be moved for it."""

    name: str
    version: str
    happen: t.Callable[[bundles.SampleVm], object]
    most_bytes: int | None
    most_of_whole_chunks: float | None
    most_of_peers: float


HISTORIES = (
    History("update 1 %, directories", "1.1", lambda machine: machine.update(0.01), None, 0.45, 1.0),
    History("update 1 %, single files", "1.2", lambda machine: machine.update(0.01, by="file"), None, 0.45, 1.0),
    History("boot", "1.3", lambda machine: machine.boot(2000), 4 * MIB, None, 0.1),
)
TIMED = HISTORIES[0]


@dataclass(frozen=True)
class Pulls:
    """What both pulls of a version have moved, all bytes on the wire."""

    with_deltas: int
    without: int


class UpdateStand:
    """Pushes and pulls of two catalog ids, by a host with a cache on a volume with reflinks."""

    def __init__(self, stand: Stand, case: Case, volume: Path, chunk_size: int | None = None) -> None:
        self.stand = stand
        self.bench = stand.bench
        self.case = case
        self.cache = volume / "delta-cache"
        self.cache.mkdir(mode=0o700)
        self._chunk_size = {} if chunk_size is None else {"chunk_size": chunk_size}

    def push(self, machine: bundles.SampleVm, catalog_id: str, version: str, base: str | None) -> Moved:
        """Push a version; its base is the one that is named, and is in the cache as a rule."""
        options = push_options(self.case, machine, catalog_id, version)
        more = {"bases": [base] if base else [], "deltas": catalog_id == WITH, "cache_path": str(self.cache)}
        return Moved(*self.stand.module(self.case.host, "catalog_push", {**options, **self._chunk_size, **more}))

    def pull(self, catalog_id: str, version: str, **more: t.Any) -> Moved:
        """Pull a version into the cache."""
        options = {**pull_options(catalog_id, version, self.cache), **more}
        return Moved(*self.stand.module(self.case.host, "catalog_pull", options))

    def moved(self, catalog_id: str, version: str) -> int:
        """Pull what is not in the cache. Returns all bytes that came over the wire, and checks what the result says."""
        self.remove(version)
        with Gate(self.stand.server.url) as gate:
            told = self.pull(catalog_id, version, catalog_url=gate.url).downloaded_bytes
            moved = gate.moved(DOWN)
        if not told <= moved <= told + BESIDE_BYTES:
            raise RuntimeError(f"the pull says that it has moved {told} bytes; {moved} came over the wire")
        return moved

    def remove(self, version: str) -> None:
        """Remove a version from the cache, whichever catalog id it came from."""
        for catalog_id in (WITH, WITHOUT):
            options = {"cache_path": str(self.cache), "state": "absent", "catalog_id": catalog_id, "version": version}
            self.stand.module(self.case.host, "catalog_cache", options)

    def image_of(self, version: str) -> Path:
        """The disk image of a version that is in the cache."""
        digest = self.pull(WITH, version).result["manifest"]["digest"]
        (image,) = (self.cache / "bundles" / digest / "bundle").rglob("*.hds")
        return image


@dataclass(frozen=True)
class Moved:
    """What a task did, and its peak memory in bytes."""

    task: TaskResult
    peak_bytes: int

    @property
    def result(self) -> dict[str, t.Any]:
        """The result of the module."""
        return dict(self.task.result)

    @property
    def seconds(self) -> float:
        """How long the module worked."""
        return float(self.task.result["elapsed"])

    @property
    def downloaded_bytes(self) -> int:
        """What a pull says that it has downloaded."""
        told = self.task.result["bytes"]
        return int(told["downloaded"]) + int(told["index"])


class Deltas:
    """The measurements on one stand, all of the same first version."""

    def __init__(self, updates: UpdateStand, volume: Path) -> None:
        self.updates = updates
        self.bench = updates.bench
        self.volume = volume

    def measure(self, first: bundles.SampleVm) -> None:
        """All of it."""
        for catalog_id in (WITH, WITHOUT):
            self.updates.push(first, catalog_id, BASE, None)
        cold_seconds = self.updates.pull(WITH, BASE).seconds
        with scratch(self.bench, "peers") as place:
            peers = self._peers_with(place, disk_of(first))
            for history in HISTORIES:
                self.bench.say(f"{history.name}, with deltas")
                with happened(history, first, self.volume) as machine:
                    moved = self._measure_history(history, first, machine, cold_seconds)
                    for peer in peers:
                        self._measure_peer(peer, history, disk_of(machine), moved)

    def _measure_history(
        self, history: History, first: bundles.SampleVm, machine: bundles.SampleVm, cold_seconds: float
    ) -> int:
        """Returns the bytes that the pull with deltas has moved."""
        seconds: dict[str, list[float]] = {WITH: [], WITHOUT: []}
        for run, catalog_id in itertools.product(range(RUNS if history is TIMED else 1), seconds):
            pushed = self.updates.push(machine, catalog_id, f"{history.version}.{run}", BASE)
            seconds[catalog_id].append(pushed.seconds)
        chunk_size = pushed.result["manifest"]["chunk_size"]
        blocks = changed_blocks(disk_of(first), disk_of(machine), chunk_size, self.updates.case.provider)
        version = f"{history.version}.0"
        pulls = Pulls(self.updates.moved(WITH, version), self.updates.moved(WITHOUT, version))
        self.bench.bars += bars_of_bytes(history, pulls, blocks)
        if history is TIMED:
            self.bench.bars.append(bar_of_push(seconds))
            self._measure_pulls(version, blocks, cold_seconds)
        self.updates.remove(version)
        return pulls.with_deltas

    def _measure_pulls(self, version: str, blocks: ChangedBlocks, cold_seconds: float) -> None:
        """Pulls of one version in turn: with deltas, without, and with nothing to do."""
        times: dict[str, list[float]] = {WITH: [], WITHOUT: [], NOTHING: []}
        for _run in range(RUNS):
            for catalog_id in (WITHOUT, WITH):
                self.updates.remove(version)
                times[catalog_id].append(self.updates.pull(catalog_id, version).seconds)
            times[NOTHING].append(self.updates.pull(WITH, version).seconds)
        os.sync()
        unshared = unshared_bytes(self.updates.image_of(version))
        took, plain, nothing = (statistics.median(times[name]) for name in (WITH, WITHOUT, NOTHING))
        note = f"{took:.2f} s, without deltas {plain:.2f} s, nothing to do {nothing:.2f} s, medians of {RUNS}"
        name = "pull of an update"
        self.bench.bars += [
            Bar(
                f"{name}, over one without deltas",
                (took - nothing) / (plain - nothing),
                "×",
                AT_MOST,
                0.7,
                note,
                times[WITH],
            ),
            Bar(
                f"{name}, of a cold one",
                (took - nothing) / cold_seconds * 100,
                "%",
                AT_MOST,
                6,
                f"cold {cold_seconds:.1f} s",
            ),
            Bar(
                f"{name} on reflinks, not shared with the first version",
                unshared / blocks.raw_bytes,
                "×",
                AT_MOST,
                1.3,
                f"{unshared / MIB:.1f} MiB not shared, {blocks.raw_bytes / MIB:.1f} MiB changed",
            ),
        ]

    def _peers_with(self, place: Path, image: Path) -> list[Peer]:
        """The programs that are measured; those that can be had have stored the first version."""
        peers = find_peers(place, self.bench.work / "packages")
        for peer in peers:
            if peer.program is not None:
                self.bench.say(f"{peer.name} stores the first version")
                peer.store(image)
        return peers

    def _measure_peer(self, peer: Peer, history: History, image: Path, ours: int) -> None:
        what, most = f"{history.name}: over {peer.name}", history.most_of_peers
        if peer.program is None:
            self.bench.bars.append(
                Bar(what, None, "×", AT_MOST, most, f"{peer.name} is not installed, and cannot be had")
            )
            return
        self.bench.say(f"{peer.name} stores {history.name}")
        theirs = peer.moved(image)
        note = f"{theirs / MIB:.1f} MiB with its index"
        self.bench.bars.append(Bar(what, ours / theirs, "×", AT_MOST, most, note))


@contextlib.contextmanager
def happened(history: History, first: bundles.SampleVm, volume: Path) -> t.Iterator[bundles.SampleVm]:
    """What becomes of the first version, as a clone that is gone afterwards."""
    directory = volume / history.version
    machine = first.copy_to(str(directory))
    try:
        history.happen(machine)
        yield machine
    finally:
        shutil.rmtree(directory)


def disk_of(machine: bundles.SampleVm) -> Path:
    """The disk image of a machine."""
    return Path(bundles.image_path(machine.bundle))


def bars_of_bytes(history: History, pulls: Pulls, blocks: ChangedBlocks) -> list[Bar]:
    """What a pull has moved: in all, over the blocks, and over whole chunks."""
    name, moved = history.name, pulls.with_deltas
    most = None if history.most_bytes is None else history.most_bytes / MIB
    changed = f"{blocks.raw_bytes / MIB:.1f} MiB changed, {blocks.encoded_bytes / MIB:.2f} MiB encoded"
    whole = f"{pulls.without / MIB:.1f} MiB by whole chunks"
    return [
        Bar(f"{name}: downloaded", moved / MIB, "MiB", AT_MOST, most, "everything on the wire"),
        Bar(f"{name}: over the changed blocks", moved / blocks.encoded_bytes, "×", AT_MOST, 1.25, changed),
        Bar(f"{name}: over whole chunks", moved / pulls.without, "×", AT_MOST, history.most_of_whole_chunks, whole),
    ]


def bar_of_push(seconds: t.Mapping[str, t.Sequence[float]]) -> Bar:
    """What deltas add to a push whose base is in the cache."""
    took, plain = (statistics.median(seconds[catalog_id]) for catalog_id in (WITH, WITHOUT))
    note = f"{took:.1f} s, without deltas {plain:.1f} s, medians of {RUNS}; the base is in the cache"
    return Bar("push of an update, over one without deltas", took / plain, "×", AT_MOST, 1.10, note, [*seconds[WITH]])


def unshared_bytes(path: Path) -> int:
    """Bytes of a file in extents that FIEMAP does not call shared, by filefrag of e2fsprogs."""
    # Lengths are told in units of -b.
    told = subprocess.run(["filefrag", "-v", "-b1024", str(path)], stdout=subprocess.PIPE, text=True, check=True).stdout
    rows = re.findall(r"^ *\d+: +\d+\.\. +\d+: +\d+\.\. +\d+: +(\d+):(.*)$", told, re.MULTILINE)
    return sum(int(length) for length, flags in rows if "shared" not in flags) * 1024
