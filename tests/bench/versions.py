# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Twenty versions, each pushed on the one before: what hosts move that are one behind, or many.

At last, three in ten of the objects of deltas are lost or damaged: every pull is right all the same.
"""

from __future__ import annotations

import random
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import verify
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import decode_listing
from ansible_collections.macfleet.parallels.tests.bench.changed_blocks import ChangedBlocks, changed_blocks
from ansible_collections.macfleet.parallels.tests.bench.deltas import WITH, WITHOUT, UpdateStand, disk_of
from ansible_collections.macfleet.parallels.tests.bench.report import AT_MOST, Bar
from ansible_collections.macfleet.parallels.tests.support import bundles

COUNT = 20
UPDATE_SHARE = 0.002
BOOT_WRITES = 2000
DAMAGED_SHARE = 0.3
# What a host may move that is behind, over the cheaper of both ways
MOST_BEHIND = 1.05
LAST = f"1.{COUNT - 1}.0"


@dataclass(frozen=True)
class Version:
    """One of the versions, and what leads to it from the one before: bytes of delta and patches, changed blocks."""

    name: str
    delta_bytes: int
    blocks: ChangedBlocks | None


def measure_versions(updates: UpdateStand, first: bundles.SampleVm, volume: Path) -> None:
    """Push them, then let hosts pull: one behind, and each number behind."""
    made = push_versions(updates, first, volume)
    moved_whole = dict.fromkeys((one.name for one in made), 0)
    updates.pull(WITH, made[0].name)
    one_behind, behind = [], []
    for number, version in enumerate(made[:-1]):
        # The cache holds this version alone.
        updates.bench.say(f"a host that has {version.name}")
        moved_whole[version.name] = updates.moved(WITHOUT, LAST)
        moved = updates.moved(WITH, LAST)
        deltas = sum(one.delta_bytes for one in made[number + 1 :])
        behind.append(moved / min(deltas, moved_whole[version.name]))
        updates.remove(LAST)
        following = made[number + 1]
        moved = updates.moved(WITH, following.name)
        if following.blocks is not None:
            one_behind.append(moved / following.blocks.encoded_bytes)
        check_cached(updates, following.name)
        updates.remove(version.name)
    updates.bench.bars += [
        worst("each of 20 versions, one behind: over the changed blocks", one_behind, 1.25),
        worst("1 to 19 versions behind: over the cheaper of deltas and no deltas", behind, MOST_BEHIND),
    ]
    updates.remove(LAST)
    damage(updates, made)


def push_versions(updates: UpdateStand, first: bundles.SampleVm, volume: Path) -> list[Version]:
    """Push all versions, updates and boots in turn; the build host has each base in its cache."""
    machine = first.copy_to(str(volume / "machine"))
    before = volume / "before.hds"
    made: list[Version] = []
    for number in range(COUNT):
        name = f"1.{number}.0"
        updates.bench.say(f"version {name}")
        if number % 2:
            machine.boot(BOOT_WRITES, seed=number)
        elif number:
            machine.update(UPDATE_SHARE, seed=number)
        base = made[-1].name if made else None
        pushed = updates.push(machine, WITH, name, base).result
        deltas = sum(one["bytes"] + one["patch_bytes"] for one in pushed["deltas"])
        chunk_size, provider = pushed["manifest"]["chunk_size"], updates.case.provider
        blocks = changed_blocks(before, disk_of(machine), chunk_size, provider) if made else None
        made.append(Version(name, deltas, blocks))
        updates.pull(WITH, name)
        if base:
            updates.remove(base)
        subprocess.run(["cp", "--reflink=always", str(disk_of(machine)), str(before)], check=True)
    updates.push(machine, WITHOUT, LAST, None)
    updates.remove(LAST)
    return made


def check_cached(updates: UpdateStand, name: str) -> None:
    """Check the content of a version in the cache, file by file.

    :raises RuntimeError: it is not right
    """
    image = updates.image_of(name)
    bundle = image.parents[1]
    listing = decode_listing((bundle.parent / "listing").read_bytes())
    if verify.damaged_paths(str(bundle), listing):
        raise RuntimeError(f"{name} is not right in the cache")


def damage(updates: UpdateStand, made: t.Sequence[Version]) -> None:
    """Lose or damage some objects of deltas, and pull the last version from each of a few others."""
    chance = random.Random(1)
    storage = updates.stand.server.storage
    objects = sorted(path for kind in ("delta", "patches") for path in storage.rglob(f"*.{kind}"))
    lost = chance.sample(objects, round(DAMAGED_SHARE * len(objects)))
    for path in lost:
        if chance.random() < 0.5:
            path.unlink()
        else:
            data = bytearray(path.read_bytes())
            data[chance.randrange(len(data))] ^= 1
            path.write_bytes(data)
    updates.pull(WITH, made[0].name)
    for number in range(COUNT - 1):
        updates.bench.say(f"{made[number + 1].name}, with damaged deltas")
        updates.pull(WITH, made[number + 1].name)
        check_cached(updates, made[number + 1].name)
        updates.remove(made[number].name)
    updates.stand.server.command("gc")
    note = f"{len(lost)} of {len(objects)} objects lost or damaged; gc ended well"
    updates.bench.bars.append(Bar("pulls with damaged deltas that were right", COUNT - 1, "", "≥", COUNT - 1, note))


def worst(what: str, ratios: t.Sequence[float], asked: float) -> Bar:
    """The worst of some ratios."""
    note = f"least {min(ratios):.2f}, of {len(ratios)}"
    return Bar(what, max(ratios), "×", AT_MOST, asked, note, list(ratios))
