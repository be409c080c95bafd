# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deltas that every reader must refuse, one fault a case, and with which error."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import typing as t

from ansible_collections.macfleet.parallels.tests.formats import craft, craft_deltas
from ansible_collections.macfleet.parallels.tests.formats.cases import Case
from ansible_collections.macfleet.parallels.tests.formats.craft import DIRECTORY, LINK, Row
from ansible_collections.macfleet.parallels.tests.formats.craft_deltas import BLOCK, Draft, noise
from ansible_collections.macfleet.parallels.tests.formats.deltas import (
    CLUSTERS,
    CONFIG,
    HEADER,
    chunk,
    written,
)
from ansible_collections.macfleet.parallels.tests.formats.faults import REMOVED, UNCHANGED, changed
from ansible_collections.macfleet.parallels.tests.formats.versions import Catalog, Version, version

NOWHERE = b"\xaa" * 32
_HUGE = 1 << 40


@dataclasses.dataclass(frozen=True)
class Sample:
    """A delta with everything in it, and the version that it starts from."""

    base: Version
    draft: Draft


@functools.lru_cache(maxsize=None)
def sample() -> Sample:
    """Three patches in two objects, two packs, entries that come and go, a hole, and a chunk of another place."""
    base = version(
        {"a": b"a", "b/old": b"old", "config.pvs": CONFIG, "disk.hds": HEADER + CLUSTERS, "z": chunk(1, 2)},
        Row(DIRECTORY, b"b"),
        Row(LINK, b"link", target=b"a"),
        data_start=len(HEADER),
    )
    clusters = written(written(CLUSTERS, 1, is_noise=True), 17, 65) + bytes(BLOCK)
    other = version({"shared": noise("shared", 900)})
    last = version(
        {
            "c/new": b"new",
            "c/same": b"a",
            "c/shared": noise("shared", 900),
            "c/twice": b"new",
            "config.pvs": CONFIG,
            "disk.hds": HEADER + clusters + bytes(1 << 16),
            "z": chunk(1, 2),
        },
        Row(DIRECTORY, b"c"),
        Row(LINK, b"link", target=b"z"),
        data_start=len(HEADER),
    )
    made = Catalog()
    made.push(base)
    made.push(other)
    (draft,) = made.push(last, [0], patches_per_object=2)
    assert len(draft.patches) == 3 and len(draft.objects) == len(draft.packs) == 2
    assert {0, 1} < set(draft.origins) and max(draft.origins) >= 2 + len(draft.ids)
    return Sample(base, draft)


def _of(name: str, about: str, says: str, data: bytes, error: str = "invalid_index") -> Case:
    files = {"base.listing.bin": sample().base.listing_file, "delta.bin": data}
    return Case(name, about, "delta", files, error=error, says=says)


def refused(name: str, about: str, says: str, error: str = "invalid_index", **fields: t.Any) -> Case:
    """The delta with other columns, and a header that counts them."""
    return _of(name, about, says, craft_deltas.delta(dataclasses.replace(sample().draft, **fields)), error)


def with_header(
    name: str,
    about: str,
    says: str,
    changes: t.Mapping[str, t.Any] = UNCHANGED,
    error: str = "invalid_index",
    body: t.Optional[bytes] = None,
) -> Case:
    """The delta with another header, or another body."""
    draft = sample().draft
    head = changed(craft_deltas.header(draft), changes)
    return _of(
        name,
        about,
        says,
        craft_deltas.delta_file(head, craft.stored(craft_deltas.columns(draft)) if body is None else body),
        error,
    )


def replaced(items: t.Sequence[t.Any], number: int, item: t.Any) -> list[t.Any]:
    """A column with another item."""
    return [item if place == number else one for place, one in enumerate(items)]


def inserted(items: t.Sequence[t.Any], number: int, item: t.Any) -> list[t.Any]:
    """A column with one item more."""
    return [*items[:number], item, *items[number:]]


def field(items: t.Sequence[tuple[t.Any, ...]], number: int, place: int, value: t.Any) -> list[t.Any]:
    """Columns with another value in one of them."""
    return replaced(items, number, tuple(replaced(items[number], place, value)))


def _file_cases() -> list[Case]:
    draft = sample().draft
    good, columns = craft_deltas.delta(draft), craft_deltas.columns(draft)
    place = good.index(draft.ids[0])
    packs = list(draft.packs)
    return [
        _of("delta-empty", "No byte at all.", "does not begin", b""),
        _of("delta-magic", "Another magic.", "does not begin", b"MFDELT9\n" + good[8:]),
        _of("delta-cut", "The last byte is missing.", "shorter or longer", good[:-1]),
        _of("delta-half", "The second half is missing.", "shorter or longer", good[: len(good) // 2]),
        _of("delta-rest", "A byte behind the end.", "shorter or longer", good + b"\0"),
        _of(
            "delta-flipped",
            "One bit of an id is another.",
            "leads to the listing",
            good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :],
        ),
        with_header("delta-columns-short", "Columns that end early.", "shorter", body=craft.stored(columns[:-1])),
        with_header("delta-columns-long", "A byte more in the columns.", "shorter", body=craft.stored(columns + b"\0")),
        with_header(
            "delta-columns-bomb",
            "A megabyte of zeros behind the columns.",
            "shorter",
            body=craft_deltas.runs(columns + bytes(1 << 20)),
        ),
        with_header("delta-columns-not-deflate", "No DEFLATE.", "do not decompress", body=b"\xff" * 90),
        with_header("delta-format-future", "Format 2.", "format 2", {"format": 2}, "unsupported_format"),
        with_header(
            "delta-feature-unknown", "A feature of the future.", "seal", {"features": ["seal"]}, "unsupported_format"
        ),
        with_header("delta-field-missing", "A header without a field.", "fields", {"runs": REMOVED}),
        with_header("delta-field-unknown", "A header with a field more.", "fields", {"colour": "red"}),
        with_header("delta-number-huge", "More chunks than there may be.", "chunks", {"chunks": 4_194_305}),
        with_header("delta-number-negative", "A negative number.", "patches", {"patches": -1}),
        with_header("delta-number-text", "A number written as text.", "runs", {"runs": "1"}),
        with_header("delta-base-type", "A base that is no digest.", "to which listings", {"base": ["0" * 64]}),
        with_header("delta-digest-type", "A target that is no digest.", "to which listings", {"digest": "F" * 64}),
        with_header("delta-base-other", "Another base.", "starts from the listing", {"base": "0" * 64}),
        with_header("delta-digest-other", "Another target.", "leads to the listing", {"digest": "0" * 64}),
        with_header("delta-pack-name", "A pack that is no upload id.", "not an upload id", {"packs": [packs[0], ".."]}),
        with_header("delta-pack-unused", "A pack without a segment.", "not those", {"packs": [*packs, "f" * 32]}),
        with_header("delta-pack-missing", "A segment without a pack.", "not those", {"packs": packs[:1]}),
        with_header("delta-pack-twice", "A pack twice.", "not those", {"packs": [packs[0], packs[0]]}),
        refused(
            "delta-pack-order",
            "Packs that are not in the order of the segments.",
            "not those",
            packs=packs[::-1],
            segments=[(name, size, 1 - pack) for name, size, pack in draft.segments],
        ),
    ]


def _entry_cases() -> list[Case]:
    draft = sample().draft
    runs, entries = draft.entry_runs, draft.entries
    file = next(number for number, row in enumerate(entries) if row.path == b"c/new")

    def entry(name: str, about: str, says: str, error: str = "invalid_index", **changes: t.Any) -> Case:
        spoilt = dataclasses.replace(entries[file], **changes)
        return refused(name, about, says, error, entries=replaced(entries, file, spoilt))

    total = len(sample().base.rows)
    return [
        refused(
            "delta-entries-outside", "Entries that the base lacks.", "does not have", entry_runs=[*runs, (total, 1, 0)]
        ),
        refused(
            "delta-entries-twice", "Entries that are copied twice.", "in order, each once", entry_runs=[*runs, runs[-1]]
        ),
        refused("delta-entries-order", "Runs that go back.", "in order, each once", entry_runs=runs[::-1]),
        refused(
            "delta-entries-overlap",
            "Runs that overlap.",
            "in order, each once",
            entry_runs=[(0, 2, 0), (1, 2, len(entries))],
        ),
        refused(
            "delta-entries-fewer",
            "Fewer own entries than the runs name.",
            "shorter or longer than its entries",
            entry_runs=field(runs, 0, 2, runs[0][2] + 1),
        ),
        refused(
            "delta-entries-more",
            "More own entries than the runs name.",
            "shorter or longer than its entries",
            entries=[*entries, Row(DIRECTORY, b"zz")],
        ),
        refused(
            "delta-entries-huge",
            "More entries than there may be.",
            "allowed is 1000000",
            entry_runs=field(runs, 0, 1, 1_000_000),
        ),
        refused("delta-entries-missing", "An entry that is not copied.", "leads to the", entry_runs=runs[:-1]),
        entry("delta-entry-kind", "An entry of the type 3.", "unknown type", kind=3),
        entry("delta-entry-flag", "An entry with the flag 2.", "unknown type or flag", flags=2),
        entry("delta-entry-data-start", "A data area behind the end.", "behind its end", data_start=99),
        entry("delta-entry-path", "A path that goes up.", "'..'", "unsafe_path", path=b"../new"),
        entry("delta-entry-order", "A path that does not come after the one before it.", "does not come", path=b"0"),
        entry("delta-entry-size-huge", "A file of a tebibyte without chunks.", "and tells at most", size=_HUGE),
        entry("delta-entry-size-most", "A file of 2^64 - 1 bytes.", "and tells at most", size=2**64 - 1),
        entry("delta-entry-not-utf8", "A path that is not UTF-8.", "target of the delta is not UTF-8", path=b"c/n\xe9"),
    ]


def _two_lengths() -> Case:
    base = version({"a": b"abc", "b": b"abc"})
    rows, ids = [base.rows[0], dataclasses.replace(base.rows[1], size=4)], [base.references[0].id] * 2
    canonical = craft.listing_file(craft.listing_header(rows, ids), craft.listing_columns(rows, ids))
    digest = hashlib.sha256(canonical).hexdigest()
    draft = Draft(base.digest, digest, [(0, 1, 1)], rows[1:], [], [], [], [], [], [], b"", [], [])
    return Case(
        "delta-two-lengths",
        "A delta that leads to a listing with two lengths of one chunk.",
        "delta",
        {"base.listing.bin": base.listing_file, "delta.bin": craft_deltas.delta(draft)},
        error="invalid_index",
        says="two lengths",
    )


def _reference_cases() -> list[Case]:
    draft = sample().draft
    runs, origins = draft.runs, draft.origins
    chunks = len(draft.ids)
    first_new, first_base = origins.index(1), next(n for n, origin in enumerate(origins) if origin >= 2 + chunks)
    total = len(sample().base.references)

    def origin(name: str, about: str, says: str, number: int, value: int) -> Case:
        return refused(name, about, says, origins=replaced(origins, number, value))

    return [
        refused("delta-run-empty", "A run without references.", "shorter or longer", runs=[*runs, (1, 0)]),
        refused(
            "delta-runs-neighbours",
            "Two runs without a reference between them.",
            "should be one",
            runs=[*runs, (0, 1)],
            origins=[*origins, 0],
        ),
        refused("delta-runs-short", "Runs of fewer references.", "shorter or longer", origins=[*origins, 0]),
        refused("delta-runs-long", "Runs of more references.", "shorter or longer", origins=origins[:-1]),
        refused(
            "delta-runs-behind-end",
            "A run behind the last reference.",
            "does not have",
            runs=[*runs, (2**32 - 1, 1)],
            origins=[*origins, 0],
        ),
        refused(
            "delta-place-missing",
            "A reference whose place the base lacks, in no run.",
            "does not tell",
            runs=field(runs, len(runs) - 1, 1, runs[-1][1] - 1),
            origins=origins[:-1],
        ),
        origin("delta-origin-early", "A chunk before it is added.", "before it adds it", first_new, 2 + chunks - 1),
        origin("delta-origin-more", "More new chunks than it adds.", "before it adds it", first_base, 1),
        origin(
            "delta-origin-outside", "A reference that the base lacks.", "does not have", first_base, 2 + chunks + total
        ),
        origin("delta-origin-huge", "The reference 2^32 - 1.", "does not have", first_base, 2**32 - 1),
        origin("delta-origin-hole", "A hole in place of a chunk.", "leads to the listing", first_base, 0),
        refused(
            "delta-chunk-unused",
            "A chunk that no reference has.",
            "does not use",
            ids=[*draft.ids, NOWHERE],
            origins=[origin + (origin >= 2 + chunks) for origin in origins],
            placed=[*draft.placed, draft.placed[-1]],
            segments=[(name, 1 << 20, pack) for name, _size, pack in draft.segments],
            marks=draft.marks + b"\0",
        ),
    ]


def _chunk_cases() -> list[Case]:
    draft = sample().draft
    ids, placed, segments = draft.ids, draft.placed, draft.segments
    small = ids.index(craft.chunk_id(b"new"))

    def row(name: str, about: str, says: str, *places: tuple[int, int]) -> Case:
        changed_rows: list[t.Any] = list(placed)
        for place, value in places:
            changed_rows = field(changed_rows, small, place, value)
        return refused(name, about, says, placed=changed_rows)

    def named(name: str, about: str, says: str, *found: tuple[bytes, int, int]) -> Case:
        return refused(name, about, says, segments=found)

    first, second = segments
    return [
        _with_chunk("delta-chunk-hole", "A hole as an added chunk.", craft.HOLE, len(draft.origins) - 1),
        _with_chunk("delta-chunk-twice", "A chunk that is added twice.", ids[0], draft.origins.index(2)),
        row("delta-row-outside", "A chunk that reaches over the end of its segment.", "not lie in", (1, 1 << 20)),
        row("delta-row-wrapped", "An offset of 2^32 - 1.", "not lie in", (1, (2**32 - 1 - _end_before(small)) % 2**32)),
        row("delta-row-segment", "A segment that is not there.", "not lie in", (0, 2)),
        row("delta-row-empty", "A chunk of no bytes.", "not lie in", (2, 0)),
        row("delta-row-codec", "The codec 3.", "unknown codec 3", (3, 3)),
        row("delta-row-short", "A raw chunk that is shorter than the chunk.", "does not fit", (2, 2)),
        row("delta-row-not-smaller", "An encoded chunk that is as long as the chunk.", "does not fit", (3, 1)),
        row("delta-row-longer", "An encoded chunk that is longer than the chunk.", "does not fit", (2, 4), (3, 1)),
        refused(
            "delta-segment-twice",
            "A segment that is named twice.",
            "twice",
            packs=draft.packs[:1],
            segments=[first, first],
        ),
        named("delta-segment-empty", "A segment of no bytes.", "impossible size", first, (second[0], 0, 1)),
        named(
            "delta-segment-huge",
            "A segment of more than 64 MiB.",
            "impossible size",
            first,
            (second[0], (64 << 20) + 1, 1),
        ),
        named("delta-segment-unused", "A segment without a chunk.", "not use", first, second, (NOWHERE, 99, 1)),
    ]


def _with_chunk(name: str, about: str, identity: bytes, number: int, **fields: t.Any) -> Case:
    """The same listing, though a changed reference has its chunk from one that should not be added."""
    draft = sample().draft
    place = sum(origin == 1 for origin in draft.origins[:number])
    origins = []
    for one, origin in enumerate(draft.origins):
        origins.append(1 if one == number else origin + (origin >= 2 + place))
    added: dict[str, t.Any] = {
        "ids": inserted(draft.ids, place, identity),
        "placed": inserted(draft.placed, place, (0, 0, 1, craft.DEFLATE)),
        "marks": bytes(inserted(draft.marks, place, 0)),
    }
    return refused(name, about, "adds a hole, or a chunk twice", origins=origins, **{**added, **fields})


def _end_before(number: int) -> int:
    """The offset that a gap of 0 gives an added chunk of the sample."""
    before, end = -1, 8
    for segment, gap, length, _codec in sample().draft.placed[:number]:
        end = (end if segment == before else 8) + gap + length
        before = segment
    return end if sample().draft.placed[number][0] == before else 8


def _patch_column_cases() -> list[Case]:
    draft = sample().draft
    patches, objects, marks = draft.patches, draft.objects, draft.marks
    base = sample().base.references
    hole = next(number for number, reference in enumerate(base) if reference.id == craft.HOLE)
    first, second = objects

    def patch(name: str, about: str, says: str, place: int, value: int) -> Case:
        grown = value - patches[0][1] if place == 1 else 0
        return refused(
            name,
            about,
            says,
            patches=field(patches, 0, place, value),
            objects=field(objects, 0, 1, objects[0][1] + grown),
        )

    def named(name: str, about: str, says: str, *found: tuple[bytes, int, int]) -> Case:
        return refused(name, about, says, objects=found)

    return [
        refused("delta-marks-other", "The mark 2.", "a patch for each chunk", marks=marks.replace(b"\1", b"\2", 1)),
        refused("delta-marks-fewer", "A patch for no chunk.", "a patch for each", marks=marks.replace(b"\1", b"\0", 1)),
        refused(
            "delta-marks-more", "A chunk without its patch.", "a patch for each", marks=marks.replace(b"\0", b"\1", 1)
        ),
        refused(
            "delta-patch-from-hole",
            "A patch that starts from a hole.",
            "from a hole",
            patches=field(patches, 0, 0, hole),
        ),
        refused(
            "delta-patch-outside",
            "A patch from a reference that the base lacks.",
            "does not have",
            patches=field(patches, 0, 0, len(base)),
        ),
        _with_chunk(
            "delta-patch-of-hole",
            "A patch for a chunk that is a hole.",
            craft.HOLE,
            len(draft.origins) - 1,
            marks=marks + b"\1",
            patches=[*patches, (0, 100, craft.DEFLATE)],
            objects=[first, (second[0], second[1] + 100, second[2] + 1)],
        ),
        patch("delta-patch-codec", "The codec 3.", "unknown codec", 2, 3),
        patch("delta-patch-short", "A patch that is shorter than its bitmap.", "does not fit", 1, 1),
        patch("delta-patch-long", "A patch that is longer than bitmap and chunk.", "does not fit", 1, 65536 + 3),
        patch("delta-patch-not-blocks", "A raw patch that is no number of blocks.", "does not fit", 1, 2 + BLOCK + 1),
        named(
            "delta-object-long",
            "An object that is longer than its patches.",
            "than its",
            first,
            (second[0], second[1] + 1, 1),
        ),
        named(
            "delta-object-short",
            "An object that is shorter than its patches.",
            "than its",
            first,
            (second[0], second[1] - 1, 1),
        ),
        named("delta-object-order", "Objects that are not in order.", "than its", second, first),
        named("delta-object-twice", "An object that is named twice.", "twice", first, (first[0], second[1], 1)),
        named("delta-object-empty", "An object without patches.", "impossible", first, second, (NOWHERE, 8, 0)),
        named(
            "delta-object-more",
            "An object of more patches than there are.",
            "impossible",
            first,
            (second[0], second[1], 2),
        ),
        named("delta-object-missing", "A patch that lies in no object.", "none of its objects", first),
        named("delta-object-none", "Patches without objects.", "none of its objects"),
        refused(
            "delta-object-huge",
            "An object of more than 64 MiB, and patches that fill it.",
            "impossible",
            patches=field(patches, 0, 1, 64 << 20),
            objects=field(objects, 0, 1, first[1] - patches[0][1] + (64 << 20)),
        ),
    ]


def exact_delta_faults() -> list[Case]:
    """Every broken vector of a delta that is the same bytes whoever makes it."""
    return [
        *_file_cases(),
        *_entry_cases(),
        _two_lengths(),
        *_reference_cases(),
        *_chunk_cases(),
        *_patch_column_cases(),
    ]
