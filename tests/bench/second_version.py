# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A second version, a pull with nothing to do, and transfers that were killed at half."""

from __future__ import annotations

import statistics
import time
import typing as t
from pathlib import Path

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import index
from ansible_collections.macfleet.parallels.tests.bench import chunk_sizes
from ansible_collections.macfleet.parallels.tests.bench.report import AT_MOST, Bar
from ansible_collections.macfleet.parallels.tests.bench.stand import (
    MAIN_CASE,
    MIB,
    TRANSFER_SECONDS,
    Stand,
    ask,
    pull_options,
    push_options,
    scratch,
    volume_bytes,
)
from ansible_collections.macfleet.parallels.tests.bench.watch import kill_module
from ansible_collections.macfleet.parallels.tests.integration.gate import DOWN, Gate
from ansible_collections.macfleet.parallels.tests.support import bundles
from ansible_collections.macfleet.parallels.tests.support.volume import NoVolume, free_bytes, reflink_volume

POLL_SECONDS = 0.05
NOOPS = 5


def measure_rest(stand: Stand, first: bundles.SampleVm, second: bundles.SampleVm) -> None:
    """All that is not throughput."""
    try:
        with reflink_volume(stand.bench.work, volume_bytes(first)) as volume:
            measure_second_version(stand, first, second, volume)
    except NoVolume as error:
        stand.bench.bars.append(Bar("everything on reflinks", None, "", note=str(error)))
        return
    measure_resume(stand, first)


def measure_second_version(stand: Stand, first: bundles.SampleVm, second: bundles.SampleVm, volume: Path) -> None:
    """Cached pull, second version, nothing to do: on a file system with reflinks."""
    bench, case = stand.bench, MAIN_CASE
    cache = volume / "cache"
    cache.mkdir(mode=0o700)
    stand.module(case.host, "catalog_push", push_options(case, first, "delta", "1.0.0"))
    cold, _peak = stand.module(case.host, "catalog_pull", pull_options("delta", "1.0.0", cache))
    vm = {"state": "present", "name": "bench-1", "path": str(volume / "machines")}
    before = free_bytes(volume)
    cached, _peak = stand.module(case.host, "catalog_pull", pull_options("delta", "1.0.0", cache, **vm))
    taken = before - free_bytes(volume)
    bench.bars.append(Bar("pull when cached, reflinks", cached.result["elapsed"], "s", AT_MOST, 1.0, "state: present"))
    bench.bars.append(
        Bar("pull when cached, space taken", taken / MIB, "MiB", AT_MOST, 8.0, "metadata only: no data blocks copied")
    )
    measure_noop(stand, pull_options("delta", "1.0.0", cache, **vm))
    bench.say("the second version")
    changed = changed_bytes(first, second, cold.result["manifest"]["chunk_size"])
    stored = stand.server.stored_bytes()
    # By whole chunks: what deltas save is measured in deltas.py.
    stand.module(case.host, "catalog_push", {**push_options(case, second, "delta", "1.1.0"), "deltas": False})
    uploaded = stand.server.stored_bytes() - stored
    note = f"{uploaded / MIB:.1f} MiB stored for {changed / MIB:.1f} MiB of changed chunks, index included"
    bench.bars.append(Bar("second version, uploaded", uploaded / changed, "×", AT_MOST, 1.15, note))
    measure_busy_seed(stand, cache, volume)
    # It came while the machine was made; once more, for its figures.
    stand.module(
        case.host,
        "catalog_cache",
        {"cache_path": str(cache), "state": "absent", "catalog_id": "delta", "version": "1.1.0"},
    )
    pulled, _peak = stand.module(case.host, "catalog_pull", pull_options("delta", "1.1.0", cache))
    downloaded = pulled.result["bytes"]["downloaded"] + index_bytes(stand, "1.1.0")
    note = f"{downloaded / MIB:.1f} MiB, index included"
    bench.bars.append(Bar("second version, downloaded", downloaded / changed, "×", AT_MOST, 1.15, note))
    allowed = max(cold.result["elapsed"] * 0.1, 1.0)
    note = f"cold on the same volume: {cold.result['elapsed']:.1f} s"
    bench.bars.append(Bar("second version, pull, reflinks", pulled.result["elapsed"], "s", AT_MOST, allowed, note))


def measure_busy_seed(stand: Stand, cache: Path, volume: Path) -> None:
    """A machine is made of a cached image while a newer version is pulled with that image as its seed."""
    bench, case = stand.bench, MAIN_CASE
    with Gate(stand.server.url) as gate:
        held_at = index_bytes(stand, "1.1.0") + 4 * MIB
        gate.hold(DOWN, lambda moved: moved >= held_at)
        newer = {**pull_options("delta", "1.1.0", cache), "catalog_url": gate.url}
        run, _mark = stand.start(case.host, [{"macfleet.parallels.catalog_pull": newer}])
        try:
            if not gate.wait_until_held(TRANSFER_SECONDS):
                raise RuntimeError(f"the pull did not begin to download, see {run.log}")
            vm = {"state": "present", "name": "bench-busy", "path": str(volume / "machines")}
            made, _peak = stand.module(case.host, "catalog_pull", pull_options("delta", "1.0.0", cache, **vm))
            gate.release()
            pulled = run.wait(TRANSFER_SECONDS)[-1]
        finally:
            gate.release()
            run.end()
    if not made.result["changed"] or not pulled.result["changed"]:
        raise RuntimeError("neither of two pulls may find its work done")
    bench.bars.append(
        Bar("machine of a cached image while it is a seed", made.result["elapsed"], "s", AT_MOST, 1.0, "reflinks")
    )


def measure_noop(stand: Stand, options: t.Mapping[str, t.Any]) -> None:
    """A pull that finds everything done, beside an empty module."""
    tasks: list[dict[str, t.Any]] = []
    for unused in range(NOOPS):
        tasks += [{"ansible.builtin.ping": {}}, {"macfleet.parallels.catalog_pull": dict(options)}]
    before = len(stand.server.requests())
    run, _mark = stand.start(MAIN_CASE.host, tasks)
    results = run.wait(TRANSFER_SECONDS)
    asked = stand.server.requests()[before:]
    empty = statistics.median(done.seconds for done in results if done.action.endswith("ping"))
    pulls = [done for done in results if done.action.endswith("catalog_pull")]
    if any(done.result["changed"] for done in pulls):
        raise RuntimeError("a pull of what is there reports a change")
    seconds = statistics.median(done.seconds for done in pulls)
    note = f"{seconds:.2f} s, empty module {empty:.2f} s, medians of {NOOPS}"
    stand.bench.bars.append(
        Bar("pull with nothing to do, over an empty module", seconds - empty, "s", AT_MOST, 0.5, note)
    )
    stand.bench.bars.append(
        Bar("pull with nothing to do, requests", len(asked) / NOOPS, "", AT_MOST, 1.0, ", ".join(sorted(set(asked))))
    )


def measure_resume(stand: Stand, machine: bundles.SampleVm) -> None:
    """Kill a push and a pull at half, run them again, see what moves again."""
    bench, case = stand.bench, MAIN_CASE
    whole = index_of(stand, "1.0.0")["stored_bytes"]
    bench.say("a push killed at half")
    task = {"macfleet.parallels.catalog_push": push_options(case, machine, "resume", "1.0.0")}
    before = stand.server.stored_bytes()
    kill_when(stand, task, lambda: stand.server.stored_bytes() - before >= whole / 2)
    half = stand.server.stored_bytes()
    stand.module(case.host, "catalog_push", push_options(case, machine, "resume", "1.0.0"))
    again = stand.server.stored_bytes() - half
    note = f"{again / MIB:.0f} of {whole / MIB:.0f} MiB after {(half - before) / MIB:.0f} MiB"
    bench.bars.append(Bar("push killed at half, moved again", again / whole * 100, "%", AT_MOST, 55, note))
    bench.say("a pull killed at half")
    with scratch(bench, "cache") as cache:
        cache.chmod(0o700)
        options = pull_options("resume", "1.0.0", cache)
        # Half of what moves: of the bytes on the disk, half is more or less of that.
        with Gate(stand.server.url) as gate:
            task = {"macfleet.parallels.catalog_pull": {**options, "catalog_url": gate.url}}
            kill_when(stand, task, lambda: gate.moved(DOWN) >= whole / 2)
            moved = gate.moved(DOWN)
        pulled, _peak = stand.module(case.host, "catalog_pull", options)
    again = pulled.result["bytes"]["downloaded"]
    note = f"{again / MIB:.0f} of {whole / MIB:.0f} MiB after {moved / MIB:.0f} MiB"
    bench.bars.append(Bar("pull killed at half, moved again", again / whole * 100, "%", AT_MOST, 55, note))


def kill_when(stand: Stand, task: dict[str, t.Any], reached: t.Callable[[], bool]) -> None:
    """Start a task, end module and controller the hard way as soon as a condition holds."""
    run, mark = stand.start(MAIN_CASE.host, [task])
    try:
        deadline = time.monotonic() + TRANSFER_SECONDS
        while not reached():
            if run.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the task ended before it was at half, see {run.log}")
            time.sleep(POLL_SECONDS)
        if not kill_module(mark):
            raise RuntimeError("there was no module to kill")
        run.kill()
        # What a worker may have started in between.
        kill_module(mark)
    finally:
        run.end()


def index_of(stand: Stand, version: str) -> dict[str, t.Any]:
    """The manifest of a version of the image ``delta`` as the server tells it."""
    answer = ask(stand, f"manifests?catalog_id=delta&version={version}")
    return dict(answer["manifests"][0])


def index_bytes(stand: Stand, version: str) -> int:
    """Size of listing and locator."""
    manifest = index_of(stand, version)["id"]
    return sum(len(ask(stand, f"manifests/{manifest}/{name}")) for name in ("listing", "locator"))


def changed_bytes(first: bundles.SampleVm, second: bundles.SampleVm, chunk_size: int) -> int:
    """Encoded bytes of the chunks of the second image that the first has not."""
    before = chunk_sizes.examine(bundles.image_path(first.bundle), chunk_size, index.CODEC_RAW)
    known = {piece.identity for piece in before}
    after = chunk_sizes.examine(bundles.image_path(second.bundle), chunk_size, index.CODEC_DEFLATE, known)
    return sum({piece.identity: piece.encoded_bytes for piece in after}.values())
