# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import hashlib
import types
import typing as t
from array import array
from dataclasses import dataclass

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks, plan, verify
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    FILE,
    Entry,
    Listing,
    Locator,
    SegmentRef,
    chunk_rows,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import make_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.positions import References
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.pull_plan import (
    CLONE,
    EMPTY,
    KEEP,
    MAX_COPY_BYTES,
    PullPlan,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.seeds import Seed, matching_chunks
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import (
    CHUNK,
    LINK,
    PACK,
    QUICK,
    listing_of,
    noise,
)
from hypothesis import given
from hypothesis import strategies as st

ZERO = chunks.ZERO_CHUNK_ID
STORED = 1000
NOTHING: t.Mapping[str, t.Sequence[t.Optional[int]]] = types.MappingProxyType({})


def name(number: int) -> bytes:
    """The id of a whole chunk without its content; 0 is a hole."""
    return hashlib.sha256(b"%d" % number).digest() if number else ZERO


def sketch(files: t.Mapping[str, t.Sequence[int]], chunk_size: int = CHUNK) -> Listing:
    """A listing from the numbers of whole chunks."""
    entries: list[Entry] = []
    ids: list[bytes] = []
    for path in sorted(files):
        count = len(files[path])
        entries.append(Entry(FILE, path, False, count * chunk_size, 0, "", len(ids), count))
        ids += map(name, files[path])
    return make_listing(chunk_size, entries, b"".join(ids))


def locate(listing: Listing, rows_of_segment: int = 4) -> Locator:
    """All chunks one behind the other, some to a segment."""
    rows = chunk_rows(listing)
    total = len(rows.first)
    segments = tuple(
        SegmentRef(PACK, hashlib.sha256(b"s%d" % number).hexdigest(), 1 << 20)
        for number in range(-(-total // rows_of_segment))
    )
    return Locator(
        listing.digest,
        segments,
        array("I", (row // rows_of_segment for row in range(total))),
        array("I", (8 + row % rows_of_segment * STORED for row in range(total))),
        array("I", [STORED] * total),
        b"\1" * total,
    )


def seed(root: str, files: t.Mapping[str, t.Sequence[int]], trusted: bool = True, chunk_size: int = CHUNK) -> Seed:
    listing = sketch(files, chunk_size)
    return Seed(root, listing, frozenset(files) if trusted else frozenset())


def planned(
    wanted: t.Mapping[str, t.Sequence[int]],
    *,
    present_ids: t.Mapping[str, t.Sequence[t.Optional[int]]] = NOTHING,
    seeds: t.Sequence[Seed] = (),
    can_clone: bool = False,
) -> PullPlan:
    listing = sketch(wanted)
    there = {
        path: b"".join(verify.MISSING_CHUNK_ID if number is None else name(number) for number in numbers)
        for path, numbers in present_ids.items()
    }
    return plan.plan_pull(
        listing, chunk_rows(listing), locate(listing), present_ids=there, seeds=seeds, can_clone=can_clone, link=LINK
    )


def carried_out(
    made: PullPlan,
    seeds: t.Sequence[Seed] = (),
    present_ids: t.Mapping[str, t.Sequence[t.Optional[int]]] = NOTHING,
) -> dict[str, list[bytes]]:
    """What the plan makes, chunk by chunk; ids stand for content. Every write must hit what it says it hits."""
    seeded = {
        f"{one.root}/{entry.path}": [one.listing.chunk_id(entry.first_chunk + n) for n in range(entry.chunk_count)]
        for one in seeds
        for entry in one.listing.files()
    }
    files: dict[str, list[bytes]] = {}
    for start in made.starts:
        content: list[bytes] = []
        if start.start == CLONE:
            content = seeded[start.source][:]
        elif start.start == KEEP:
            content = [verify.MISSING_CHUNK_ID if n is None else name(n) for n in present_ids[start.entry.path]]
        count = start.entry.chunk_count
        files[start.entry.path] = (content + [ZERO] * count)[:count]
    written: set[tuple[str, int]] = set()

    def write(entry: Entry, offset: int, identity: bytes) -> None:
        key = (entry.path, offset // CHUNK)
        assert key not in written
        written.add(key)
        files[entry.path][offset // CHUNK] = identity

    for hole in made.zero_ranges():
        for offset in range(hole.offset, hole.offset + hole.length, CHUNK):
            write(hole.entry, offset, ZERO)
    for copy in made.copies():
        assert copy.length == copy.count * CHUNK
        for number in range(copy.count):
            identity = seeded[copy.source][copy.source_offset // CHUNK + number]
            write(copy.entry, copy.offset + number * CHUNK, identity)
    references = References(made.listing)
    fetched = [row for fetch in made.fetches() for row in fetch.rows]
    assert sorted(fetched) == sorted(made.wanted)
    for row in fetched:
        for reference in made.wanted.references(row):
            entry, offset, _length = references.find(reference)
            write(entry, offset, made.listing.chunk_id(made.rows.first[row]))
    return files


def result(wanted: t.Mapping[str, t.Sequence[int]]) -> dict[str, list[bytes]]:
    return {path: [name(number) for number in numbers] for path, numbers in wanted.items()}


FILES = st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(0, 12), max_size=12), max_size=4)


@dataclass(frozen=True)
class Situation:
    wanted: dict[str, list[int]]
    present_ids: dict[str, list[t.Optional[int]]]
    seeds: list[Seed]
    can_clone: bool


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    wanted = draw(FILES)
    present_ids: dict[str, list[t.Optional[int]]] = {}
    for path, numbers in wanted.items():
        if draw(st.booleans()):
            present_ids[path] = draw(
                st.lists(st.none() | st.integers(0, 12), min_size=len(numbers), max_size=len(numbers))
            )
    seeds = [seed(f"/seed{n}", files, draw(st.booleans())) for n, files in enumerate(draw(st.lists(FILES, max_size=3)))]
    return Situation(wanted, present_ids, seeds, draw(st.booleans()))


@QUICK
@given(situations())
def test_a_plan_makes_every_chunk_exactly_once(case: Situation) -> None:
    made = planned(case.wanted, present_ids=case.present_ids, seeds=case.seeds, can_clone=case.can_clone)
    assert carried_out(made, case.seeds, case.present_ids) == result(case.wanted)


@QUICK
@given(situations())
def test_the_bytes_of_a_plan_add_up(case: Situation) -> None:
    made = planned(case.wanted, present_ids=case.present_ids, seeds=case.seeds, can_clone=case.can_clone)
    downloaded = sum(len(list(made.wanted.references(row))) for row in made.wanted) * CHUNK
    total = made.kept_bytes + made.hole_bytes + made.copied_bytes + downloaded
    holes_kept = sum(
        CHUNK
        for start in made.starts
        for n in range(start.entry.chunk_count)
        if made.listing.chunk_id(start.entry.first_chunk + n) == ZERO
    )
    # A file that is kept as a whole counts its holes as kept.
    assert made.listing.logical_bytes == total
    assert made.hole_bytes <= holes_kept
    assert made.write_bytes == downloaded + made.copied_bytes
    assert made.disk_bytes == made.write_bytes + 8192 * len(list(made.zero_ranges()))
    assert made.download_raw_bytes == made.download_chunks * CHUNK
    assert made.download_bytes >= made.download_chunks * STORED


@QUICK
@given(situations())
def test_nothing_is_downloaded_that_a_seed_has(case: Situation) -> None:
    made = planned(case.wanted, seeds=case.seeds, can_clone=case.can_clone)
    known = {identity for one in case.seeds for identity in cut(one.listing.chunk_ids)}
    missing = {identity for identity in cut(made.listing.chunk_ids) if identity != ZERO and identity not in known}
    assert {made.listing.chunk_id(made.rows.first[row]) for row in made.wanted} == missing


def cut(ids: bytes) -> list[bytes]:
    return [ids[start : start + 32] for start in range(0, len(ids), 32)]


@QUICK
@given(situations())
def test_only_trusted_files_are_cloned_and_others_are_verified(case: Situation) -> None:
    made = planned(case.wanted, present_ids=case.present_ids, seeds=case.seeds, can_clone=case.can_clone)
    trusted = {f"{one.root}/{path}" for one in case.seeds for path in one.trusted}
    for start in made.starts:
        assert start.start != CLONE or (case.can_clone and start.source in trusted)
        assert (start.start == KEEP) == (start.entry.path in case.present_ids)
    for copy in made.copies():
        assert copy.verify == (copy.source not in trusted)


def test_a_cold_pull_downloads_each_distinct_chunk_once() -> None:
    made = planned({"a": [1, 0, 2, 1], "b": [2, 3, 0]})
    assert made.download_chunks == 3
    assert {made.listing.chunk_id(made.rows.first[row]): list(made.wanted.references(row)) for row in made.wanted} == {
        name(1): [0, 3],
        name(2): [2, 4],
        name(3): [5],
    }
    assert made.hole_bytes == 2 * CHUNK
    # A new file is holes from the start.
    assert not list(made.zero_ranges())


def test_nothing_is_left_to_do_when_all_of_it_lies_there() -> None:
    made = planned({"a": [1, 0, 2]}, present_ids={"a": [1, 0, 2]})
    assert [*made.fetches(), *made.copies(), *made.zero_ranges()] == []
    assert (made.download_bytes, made.download_requests, made.write_bytes) == (0, 0, 0)
    assert made.kept_bytes == 3 * CHUNK
    assert made.starts[0].start == KEEP


def test_what_lies_there_comes_before_every_seed() -> None:
    made = planned({"a": [1, 2]}, present_ids={"a": [1, None]}, seeds=[seed("/s", {"a": [1, 2]})], can_clone=True)
    assert [start.start for start in made.starts] == [KEEP]
    assert [(copy.offset, copy.source_offset) for copy in made.copies()] == [(CHUNK, CHUNK)]


def test_data_where_zeros_belong_become_a_hole() -> None:
    made = planned({"a": [1, 0, 0, 2, 0]}, present_ids={"a": [1, 5, 6, 2, None]})
    assert [(hole.offset, hole.length) for hole in made.zero_ranges()] == [(CHUNK, 2 * CHUNK), (4 * CHUNK, CHUNK)]


def test_the_first_seed_that_has_a_file_is_cloned() -> None:
    seeds = [seed("/none", {"b": [1]}), seed("/one", {"a": [1, 9]}), seed("/two", {"a": [1, 2]})]
    made = planned({"a": [1, 2]}, seeds=seeds, can_clone=True)
    assert made.starts[0].source == "/one/a"
    assert [(copy.source, copy.offset) for copy in made.copies()] == [("/two/a", CHUNK)]


@pytest.mark.parametrize("other", [[1], [1, 2, 3], [1, 0]])
def test_a_clone_is_made_longer_or_shorter(other: list[int]) -> None:
    one = seed("/s", {"a": other})
    made = planned({"a": [1, 0]}, seeds=[one], can_clone=True)
    assert made.starts[0].start == CLONE
    assert carried_out(made, [one]) == result({"a": [1, 0]})
    assert made.download_chunks == 0


def test_a_seed_with_another_chunk_size_is_of_no_use() -> None:
    made = planned({"a": [1, 2]}, seeds=[seed("/s", {"a": [1, 2]}, chunk_size=2 * CHUNK)], can_clone=True)
    assert made.starts[0].start == EMPTY
    assert made.download_chunks == 2


@pytest.mark.parametrize("can_clone", [True, False], ids=["clones", "copies"])
@pytest.mark.parametrize(("length", "told"), [(100, 200), (CHUNK, 200), (100, CHUNK)])
def test_a_chunk_of_a_seed_that_has_another_length_is_downloaded(can_clone: bool, length: int, told: int) -> None:
    """A listing that says otherwise is wrong. What is downloaded shows that; what is taken from a seed would not."""
    there = listing_of({"a": noise(1, length)})
    (entry,) = there.entries
    wrong = make_listing(CHUNK, [dataclasses.replace(entry, size=told)], there.chunk_ids)
    made = plan.plan_pull(
        wrong,
        chunk_rows(wrong),
        locate(wrong),
        present_ids={},
        seeds=[Seed("/s", there, frozenset({"a"}))],
        can_clone=can_clone,
        link=LINK,
    )
    assert (made.download_chunks, made.kept_bytes, made.copied_bytes) == (1, 0, 0)


def test_a_file_with_another_data_area_is_not_cloned_but_copied_from() -> None:
    cluster = noise(1, CHUNK)
    old = listing_of({"a.hds": bytes(512) + cluster}, [Entry(FILE, "a.hds", size=512 + CHUNK, data_start=512)])
    new = listing_of({"a.hds": bytes(1024) + cluster}, [Entry(FILE, "a.hds", size=1024 + CHUNK, data_start=1024)])
    made = plan.plan_pull(
        new,
        chunk_rows(new),
        locate(new),
        present_ids={},
        seeds=[Seed("/s", old, frozenset({"a.hds"}))],
        can_clone=True,
        link=LINK,
    )
    assert made.starts[0].start == EMPTY
    assert [(copy.offset, copy.source_offset, copy.length) for copy in made.copies()] == [(1024, 512, CHUNK)]
    assert made.download_chunks == 0


def test_neighbours_are_copied_together_up_to_a_bound() -> None:
    one = seed("/s", {"x": [*range(1, 101)]}, trusted=False)
    made = planned({"a": [*range(1, 101)]}, seeds=[one])
    assert max(copy.length for copy in made.copies()) == MAX_COPY_BYTES
    assert len(list(made.copies())) == 2
    assert all(copy.verify for copy in made.copies())


def test_a_repair_downloads_what_was_damaged() -> None:
    one = seed("/s", {"a": [1, 2, 3]}, trusted=False)
    made = planned({"a": [1, 2, 3], "b": [2]}, seeds=[one])
    repair = plan.plan_repair(made, [1, 3])
    assert {row: list(repair.wanted.references(row)) for row in repair.wanted} == {1: [1, 3]}
    assert [*repair.starts, *repair.copies(), *repair.zero_ranges()] == []
    assert (repair.kept_bytes, repair.hole_bytes, repair.copied_bytes) == (0, 0, 0)
    assert (repair.write_bytes, repair.download_requests, repair.download_bytes) == (2 * CHUNK, 1, STORED)
    assert [list(fetch.rows) for fetch in repair.fetches()] == [[1]]


def test_the_best_seed_has_most_chunks_in_place() -> None:
    wanted = sketch({"a": [1, 2, 3, 0], "b": [4]})
    assert matching_chunks(wanted, seed("/s", {"a": [1, 2, 3, 0], "b": [4]})) == 5
    assert matching_chunks(wanted, seed("/s", {"a": [1, 9, 3], "b": [9]})) == 2
    assert matching_chunks(wanted, seed("/s", {"a": [2, 1], "c": [4]})) == 0
    assert matching_chunks(wanted, seed("/s", {"a": [1, 2, 3, 0]}, trusted=False)) == 0


def test_references_are_found_in_their_files() -> None:
    listing = listing_of(
        {"a": b"", "b": noise(1, CHUNK + 1), "c": b"", "d.hds": noise(2, 512 + CHUNK)},
        [Entry(FILE, "d.hds", size=512 + CHUNK, data_start=512)],
    )
    references = References(listing)
    assert [(entry.path, offset, length) for entry, offset, length in map(references.find, range(4))] == [
        ("b", 0, CHUNK),
        ("b", CHUNK, 1),
        ("d.hds", 0, 512),
        ("d.hds", 512, CHUNK),
    ]
