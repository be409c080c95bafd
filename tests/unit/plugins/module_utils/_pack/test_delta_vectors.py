# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The vectors of deltas in tests/formats: followed, refused, and made by the writer as they are."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import typing as t
import zlib
from array import array
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chain, codecs, patches, reader, verify
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta import Delta
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta_apply import apply_delta
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta_file import decode_delta, encode_delta
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta_make import StoredPatches, make_delta
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import PackError
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import CODEC_RAW, Index, ObjectRef
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index_file import decode_index
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import decode_listing, encode_listing
from ansible_collections.macfleet.parallels.tests.formats import craft, craft_deltas, deltas, make_vectors, versions
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import (
    PACK,
    MemoryStorage,
    apply,
    plan_of,
    seed_of,
    tree_of_case,
)

CASES = {path.parent.name: json.loads(path.read_text("utf-8")) for path in make_vectors.VECTORS.glob("*/case.json")}


def content(case: str, name: str) -> bytes:
    return (make_vectors.VECTORS / case / name).read_bytes()


def named(reads: str, *, good: bool) -> list[str]:
    return sorted(name for name, case in CASES.items() if case["reads"] == reads and ("error" not in case) == good)


@dataclass(frozen=True)
class Update:
    """The versions of a case, and the objects of segments and patches by their names."""

    indexes: tuple[Index, ...]
    segments: MemoryStorage
    patches: MemoryStorage

    def delta(self, before: int, after: int) -> Delta:
        """The delta from one version to another, which is in the commit of the later one."""
        found = [decode_delta(file, PACK) for file in self.indexes[after].delta_files]
        return next(delta for delta in found if delta.base == self.indexes[before].listing.digest)

    def fetch_patches(self, item: ObjectRef, offset: int, length: int) -> t.Optional[bytes]:
        """Bytes of patches, None if they are not there."""
        data = self.patches.objects.get(item.sha256, b"")[offset : offset + length]
        return data if len(data) == length else None


def read_update(case: str) -> Update:
    found = Update(
        tuple(
            decode_index(content(case, path.name))
            for path in sorted((make_vectors.VECTORS / case).glob("version-*.index.bin"))
        ),
        MemoryStorage(),
        MemoryStorage(),
    )
    for kind, storage in (("segment", found.segments), ("patches", found.patches)):
        for path in (make_vectors.VECTORS / case).glob(f"{kind}-*.bin"):
            storage.objects[path.stem.partition("-")[2]] = path.read_bytes()
    return found


def ways() -> list[t.Any]:
    """Each way of each case, with the number of references that patches make on it."""
    return [
        pytest.param(case, way, patched, id=f"{case}-{'-'.join(map(str, way))}")
        for case in named("update", good=True)
        for way, patched in zip(CASES[case]["ways"], CASES[case]["patched"])
    ]


def pairs() -> list[t.Any]:
    """Both ends of each delta of each case."""
    return [
        pytest.param(case, before, after, id=f"{case}-{before}-{after}")
        for case in named("update", good=True)
        for before, after in sorted({pair for way in CASES[case]["ways"] for pair in zip(way, way[1:])})
    ]


def test_every_kind_of_vector_is_there() -> None:
    assert named("update", good=True)
    assert named("delta", good=False)
    for good in (True, False):
        assert named("patch", good=good)


# Broken ones


@pytest.mark.parametrize("case", named("delta", good=False))
def test_a_fault_of_a_delta_is_refused_with_its_own_error(case: str) -> None:
    base = decode_listing(content(case, "base.listing.bin"))
    with pytest.raises(PackError) as caught:
        apply_delta(decode_delta(content(case, "delta.bin"), PACK), base)
    assert caught.value.code == CASES[case]["error"]
    assert CASES[case]["says"] in caught.value.message
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize("case", named("patch", good=False))
def test_a_fault_of_a_patch_is_refused(case: str) -> None:
    facts = CASES[case]
    old, data = content(case, "chunk.bin"), content(case, "patch.bin")
    if "says" not in facts:
        # It decodes, to another chunk.
        made = patches.apply_patch(old, facts["length"], facts["codec"], data)
        assert hashlib.sha256(made.chunk).hexdigest() != facts["sha256"]
        return
    with pytest.raises(PackError) as caught:
        patches.apply_patch(old, facts["length"], facts["codec"], data)
    assert caught.value.code == facts["error"] and facts["says"] in caught.value.message


# Good ones


@pytest.mark.parametrize("case", named("patch", good=True))
def test_a_patch_makes_its_chunk(case: str) -> None:
    facts = CASES[case]
    old, data = content(case, "chunk.bin"), content(case, "patch.bin")
    assert patches.fits(facts["codec"], len(data), facts["length"])
    made = patches.apply_patch(old, facts["length"], facts["codec"], data)
    assert hashlib.sha256(made.chunk).hexdigest() == facts["sha256"]
    if facts["codec"] == CODEC_RAW:
        assert patches.make_patch(old, made.chunk, codecs.make_encoder(CODEC_RAW, 0)).data == data


@pytest.mark.parametrize(("case", "way", "patched"), ways())
def test_an_update_is_pulled(case: str, way: list[int], patched: int, tmp_path: Path) -> None:
    update = read_update(case)
    first, last = update.indexes[way[0]], update.indexes[way[-1]]
    has, made = tmp_path / "has", tmp_path / "made"
    for directory in (has, made):
        directory.mkdir()
    apply(plan_of(first), has, update.segments)
    followed = chain.follow(first.listing, [update.delta(*pair) for pair in zip(way, way[1:])])
    assert followed.listing == last.listing
    assert unpacked(encode_listing(followed.listing)) == content(case, "listing.canonical.bin")
    assert hashlib.sha256(content(case, "listing.canonical.bin")).hexdigest() == CASES[case]["digest"]
    done = reader.apply_plan(
        plan_of(
            followed,
            seeds=[seed_of(has, first.listing)],
            can_clone=True,
            patches=followed.patches,
            whole_locator=lambda: last.locator,
        ),
        str(made),
        fetch=update.segments.fetch,
        clone_file=shutil.copyfile,
        fetch_patches=update.fetch_patches,
        whole_locator=lambda: last.locator,
    )
    assert tree_of_case(made) == CASES[case]["tree"]
    assert verify.damaged_paths(str(made), last.listing) == []
    assert _patched_references(done, followed, last) == patched


def _patched_references(done: reader.Applied, followed: chain.Followed, last: Index) -> int:
    """How many references were made by patches: all that have one, without those that failed."""
    rows = last.rows
    lengths = [
        rows.lengths[row]
        for reference, row in enumerate(rows.numbers)
        if followed.patches.find(last.listing.chunk_id(reference)) is not None
    ]
    if not done.failed_patches:
        assert done.patched_bytes == sum(lengths)
    return len(lengths) - done.failed_patches


@pytest.mark.parametrize(("case", "before", "after"), pairs())
def test_a_delta_places_its_chunks_where_the_locator_does(case: str, before: int, after: int) -> None:
    update = read_update(case)
    delta, index = update.delta(before, after), update.indexes[after]
    applied = apply_delta(delta, update.indexes[before].listing)
    for number in range(delta.rows.row_total):
        row = applied.rows.row_of[delta.chunk_ids[32 * number : 32 * number + 32]]
        assert delta.rows.placement(number) == index.locator.placement(row)
    for reference, origin in enumerate(applied.origins):
        if origin < 2**32 - 1:
            assert update.indexes[before].listing.chunk_id(origin) == index.listing.chunk_id(reference)


@pytest.mark.parametrize(("case", "before", "after"), pairs())
def test_a_writer_makes_the_same_delta(case: str, before: int, after: int) -> None:
    update = read_update(case)
    delta, index = update.delta(before, after), update.indexes[after]
    made = _made_again(delta, update.indexes[before], index)
    assert made == delta
    assert unpacked(encode_delta(made)) in [unpacked(file) for file in index.delta_files]


def _made_again(delta: Delta, base: Index, index: Index) -> Delta:
    """The delta that our writer makes with the same patches."""
    stored = StoredPatches(bases=array("I", delta.patches.bases), lengths=delta.patches.lengths)
    stored.codecs, stored.numbers = bytearray(delta.patches.codecs), delta.patches.numbers
    stored.objects = list(delta.patches.objects)
    for chunk in delta.patches.chunks:
        stored.identities.add(delta.chunk_ids[32 * chunk : 32 * chunk + 32])
    return make_delta(base.listing, index.listing, index.rows, index.locator, stored)


@pytest.mark.parametrize("seed", range(30))
def test_both_writers_make_the_same_delta_of_any_two_versions(seed: int) -> None:
    rnd, made = random.Random(seed), versions.Catalog()
    for number in range(3):
        made.push(_any_version(rnd), list(range(number)), patches_per_object=2)
    indexes = [decode_index(data) for data in made.indexes]
    for after, index in enumerate(indexes):
        assert len(index.delta_files) == after
        for file, base in zip(index.delta_files, indexes):
            delta = decode_delta(file, PACK)
            assert apply_delta(delta, base.listing).listing == index.listing
            assert _made_again(delta, base, index) == delta


def _any_version(rnd: random.Random) -> versions.Version:
    """Files of a few chunks, of which the same come again at other places, in other files, and after headers."""
    pool = [deltas.chunk(1), deltas.chunk(21), deltas.written(deltas.chunk(1), 3), bytes(craft.CHUNK_SIZE)]
    tails = [b"", b"end", deltas.chunk(1, 2), bytes(9)]
    files = {
        path: b"".join(rnd.choices(pool, k=rnd.randrange(4))) + rnd.choice(tails)
        for path in ("a", "d/b", "disk.hds", "z")
        if rnd.random() < 0.8
    }
    data_start = rnd.choice([0, 512, craft.CHUNK_SIZE + 512])
    if "disk.hds" in files:
        files["disk.hds"] = craft_deltas.noise("head", data_start) + files["disk.hds"]
    others = [craft.Row(craft.DIRECTORY, b"d")]
    if rnd.random() < 0.5:
        others.append(craft.Row(craft.LINK, b"link", target=rnd.choice([b"a", b"z"])))
    return versions.version(files, *others, data_start=data_start, executables=rnd.choice([(), ("a",)]))


def unpacked(data: bytes) -> bytes:
    """The canonical form of a file of columns."""
    header_end = 12 + int.from_bytes(data[8:12], "little")
    return data[:header_end] + zlib.decompress(data[header_end:], -15)
