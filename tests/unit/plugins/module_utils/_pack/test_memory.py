# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Memory of push and pull does not grow with the machine: each in a process of its own, on a few hundred MB."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MIB = 1 << 20
# The engine's share of what push and pull may take; the interpreter itself is not in it.
BOUNDS_MIB = {"push": 220, "pull": 100, "seeded": 80}
DATA_MIB = 192
HOLE_MIB = 512

SCRIPT = """
import hashlib, json, os, resource, sys, tempfile
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import bundle, codecs, index, plan, reader
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import verify, writer
from ansible_collections.macfleet.parallels.plugins.module_utils._base.link import DEFAULT_LINK
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.seeds import Seed
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index_file import decode_index, encode_index
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import encode_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import encode_locator
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.reuse import KnownChunks

directory, action, codec, chunk_size, workers = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
root, store = directory + "/A.pvm", directory + "/store"


def peak():
    # Linux counts kilobytes, macOS bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def put(data):
    name = hashlib.sha256(data).hexdigest()
    with open(f"{store}/{name}", "wb") as stream:
        stream.write(data)
    return index.SegmentRef("0" * 32, name, len(data))


def fetch(segment, offset, length):
    with open(f"{store}/{segment.sha256}", "rb") as stream:
        stream.seek(offset)
        return stream.read(length)


codecs.make_encoder(codec, 1)
before = peak()
if action == "push":
    snapshot = bundle.inspect(root, chunk_size)
    written = writer.write_pack(snapshot, KnownChunks(), codecs.make_encoder(codec, 1), put, workers=workers)
    listing = encode_listing(written.listing)
    with open(directory + "/index", "wb") as stream:
        stream.write(encode_index(listing, encode_locator(written.locator)))
else:
    with open(directory + "/index", "rb") as stream:
        read = decode_index(stream.read())
    target = tempfile.mkdtemp(dir=directory)
    seeds = [Seed(root, read.listing, frozenset())] if action == "seeded" else []
    made = plan.plan_pull(
        read.listing, read.rows, read.locator, present_ids={}, seeds=seeds, can_clone=False, link=DEFAULT_LINK
    )
    reader.apply_plan(made, target, fetch=fetch, clone_file=None, workers=workers)
    assert verify.damaged_paths(target, read.listing, workers=workers) == []
print(json.dumps({"peak": peak(), "before": before}))
"""


@pytest.fixture(name="desk", scope="module")
def desk_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    desk = tmp_path_factory.mktemp("memory")
    disk = desk / "A.pvm" / "harddisk.hdd"
    disk.mkdir(parents=True)
    (desk / "store").mkdir()
    (desk / "A.pvm/config.pvs").write_text("<a/>")
    with (disk / "a.hds").open("wb") as stream:
        for number in range(DATA_MIB):
            stream.write(os.urandom(MIB) if number % 2 else os.urandom(16) * (MIB // 16))
            if number % 64 == 0:
                stream.seek(HOLE_MIB * MIB // 4, os.SEEK_CUR)
    return desk


def peak_mib(desk: Path, action: str, codec: int, chunk_size: int, workers: int) -> float:
    """What a process of the engine took at most, beyond what it took before it began."""
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(desk), action, *map(str, (codec, chunk_size, workers))],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert finished.returncode == 0, finished.stderr
    told = json.loads(finished.stdout)
    return (told["peak"] - told["before"]) / MIB


def test_peaks_stay_below_their_bounds(desk: Path) -> None:
    # Raw chunks are the largest. The pulls read what the push wrote.
    peaks = {action: peak_mib(desk, action, 0, MIB, 2) for action in BOUNDS_MIB}
    assert {action: peak for action, peak in peaks.items() if peak > BOUNDS_MIB[action]} == {}
