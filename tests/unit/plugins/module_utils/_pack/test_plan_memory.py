# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The memory that a plan takes for each chunk of an image, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

CHUNKS = 200_000
# The files of the index, what is read from them, and the plan, at their highest.
BOUND_BYTES = 130

COMMON = """
import json, random, re, resource, sys, time
from array import array
from ansible_collections.macfleet.parallels.plugins.module_utils._base.link import DEFAULT_LINK
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    Entry, Locator, SegmentRef, chunk_rows
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import (
    decode_listing, encode_listing, make_listing
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import decode_locator, encode_locator
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.plan import plan_pull

directory, count, chunk_size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
"""

MAKE = (
    COMMON
    + """
source = random.Random(7)
ids = source.getrandbits(8 * 32 * count).to_bytes(32 * count, "little")
disk = Entry("file", "d.hds", size=count * chunk_size, chunk_count=count)
listing = make_listing(chunk_size, [disk], ids)
numbers, offsets, lengths, sizes = array("I"), array("I"), array("I"), []
end = 0
for row in range(count):
    if not sizes or end >= 32 << 20:
        sizes.append(64 << 20)
        end = 8
    numbers.append(len(sizes) - 1)
    offsets.append(end)
    lengths.append(source.randrange(chunk_size // 4, chunk_size // 2))
    end += lengths[-1]
segments = tuple(SegmentRef("0" * 32, "%064x" % number, size) for number, size in enumerate(sizes))
locator = Locator(listing.digest, segments, numbers, offsets, lengths, bytes([1]) * count)
for name, data in (("listing", encode_listing(listing)), ("locator", encode_locator(locator))):
    with open(f"{directory}/{name}", "wb") as stream:
        stream.write(data)
"""
)

PLAN = (
    COMMON
    + """
def status(field):
    with open("/proc/self/status") as stream:
        return int(re.search(field + r":\\s+(\\d+) kB", stream.read()).group(1)) * 1024


before = status("VmRSS")
started = time.process_time()
with open(directory + "/listing", "rb") as stream:
    listing_file = stream.read()
with open(directory + "/locator", "rb") as stream:
    locator_file = stream.read()
listing = decode_listing(listing_file)
rows = chunk_rows(listing)
locator = decode_locator(locator_file, listing, rows)
plan = plan_pull(listing, rows, locator, present_ids={}, seeds=[], can_clone=True, link=DEFAULT_LINK)
assert plan.download_chunks == count
print(json.dumps({"taken": status("VmHWM") - before, "seconds": time.process_time() - started}))
"""
)


def run(script: str, directory: Path, chunks: int, chunk_size: int) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", script, str(directory), str(chunks), str(chunk_size)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def planned(directory: Path, chunks: int, chunk_size: int) -> dict[str, t.Any]:
    """What the plan of a cold pull takes: bytes of memory beyond those of an empty process, seconds of a processor."""
    run(MAKE, directory, chunks, chunk_size)
    found: dict[str, t.Any] = json.loads(run(PLAN, directory, chunks, chunk_size))
    return found


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the peak of a process is read from /proc")
def test_a_plan_takes_few_bytes_for_each_chunk(tmp_path: Path) -> None:
    assert planned(tmp_path, CHUNKS, 256 << 10)["taken"] / CHUNKS <= BOUND_BYTES
