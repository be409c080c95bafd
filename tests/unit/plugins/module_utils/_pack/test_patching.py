# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pulls by deltas and patches: right content, few bytes, and whole chunks when anything is wrong."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import typing as t
import weakref
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.link import LinkCost
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import (
    chain,
    codecs,
    delta_file,
    delta_make,
    plan,
    reader,
    verify,
    writer,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import DamagedChunk, MalformedIndex
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    CODEC_RAW,
    Locator,
    ObjectRef,
    chunk_rows,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import make_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.pull_plan import PullPlan
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack import helpers
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import CHUNK, IMAGE, noise

BLOCK = 4096


@dataclass
class Lineage:
    """Versions that were pushed one on another; each is a delta away from the one before."""

    storage: helpers.MemoryStorage
    roots: list[Path]
    packs: list[writer.WrittenPack]

    def follow(self, first: int, last: int = -1) -> chain.Followed:
        """Where the deltas lead from one version to another."""
        last = len(self.packs) - 1 if last < 0 else last
        deltas = [
            delta_file.decode_delta(self.packs[number].deltas[0].file, helpers.PACK)
            for number in range(first + 1, last + 1)
        ]
        return chain.follow(self.packs[first].listing, deltas)


def lineage(directory: Path, versions: t.Iterable[t.Mapping[str, bytes]], **options: t.Any) -> Lineage:
    made = Lineage(helpers.MemoryStorage(), [], [])
    for number, files in enumerate(versions):
        root = helpers.make_bundle(directory / f"v{number}.pvm", files)
        if made.packs:
            options["known"] = helpers.known_of(made.packs[-1])
            options["bases"] = [helpers.base_of(made.packs[-1], made.roots[-1])]
            options["put_patches"] = made.storage.put_patches
        made.packs.append(helpers.pack(root, made.storage, **options))
        made.roots.append(root)
    return made


def writes(image: bytes, seed: int, count: int = 3) -> bytes:
    """An image after some blocks were written."""
    rnd, found = random.Random(seed), bytearray(image)
    for _write in range(count):
        place = rnd.randrange(len(found) // BLOCK) * BLOCK
        found[place : place + BLOCK] = rnd.randbytes(BLOCK)
    return bytes(found)


def images(number: int, chunks: int = 24) -> list[dict[str, bytes]]:
    image = noise(1, chunks * CHUNK)
    found = [{IMAGE: image}]
    for seed in range(1, number):
        image = writes(image, seed)
        found.append({IMAGE: image})
    return found


@dataclass
class Host:
    """A host that has one version of a lineage, and pulls another."""

    made: Lineage
    root: Path
    has: int
    wants: int
    can_clone: bool = True
    trusted: bool = True
    whole_locators: int = 0

    @property
    def followed(self) -> chain.Followed:
        return self.made.follow(self.has, self.wants)

    def whole_locator(self) -> Locator:
        self.whole_locators += 1
        return self.made.packs[self.wants].locator

    def plan(self, **options: t.Any) -> PullPlan:
        found = self.followed
        seed = helpers.seed_of(self.made.roots[self.has], self.made.packs[self.has].listing, self.trusted)
        settings: dict[str, t.Any] = {
            "present_ids": {},
            "seeds": [seed],
            "can_clone": self.can_clone,
            "link": helpers.LINK,
            "patches": found.patches,
            "whole_locator": self.whole_locator,
            **options,
        }
        return plan.plan_pull(found.listing, found.rows, found.locator, **settings)

    def apply(
        self, made: PullPlan, fetch: t.Optional[t.Callable[[ObjectRef, int, int], t.Optional[bytes]]] = None
    ) -> reader.Applied:
        """Carry a plan out; what lies there afterwards is right."""
        self.root.mkdir(exist_ok=True)
        done = reader.apply_plan(
            made,
            str(self.root),
            fetch=self.made.storage.fetch,
            clone_file=shutil.copyfile,
            fetch_patches=fetch or self.made.storage.fetch,
            whole_locator=self.whole_locator,
        )
        assert verify.damaged_paths(str(self.root), self.made.packs[self.wants].listing) == []
        return done


def host(tmp_path: Path, versions: int = 2, has: int = 0, **options: t.Any) -> Host:
    return Host(lineage(tmp_path / "catalog", images(versions)), tmp_path / "host", has, versions - 1, **options)


def test_only_changed_blocks_are_downloaded_and_written(tmp_path: Path) -> None:
    mac = host(tmp_path)
    made = mac.plan()
    assert made.patched_bytes == 3 * CHUNK and not len(made.wanted)
    assert 3 * BLOCK < made.download_bytes < 3 * BLOCK + 100
    done = mac.apply(made)
    assert done.downloaded_bytes == made.download_bytes
    assert done.written_bytes == 3 * BLOCK and done.patched_bytes == 3 * CHUNK
    assert (done.repaired_chunks, done.failed_patches, mac.whole_locators) == (0, 0, 0)


def test_without_clones_whole_chunks_are_written_from_the_seed(tmp_path: Path) -> None:
    mac = host(tmp_path, can_clone=False)
    done = mac.apply(mac.plan())
    assert done.downloaded_bytes < 3 * BLOCK + 100 and done.written_bytes == 3 * CHUNK


def test_chunks_of_a_seed_that_is_not_trusted_are_patched_and_hashed(tmp_path: Path) -> None:
    mac = host(tmp_path, trusted=False)
    assert mac.apply(mac.plan()).failed_patches == 0


@pytest.mark.parametrize("behind", [1, 2, 5, 11])
def test_a_host_far_behind_applies_one_patch_after_another(behind: int, tmp_path: Path) -> None:
    mac = host(tmp_path, 12, 11 - behind)
    made = mac.plan()
    done = mac.apply(made)
    patches = sum(mac.made.packs[number].deltas[0].patch_bytes for number in range(mac.has + 1, 12))
    assert done.downloaded_bytes == made.download_bytes <= patches + 16
    assert (done.failed_patches, mac.whole_locators) == (0, 0)


def test_a_chunk_is_downloaded_whole_where_its_patches_cost_more(tmp_path: Path) -> None:
    """Each version writes other blocks of the one chunk, until its patches are more than the chunk itself."""
    image, versions = noise(1, CHUNK), []
    for seed in range(12):
        versions.append({IMAGE: image})
        image = writes(image, seed, 5)
    mac = Host(lineage(tmp_path / "catalog", versions), tmp_path / "host", 0, 11)
    made = mac.plan()
    assert made.patched_bytes == 0 and len(made.wanted) == 1
    assert mac.apply(made).downloaded_bytes <= CHUNK + 100
    near = Host(mac.made, tmp_path / "near", 10, 11)
    assert near.apply(near.plan()).downloaded_bytes < 6 * BLOCK


def test_a_chunk_that_comes_back_is_taken_from_the_seed(tmp_path: Path) -> None:
    first, second = images(2)
    mac = Host(lineage(tmp_path / "catalog", [first, second, first]), tmp_path / "host", 0, 2)
    assert mac.apply(mac.plan()).downloaded_bytes == 0


def test_the_same_chunk_at_two_places_is_made_once(tmp_path: Path) -> None:
    one, new = noise(1, CHUNK), writes(noise(1, CHUNK), 5, 1)
    made = lineage(tmp_path / "catalog", [{IMAGE: one + noise(2, CHUNK) + one}, {IMAGE: new + noise(2, CHUNK) + new}])
    mac = Host(made, tmp_path / "host", 0, 1)
    done = mac.apply(mac.plan())
    assert done.patched_bytes == 2 * CHUNK and done.written_bytes == 2 * BLOCK
    assert done.downloaded_bytes < BLOCK + 20


@pytest.mark.parametrize("grows", [False, True])
def test_a_chunk_of_another_length_is_written_whole(grows: bool, tmp_path: Path) -> None:
    short, long = noise(1, CHUNK + 2 * BLOCK), noise(1, CHUNK + 2 * BLOCK) + bytes(BLOCK) + noise(2, 10)
    versions = [{"a": short}, {"a": long}, {"a": short[:-BLOCK]}, {"a": long + bytes(BLOCK)}]
    made = lineage(tmp_path / "catalog", versions if grows else versions[:3])
    for has in range(len(versions) - 2):
        mac = Host(made, tmp_path / f"host{has}", has, len(made.packs) - 1)
        assert mac.apply(mac.plan()).failed_patches == 0


# When anything is wrong


def flipped(mac: Host) -> t.Callable[[ObjectRef, int, int], bytes]:
    def fetch(item: ObjectRef, offset: int, length: int) -> bytes:
        data = bytearray(mac.made.storage.fetch(item, offset, length))
        data[len(data) // 2] ^= 1
        return bytes(data)

    return fetch


def test_a_damaged_patch_costs_its_whole_chunk(tmp_path: Path) -> None:
    mac = host(tmp_path)
    done = mac.apply(mac.plan(), flipped(mac))
    assert done.failed_patches == done.repaired_chunks == 1 and mac.whole_locators == 0
    assert BLOCK <= done.lost_patch_bytes < BLOCK + 100


def test_a_chunk_of_several_places_is_one_that_failed(tmp_path: Path) -> None:
    one, new = noise(1, CHUNK), writes(noise(1, CHUNK), 5, 1)
    made = lineage(tmp_path / "catalog", [{IMAGE: one + noise(2, CHUNK) + one}, {IMAGE: new + noise(2, CHUNK) + new}])
    mac = Host(made, tmp_path / "host", 0, 1)
    done = mac.apply(mac.plan(), flipped(mac))
    assert (done.failed_patches, done.repaired_chunks, done.repaired_bytes) == (1, 1, CHUNK)


def test_patches_that_cannot_be_had_cost_whole_chunks(tmp_path: Path) -> None:
    mac = host(tmp_path)
    done = mac.apply(mac.plan(), lambda item, offset, length: None)
    assert done.failed_patches == 3 and done.patched_bytes == 0
    assert done.lost_patch_bytes == mac.made.packs[1].deltas[0].patch_bytes


def test_patches_of_a_seed_that_somebody_has_changed_cost_whole_chunks(tmp_path: Path) -> None:
    mac = host(tmp_path, trusted=False)
    made = mac.plan()
    image = mac.made.roots[0] / IMAGE
    image.write_bytes(bytes(image.stat().st_size))
    done = mac.apply(made)
    assert done.failed_patches == 3 and done.repaired_chunks == 24
    # The places of what did not change are in no delta.
    assert mac.whole_locators == 1


def test_a_clone_that_is_not_what_its_seed_was_is_patched_from_the_seed(tmp_path: Path) -> None:
    """Somebody may write to our files, too; what a patch starts from is read there, and the result is hashed."""
    mac = host(tmp_path)
    made, image = mac.plan(), mac.root / IMAGE
    wanted = mac.made.packs[1].listing
    entry = next(entry for entry in wanted.files() if entry.path == IMAGE)
    patched = [made.rows.first[row] - entry.first_chunk for row in _patched(made)]

    def fetch(item: ObjectRef, offset: int, length: int) -> bytes:
        with image.open("r+b") as stream:
            for number in patched:
                stream.seek(number * CHUNK)
                stream.write(bytes(CHUNK))
        return mac.made.storage.fetch(item, offset, length)

    done = mac.apply(made, fetch)
    assert done.failed_patches == 0


def test_blocks_alone_are_written_only_where_the_chunk_is_what_was_hashed(tmp_path: Path) -> None:
    """The chunk that is hashed is made from the first of its places; somebody has written to the second one."""
    one, new = noise(1, CHUNK), writes(noise(1, CHUNK), 5, 1)
    made = lineage(tmp_path / "catalog", [{IMAGE: one + noise(2, CHUNK) + one}, {IMAGE: new + noise(2, CHUNK) + new}])
    mac = Host(made, tmp_path / "host", 0, 1)
    image = mac.root / IMAGE

    def fetch(item: ObjectRef, offset: int, length: int) -> bytes:
        with image.open("r+b") as stream:
            stream.seek(2 * CHUNK)
            stream.write(bytes(CHUNK))
        return mac.made.storage.fetch(item, offset, length)

    done = mac.apply(mac.plan(), fetch)
    assert done.failed_patches == 0 and done.written_bytes == BLOCK + CHUNK


def test_a_chunk_that_is_not_as_long_as_its_place_is_not_written(tmp_path: Path) -> None:
    """A listing that gives a chunk another length than an earlier one did is a lie, which the hash does not show."""
    versions = [{"a": noise(1, 5 * BLOCK)}, {"a": writes(noise(1, 5 * BLOCK), 1, 1)}]
    made = lineage(tmp_path / "catalog", versions)
    honest = made.packs[1].listing
    entries = [dataclasses.replace(one, size=CHUNK) if one.path == "a" else one for one in honest.entries]
    lie = make_listing(CHUNK, entries, honest.chunk_ids)
    deltas = [
        delta_file.decode_delta(made.packs[1].deltas[0].file, helpers.PACK),
        delta_make.make_delta(honest, lie, chunk_rows(lie), made.packs[1].locator, delta_make.StoredPatches()),
    ]
    found = chain.follow(made.packs[0].listing, deltas)
    planned = plan.plan_pull(
        found.listing,
        found.rows,
        found.locator,
        present_ids={},
        seeds=[helpers.seed_of(made.roots[0], made.packs[0].listing)],
        can_clone=True,
        link=helpers.LINK,
        patches=found.patches,
    )
    assert planned.patched_bytes
    (tmp_path / "host").mkdir()
    with pytest.raises(DamagedChunk):
        reader.apply_plan(
            planned,
            str(tmp_path / "host"),
            fetch=made.storage.fetch,
            clone_file=shutil.copyfile,
            fetch_patches=made.storage.fetch,
        )


class Tracked(bytearray):
    """Bytes of which one can tell whether they are still in memory."""


def test_what_lies_between_patches_does_not_stay_in_memory(tmp_path: Path) -> None:
    image = noise(1, 40 * CHUNK)
    new = bytearray(image)
    for number in range(40):
        new[number * CHUNK : number * CHUNK + BLOCK] = noise(100 + number, BLOCK)
    made = lineage(tmp_path / "catalog", [{IMAGE: image}, {IMAGE: bytes(new)}])
    mac = Host(made, tmp_path / "host", 0, 1)
    # Every other chunk is there already, so their patches are gaps, which are not worth a range of their own.
    helpers.make_bundle(mac.root, {IMAGE: image})
    with (mac.root / IMAGE).open("r+b") as stream:
        for number in range(0, 40, 2):
            stream.seek(number * CHUNK)
            stream.write(new[number * CHUNK : (number + 1) * CHUNK])
    present = verify.hash_files(str(mac.root), made.packs[1].listing.entries, CHUNK)
    planned = mac.plan(present_ids=present, link=LinkCost(0.0, 1.0))
    alive: list[weakref.ref[Tracked]] = []
    most = 0

    def fetch(item: ObjectRef, offset: int, length: int) -> bytearray:
        nonlocal most
        data = Tracked(made.storage.fetch(item, offset, length))
        alive.append(weakref.ref(data))
        most = max(most, sum(one() is not None for one in alive))
        return data

    done = mac.apply(planned, fetch)
    assert len(alive) == 20 and done.failed_patches == 0
    assert most <= 2


def test_what_a_killed_pull_has_half_patched_is_patched_from_the_seed(tmp_path: Path) -> None:
    mac = host(tmp_path)
    mac.apply(mac.plan())
    image = mac.root / IMAGE
    listing = mac.made.packs[1].listing
    entry = next(entry for entry in listing.files() if entry.path == IMAGE)
    patched = sorted(mac.plan().rows.first[row] - entry.first_chunk for row in _patched(mac.plan()))
    with image.open("r+b") as stream:
        for number in patched[:2]:
            stream.seek(number * CHUNK + 100)
            stream.write(b"half")
    present = verify.hash_files(str(mac.root), listing.entries, CHUNK)
    made = mac.plan(present_ids=present)
    assert made.patched_bytes == 2 * CHUNK and not len(made.wanted)
    done = mac.apply(made)
    assert done.failed_patches == 0 and done.written_bytes == 2 * CHUNK


def _patched(made: PullPlan) -> list[int]:
    assert made.patched is not None
    return list(made.patched.wanted)


def test_a_base_that_is_gone_costs_whole_chunks(tmp_path: Path) -> None:
    mac = host(tmp_path)
    made = mac.plan()
    shutil.rmtree(mac.made.roots[0])
    with pytest.raises(OSError):
        mac.apply(made)
    cold = mac.plan(seeds=[])
    assert cold.patched is None and mac.whole_locators == 1
    shutil.rmtree(mac.root)
    mac.apply(cold)


def test_patches_that_this_host_cannot_decode_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mac = Host(
        lineage(tmp_path / "catalog", [{IMAGE: helpers.text(1, 8 * CHUNK)}, {IMAGE: helpers.text(2, 8 * CHUNK)}]),
        tmp_path / "host",
        0,
        1,
    )
    monkeypatch.setattr(codecs, "decodable", lambda: frozenset({CODEC_RAW}))
    assert mac.plan().patched_bytes == 0


def test_deltas_that_do_not_follow_one_another_are_refused(tmp_path: Path) -> None:
    made = lineage(tmp_path, images(3))
    deltas = [delta_file.decode_delta(pack.deltas[0].file, helpers.PACK) for pack in made.packs[1:]]
    with pytest.raises(MalformedIndex):
        chain.follow(made.packs[0].listing, deltas[::-1])
    with pytest.raises(ValueError, match="no deltas"):
        chain.follow(made.packs[0].listing, [])


def test_few_ranges_are_asked_for(tmp_path: Path) -> None:
    """Patches lie in the order of the listing, so a host that has the base takes them in one piece."""
    image = noise(1, 200 * CHUNK)
    made = lineage(tmp_path / "catalog", [{IMAGE: image}, {IMAGE: writes(image, 1, 150)}])
    mac = Host(made, tmp_path / "host", 0, 1)
    assert mac.plan().download_requests == 1
    assert os.path.getsize(made.roots[0] / IMAGE) == len(image)
