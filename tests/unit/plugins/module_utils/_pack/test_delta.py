# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deltas: their file, and where they lead."""

from __future__ import annotations

import dataclasses
import random
import tracemalloc
import typing as t
from array import array
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import delta_apply, delta_file, writer
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta import (
    FIRST_ADDED,
    HOLE,
    Changes,
    Delta,
    EntryRuns,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import MalformedIndex, PackError
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    CODEC_RAW,
    FILE,
    MAX_CHUNKS,
    Entry,
    Listing,
    PatchesRef,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.patches import apply_patch
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.positions import References
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack import helpers
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import CHUNK, IMAGE, noise

BLOCK = 4096
_FILES = [IMAGE, "harddisk.hdd/second.hds", "a", "b/c", "z"]


@dataclasses.dataclass(frozen=True)
class Step:
    """A version that was pushed on another one."""

    base_root: Path
    root: Path
    base: Listing
    written: writer.WrittenPack
    storage: helpers.MemoryStorage

    @property
    def delta(self) -> Delta:
        return delta_file.decode_delta(self.written.deltas[0].file, helpers.PACK)


def step(directory: Path, before: t.Mapping[str, bytes], after: t.Mapping[str, bytes]) -> Step:
    storage = helpers.MemoryStorage()
    base_root = helpers.make_bundle(directory / "base.pvm", before)
    root = helpers.make_bundle(directory / "new.pvm", after)
    base = helpers.pack(base_root, storage)
    written = helpers.pack(
        root,
        storage,
        known=helpers.known_of(base),
        bases=[helpers.base_of(base, base_root)],
        put_patches=storage.put_patches,
        segment_bytes=4 * CHUNK,
    )
    return Step(base_root, root, base.listing, written, storage)


def history(seed: int) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Files before and after what a guest, or somebody who edits the bundle, does to them."""
    rnd = random.Random(seed)
    before = {}
    for path in _FILES:
        body = b"".join(rnd.choice([bytes(CHUNK), rnd.randbytes(CHUNK)]) for _piece in range(rnd.randrange(8)))
        head = helpers.hds_head(rnd.choice([512, 4096, CHUNK + 512]))
        before[path] = (head if path.endswith(".hds") else b"") + body + rnd.randbytes(rnd.randrange(9000))
    after = dict(before)
    for path in list(after):
        _change(rnd, after, path)
    after[IMAGE] = after.get(IMAGE, b"")
    return before, after


def _change(rnd: random.Random, files: dict[str, bytes], path: str) -> None:
    data = files[path]
    change = rnd.randrange(7)
    if change == 0:
        del files[path]
    elif change == 1:
        files["moved" + path.replace("/", "-")] = files.pop(path)
    elif change == 2:
        files[path] = data[: len(data) // 2]
    elif change == 3:
        files[path] = data + rnd.choice([bytes(3 * CHUNK), rnd.randbytes(2 * CHUNK)])
    elif change == 4 and path.endswith(".hds"):
        # A larger table moves the data area.
        files[path] = helpers.hds_head(2 * CHUNK) + data[4096:]
    elif change == 5 and len(data) > CHUNK:
        files[path] = bytes(CHUNK) + data[CHUNK:]
    else:
        written = bytearray(data)
        for _write in range(rnd.randrange(6)):
            place = rnd.randrange(len(written) // BLOCK + 1) * BLOCK
            written[place : place + BLOCK] = rnd.randbytes(len(written[place : place + BLOCK]))
        files[path] = bytes(written)


@pytest.mark.parametrize("seed", range(25))
def test_a_delta_leads_to_the_listing_that_it_was_made_for(seed: int, tmp_path: Path) -> None:
    made = step(tmp_path, *history(seed))
    assert len(made.written.deltas) == 1
    assert delta_file.encode_delta(made.delta) == made.written.deltas[0].file
    applied = delta_apply.apply_delta(made.delta, made.base)
    assert applied.listing == made.written.listing
    ids_of_base = {made.base.chunk_id(reference) for reference in range(made.base.chunk_total)}
    for reference, origin in enumerate(applied.origins):
        identity = applied.listing.chunk_id(reference)
        if origin == delta_apply.NO_ORIGIN:
            assert identity == bytes(32) or identity not in ids_of_base
        else:
            assert made.base.chunk_id(origin) == identity
    _check_rows(made, applied)
    _check_patches(made, applied)


def _check_rows(made: Step, applied: delta_apply.Applied) -> None:
    """Each row places a chunk where the locator does."""
    delta = made.delta
    for number in range(delta.rows.row_total):
        row = applied.rows.row_of[delta.chunk_ids[32 * number : 32 * number + 32]]
        assert delta.rows.placement(number) == made.written.locator.placement(row)


def _check_patches(made: Step, applied: delta_apply.Applied) -> None:
    """Each patch makes its chunk, from the chunk at the same place of the base."""
    delta, base = made.delta, helpers.base_of(made.written, made.base_root)
    old = helpers.base_of(dataclasses.replace(made.written, listing=made.base), made.base_root)
    assert base.listing.digest == delta.digest
    references, base_references = References(applied.listing), References(made.base)
    found = delta.patches
    for number, chunk in enumerate(found.chunks):
        row = applied.rows.row_of[delta.chunk_ids[32 * chunk : 32 * chunk + 32]]
        entry, offset, length = references.find(applied.rows.first[row])
        stored = made.storage.objects[found.objects[found.numbers[number]].sha256]
        data = stored[found.offsets[number] : found.offsets[number] + found.lengths[number]]
        before = old.read(found.bases[number])
        assert before is not None
        wanted = (made.root / entry.path).read_bytes()[offset : offset + length]
        assert apply_patch(before, length, found.codecs[number], data).chunk == wanted
        assert base_references.find(found.bases[number])[0].path == entry.path


def test_what_did_not_change_takes_nothing(tmp_path: Path) -> None:
    files = {IMAGE: noise(1, 20 * CHUNK), "a": noise(2, 100)}
    made = step(tmp_path, files, {**files, IMAGE: noise(1, 20 * CHUNK)[:-BLOCK] + noise(3, BLOCK)})
    delta = made.delta
    assert list(delta.changes.counts) == [1] and delta.rows.row_total == 1 and delta.patches.total == 1
    assert not delta.entries.entries
    assert len(made.written.deltas[0].file) < 800
    assert BLOCK < made.written.deltas[0].patch_bytes < BLOCK + 20


def test_chunks_are_compared_with_those_of_the_same_run_wherever_the_data_area_begins(tmp_path: Path) -> None:
    """A table that grew moves every cluster of an image; the same place is the same number in the data area."""
    clusters = noise(1, 6 * CHUNK)
    written = clusters[: 3 * CHUNK] + noise(2, BLOCK) + clusters[3 * CHUNK + BLOCK :]
    made = step(tmp_path, {IMAGE: helpers.hds_head(512) + clusters}, {IMAGE: helpers.hds_head(CHUNK + 512) + written})
    # The longer header hardly has anything of the old one.
    assert made.delta.patches.total == 1
    (patched,) = made.delta.patches.bases
    assert References(made.base).find(patched)[0].path == IMAGE
    assert References(made.base).find(patched)[1] == 512 + 3 * CHUNK
    applied = delta_apply.apply_delta(made.delta, made.base)
    assert sum(origin != delta_apply.NO_ORIGIN for origin in applied.origins) >= 5


def test_two_chunks_of_another_length_are_compared_as_cut_or_filled(tmp_path: Path) -> None:
    before, after = noise(1, CHUNK + 3 * BLOCK), noise(1, CHUNK + 3 * BLOCK) + bytes(BLOCK) + noise(2, 5)
    made = step(tmp_path, {"a": before}, {"a": after})
    assert made.delta.patches.total == 1 and made.written.deltas[0].patch_bytes < 20
    made = step(tmp_path / "back", {"a": after}, {"a": before})
    # What is only cut needs no block at all.
    assert made.delta.patches.total == 1 and made.written.deltas[0].patch_bytes == 1


def test_a_patch_that_saves_little_is_not_stored(tmp_path: Path) -> None:
    chunk = noise(1, CHUNK)
    blocks = CHUNK // BLOCK
    most = step(
        tmp_path / "most", {"a": chunk}, {"a": noise(2, CHUNK // 4 * 3 - BLOCK) + chunk[CHUNK // 4 * 3 - BLOCK :]}
    )
    assert most.delta.patches.total == 1
    more = step(tmp_path / "more", {"a": chunk}, {"a": noise(2, CHUNK // 4 * 3) + chunk[CHUNK // 4 * 3 :]})
    assert more.delta.patches.total == 0 and blocks == 16


def test_neither_side_of_a_patch_is_a_hole(tmp_path: Path) -> None:
    chunk = noise(1, CHUNK)
    made = step(tmp_path, {"a": chunk + bytes(CHUNK)}, {"a": bytes(CHUNK) + noise(2, BLOCK) + bytes(CHUNK - BLOCK)})
    assert made.delta.patches.total == 0 and made.delta.rows.row_total == 1


def test_there_is_one_patch_for_each_chunk(tmp_path: Path) -> None:
    new = noise(1, CHUNK)[:-BLOCK] + noise(2, BLOCK)
    made = step(tmp_path, {"a": noise(1, CHUNK), "b": noise(1, CHUNK)}, {"a": new, "b": new})
    assert made.delta.patches.total == 1


def test_a_delta_that_is_no_smaller_than_the_index_is_not_made(tmp_path: Path) -> None:
    config = helpers.CONFIG.format(disk="harddisk.hdd").encode()
    others = {IMAGE: noise(1, 60 * CHUNK), "config.pvs": config + b"\n", "NVRAM.dat": b"other"}
    made = step(tmp_path, {"old": b"old"}, {**others, "harddisk.hdd/DiskDescriptor.xml": _descriptor()})
    assert made.written.deltas == ()


def _descriptor() -> bytes:
    return helpers.DESCRIPTOR.format(image="harddisk.hdd.0.hds").encode() + b"\n"


# What a reader refuses


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Step:
    """Entries, holes, chunks of other places, and patches in two objects."""
    before = {IMAGE: noise(1, 12 * CHUNK) + bytes(2 * CHUNK), "a": noise(2, 2 * CHUNK), "b": noise(3, 9)}
    image = bytearray(before[IMAGE])
    for chunk in (0, 1, 4, 5):
        image[chunk * CHUNK : chunk * CHUNK + BLOCK] = noise(10 + chunk, BLOCK)
    image[7 * CHUNK : 8 * CHUNK] = bytes(CHUNK)
    after = {IMAGE: bytes(image) + before["a"][:CHUNK] + noise(5, CHUNK), "c": noise(6, 9), "a": before["a"] + b"more"}
    made = step(tmp_path_factory.mktemp("sample"), before, after)
    assert made.delta.patches.total >= 4 and made.delta.rows.row_total >= 6
    return made


def _first(column: array[int], value: int) -> array[int]:
    return array(column.typecode, [value, *column[1:]])


def _with(delta: Delta, part: str, **changes: t.Any) -> Delta:
    return dataclasses.replace(delta, **{part: dataclasses.replace(getattr(delta, part), **changes)})


def _object(delta: Delta, **changes: t.Any) -> Delta:
    first, *others = delta.patches.objects
    return _with(delta, "patches", objects=(dataclasses.replace(first, **changes), *others))


FAULTS: dict[str, t.Callable[[Delta], Delta]] = {
    "another base": lambda delta: dataclasses.replace(delta, base="0" * 64),
    "another target": lambda delta: dataclasses.replace(delta, digest="0" * 64),
    "entries that the base lacks": lambda delta: _with(delta, "entries", firsts=_first(delta.entries.firsts, 1000)),
    "fewer entries than it says": lambda delta: _with(delta, "entries", entries=delta.entries.entries[:-1]),
    "references behind the end": lambda delta: _with(delta, "changes", gaps=_first(delta.changes.gaps, 5000)),
    "a run without references": lambda delta: _with(
        delta,
        "changes",
        gaps=array("I", [*delta.changes.gaps, 1]),
        counts=array("I", [*delta.changes.counts, 0]),
    ),
    "fewer references than it says": lambda delta: _with(delta, "changes", origins=delta.changes.origins[:-1]),
    "a chunk before it is added": lambda delta: _with(
        delta, "changes", origins=_first(delta.changes.origins, FIRST_ADDED + delta.rows.row_total - 1)
    ),
    "a reference that the base lacks": lambda delta: _with(
        delta, "changes", origins=_first(delta.changes.origins, 100_000)
    ),
    "a hole in place of a chunk": lambda delta: _with(delta, "changes", origins=_first(delta.changes.origins, HOLE)),
    "the id of a hole": lambda delta: dataclasses.replace(delta, chunk_ids=bytes(32) + delta.chunk_ids[32:]),
    "a row outside of its segment": lambda delta: _with(delta, "rows", offsets=_first(delta.rows.offsets, 64 << 20)),
    "a row in no segment": lambda delta: _with(delta, "rows", segment_numbers=_first(delta.rows.segment_numbers, 99)),
    "a row of an unknown codec": lambda delta: _with(delta, "rows", codecs=b"\x07" + delta.rows.codecs[1:]),
    "a row that is longer than its chunk": lambda delta: _with(
        delta, "rows", lengths=_first(delta.rows.lengths, CHUNK + 1), codecs=b"\1" + delta.rows.codecs[1:]
    ),
    "a patch of an unknown codec": lambda delta: _with(delta, "patches", codecs=b"\x07" + delta.patches.codecs[1:]),
    "a patch from behind the base": lambda delta: _with(delta, "patches", bases=_first(delta.patches.bases, 100_000)),
    "a patch from a hole": lambda delta: _with(delta, "patches", bases=_first(delta.patches.bases, _hole_of_sample())),
    "a patch that is longer than its chunk": lambda delta: _longer(delta, 2 * CHUNK),
    "an object that is longer than its patches": lambda delta: _object(delta, size=delta.patches.objects[0].size + 1),
    "an object above the limit": lambda delta: _object(delta, size=(64 << 20) + 1),
    "an object without patches": lambda delta: _with(
        delta, "patches", objects=(*delta.patches.objects, PatchesRef(helpers.PACK, "0" * 64, 8))
    ),
}
_SAMPLE: list[Listing] = []


def _hole_of_sample() -> int:
    (base,) = _SAMPLE
    return next(number for number in range(base.chunk_total) if base.chunk_id(number) == bytes(32))


def _longer(delta: Delta, length: int) -> Delta:
    grown = length - delta.patches.lengths[0]
    first, *others = delta.patches.objects
    return _with(
        delta,
        "patches",
        lengths=_first(delta.patches.lengths, length),
        codecs=bytes([CODEC_RAW]) + delta.patches.codecs[1:],
        objects=(PatchesRef(first.pack, first.sha256, first.size + grown), *others),
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_a_delta_that_breaks_the_grammar_is_refused(fault: str, sample: Step) -> None:
    _SAMPLE[:] = [sample.base]
    with pytest.raises(MalformedIndex):
        spoilt = delta_file.decode_delta(delta_file.encode_delta(FAULTS[fault](sample.delta)), helpers.PACK)
        delta_apply.apply_delta(spoilt, sample.base)


def test_every_prefix_of_a_delta_is_refused(sample: Step) -> None:
    file = sample.written.deltas[0].file
    for length in range(len(file)):
        with pytest.raises(MalformedIndex):
            delta_file.decode_delta(file[:length], helpers.PACK)
    with pytest.raises(MalformedIndex):
        delta_file.decode_delta(file + b"\0", helpers.PACK)


def test_every_flipped_byte_of_a_delta_is_refused_or_leads_to_the_same_listing(sample: Step) -> None:
    file = sample.written.deltas[0].file
    for position in range(len(file)):
        spoilt = bytearray(file)
        spoilt[position] ^= 0x41
        try:
            applied = delta_apply.apply_delta(delta_file.decode_delta(bytes(spoilt), helpers.PACK), sample.base)
        except PackError:
            continue
        assert applied.listing == sample.written.listing


def test_a_header_tells_what_a_delta_will_take(sample: Step) -> None:
    file = sample.written.deltas[0].file
    assert 0 < delta_file.memory_bytes(file) < 1 << 20
    huge = dataclasses.replace(sample.delta, chunk_ids=bytes(0))
    assert delta_file.memory_bytes(delta_file.encode_delta(huge)) == delta_file.memory_bytes(file)
    with pytest.raises(MalformedIndex):
        delta_file.memory_bytes(file[:40])


@pytest.mark.parametrize("what", ["one file of many chunks", "one entry copied often"])
def test_a_short_delta_does_not_make_a_long_listing(what: str, sample: Step) -> None:
    """A valid one leads to no more entries and chunks than the base has and the delta tells."""
    none = array("I")
    if what == "one entry copied often":
        runs = EntryRuns(array("I", [0]) * 100_000, array("I", [1]) * 100_000, array("I", [0]) * 100_000, ())
    else:
        file = Entry(FILE, "long", size=MAX_CHUNKS * CHUNK)
        runs = EntryRuns(array("I", [0]), array("I", [0]), array("I", [1]), (file,))
    short = dataclasses.replace(sample.delta, entries=runs, changes=Changes(none, none, none))
    tracemalloc.start()
    try:
        with pytest.raises(MalformedIndex):
            delta_apply.apply_delta(short, sample.base)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
