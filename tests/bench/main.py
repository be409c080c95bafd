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
import statistics
import time
import typing as t
from pathlib import Path

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import index
from ansible_collections.macfleet.parallels.tests.bench import chunk_sizes, network, small_files
from ansible_collections.macfleet.parallels.tests.bench.report import AT_MOST, Bar, as_json, as_table
from ansible_collections.macfleet.parallels.tests.bench.server_parts import measure_server
from ansible_collections.macfleet.parallels.tests.bench.stand import (
    ARCHITECTURE,
    GIB,
    MIB,
    TRANSFER_SECONDS,
    Bench,
    Case,
    Stand,
    ask,
    new_stand,
    pull_options,
    push_options,
    scratch,
)
from ansible_collections.macfleet.parallels.tests.bench.watch import kill_module
from ansible_collections.macfleet.parallels.tests.integration.gate import DOWN, Gate
from ansible_collections.macfleet.parallels.tests.support import bundles
from ansible_collections.macfleet.parallels.tests.support.signals import end_in_order
from ansible_collections.macfleet.parallels.tests.support.volume import (
    NoVolume,
    free_bytes,
    keep_mounts_private,
    reflink_volume,
)

POLL_SECONDS = 0.05
NOOPS = 5
# Enough for the background; what it is pulled through decides how long it takes.
WATCHED_BYTES = 96 * MIB
WATCHED_SECONDS = (1, 5, 20, 60)
IMAGE_PARTS = ("throughput", "small-files", "watching", "long-way", "silence", "rest")
SERVER = "server"
PARTS = (*IMAGE_PARTS, SERVER)
SMALL_FILES = 5000


CASES = (
    Case("deflate by zlib", "deflate", "zlib", "plain", 0.8),
    Case("deflate by isal", "deflate", "isal", "fast", 0.85),
    Case("zstd", "zstd", "zstandard", "fast", 0.85),
)
MAIN_CASE = CASES[1]


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
                limit=case.asked,
                note=note,
                runs=times[verb],
            )
        )
        bench.bars.append(
            Bar(f"{verb}, peak memory, {case.name}", peaks[verb] / MIB, "MiB", AT_MOST, 256, "most of any one process")
        )


def measure_delta(stand: Stand, first: bundles.SampleVm, second: bundles.SampleVm, volume: Path) -> None:
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
    stand.module(case.host, "catalog_push", push_options(case, second, "delta", "1.1.0"))
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


def parse() -> argparse.Namespace:
    """Arguments; ``prepare.py`` fills in the first three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", required=True)
    parser.add_argument("--server-python", required=True)
    parser.add_argument("--plain-python", required=True)
    parser.add_argument("--data-gib", type=float, default=bundles.BENCH.data_bytes / GIB)
    parser.add_argument("--logical-gib", type=float, default=bundles.BENCH.logical_bytes / GIB)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=PARTS, help="a part of it")
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
                measure_throughput(stand, case, first, runs)
    if "small-files" in parts:
        with new_stand(bench, "small-files") as stand:
            measure_small_files(stand, runs)
    if "watching" in parts:
        with new_stand(bench, "watching") as stand:
            measure_watching(stand)
    if "long-way" in parts:
        with new_stand(bench, "long-way") as stand:
            network.measure_long_way(stand)
    if "silence" in parts:
        with new_stand(bench, "silence", CATALOG_GRANT_SECONDS=str(network.GRANT_SECONDS)) as stand:
            network.measure_silence(stand, first)
    if "rest" in parts:
        with new_stand(bench, "rest") as stand:
            measure_rest(stand, first, second)


def measure_rest(stand: Stand, first: bundles.SampleVm, second: bundles.SampleVm) -> None:
    """All that is not throughput."""
    size = int(4 * first.guest.data_bytes) + 4 * GIB
    try:
        with reflink_volume(stand.bench.work, size) as volume:
            measure_delta(stand, first, second, volume)
    except NoVolume as error:
        stand.bench.bars.append(Bar("everything on reflinks", None, "", note=str(error)))
        return
    measure_resume(stand, first)


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
