# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the plan of a pull takes: memory for each chunk, and time of a processor. Each in a process of its own.

    python -m ansible_collections.macfleet.parallels.tests.support.plan_cost CHUNKS CHUNK_SIZE [--seed]

prints it as JSON for an image of one disk without holes or repeats, its index included. With ``--seed`` there is a
seed that differs in each 20th chunk.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import typing as t
from array import array
from pathlib import Path

from ansible_collections.macfleet.parallels.plugins.module_utils._base.link import DEFAULT_LINK
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    FILE,
    Entry,
    Listing,
    Locator,
    SegmentRef,
    chunk_rows,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import (
    decode_listing,
    encode_listing,
    make_listing,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import decode_locator, encode_locator
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.plan import plan_pull
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.seeds import Seed

DISK = "d.hds"
SEGMENT_BYTES = 32 << 20
CHANGED = 20


def make_index(directory: Path, chunks: int, chunk_size: int) -> None:
    """Write listing and locator of an image, and the listing of a seed."""
    source = random.Random(7)
    ids = bytearray(source.getrandbits(8 * 32 * chunks).to_bytes(32 * chunks, "little"))
    disk = Entry(FILE, DISK, size=chunks * chunk_size, chunk_count=chunks)
    listing = make_listing(chunk_size, [disk], bytes(ids))
    (directory / "listing").write_bytes(encode_listing(listing))
    (directory / "locator").write_bytes(encode_locator(_locator(listing, source)))
    for number in range(0, chunks, CHANGED):
        ids[32 * number : 32 * number + 32] = source.getrandbits(256).to_bytes(32, "little")
    (directory / "seed").write_bytes(encode_listing(make_listing(chunk_size, [disk], bytes(ids))))


def _locator(listing: Listing, source: random.Random) -> Locator:
    """All chunks one behind the other, each shrunk to between a quarter and a half."""
    numbers, offsets, lengths = array("I"), array("I"), array("I")
    segments: list[SegmentRef] = []
    end = SEGMENT_BYTES
    for _row in range(listing.chunk_total):
        if end >= SEGMENT_BYTES:
            segments.append(SegmentRef("0" * 32, f"{len(segments):064x}", 2 * SEGMENT_BYTES))
            end = 8
        numbers.append(len(segments) - 1)
        offsets.append(end)
        lengths.append(source.randrange(listing.chunk_size // 4, listing.chunk_size // 2))
        end += lengths[-1]
    return Locator(listing.digest, tuple(segments), numbers, offsets, lengths, bytes([1]) * len(lengths))


def plan(directory: Path, with_seed: bool) -> dict[str, t.Any]:
    """Read the index and plan; return what that took."""
    before = _status("VmRSS")
    started = time.process_time()
    listing_file, locator_file = (directory / "listing").read_bytes(), (directory / "locator").read_bytes()
    listing = decode_listing(listing_file)
    rows = chunk_rows(listing)
    locator = decode_locator(locator_file, listing, rows)
    seeds = []
    if with_seed:
        seeds.append(Seed("/seed", decode_listing((directory / "seed").read_bytes()), frozenset({DISK})))
    made = plan_pull(listing, rows, locator, present_ids={}, seeds=seeds, can_clone=True, link=DEFAULT_LINK)
    return {
        "chunks": listing.chunk_total,
        "to_download": made.download_chunks,
        "requests": made.download_requests,
        "bytes_per_chunk": round((_status("VmHWM") - before) / listing.chunk_total, 1),
        "peak_mib": _status("VmHWM") >> 20,
        "processor_seconds": round(time.process_time() - started, 2),
    }


def _status(field: str) -> int:
    """Return a field of Linux's account of this process, in bytes; the peak of getrusage(2) may be the parent's."""
    found = re.search(field + r":\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found.group(1)) * 1024


def measure(directory: Path, chunks: int, chunk_size: int, *, with_seed: bool = False) -> dict[str, t.Any]:
    """Return what the plan of an image takes, in a process of its own."""
    make_index(directory, chunks, chunk_size)
    found: dict[str, t.Any] = json.loads(
        subprocess.run(
            [sys.executable, "-m", __spec__.name if __spec__ else __name__, "0", "0", "--plan", str(directory)]
            + ["--seed"] * with_seed,
            check=True,
            stdout=subprocess.PIPE,
            timeout=600,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        ).stdout
    )
    return found


def main() -> None:
    """Measure, and print what was measured."""
    parser = argparse.ArgumentParser(description="What the plan of a pull takes.")
    parser.add_argument("chunks", type=int)
    parser.add_argument("chunk_size", type=int)
    parser.add_argument("--seed", action="store_true")
    parser.add_argument("--plan", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.plan:
        print(json.dumps(plan(arguments.plan, arguments.seed)))
        return
    with tempfile.TemporaryDirectory() as directory:
        found = measure(Path(directory), arguments.chunks, arguments.chunk_size, with_seed=arguments.seed)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
