# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Versions that are pushed one on another, and the deltas between them, written by hand.

Like ``craft`` it shares nothing with the engine: it compares two versions reference by reference, as
docs/pack-format.md says it, with no thought of size or speed.
"""

from __future__ import annotations

import functools
import hashlib
import typing as t
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.tests.formats import craft, craft_deltas
from ansible_collections.macfleet.parallels.tests.formats.craft import DIRECTORY, FILE, LINK, Row
from ansible_collections.macfleet.parallels.tests.formats.craft_deltas import Draft, Encoder

# (pack, SHA-256 and size of the segment, offset, stored length, codec)
Place = t.Tuple[str, bytes, int, int, int, int]


@dataclass(frozen=True)
class Reference:
    """One chunk of a file: where it is, and its bytes."""

    path: bytes
    is_data: bool
    number: int
    chunk: bytes

    @property
    def place(self) -> tuple[bytes, bool, int]:
        """What two versions must have in common to compare their chunks."""
        return self.path, self.is_data, self.number

    @property
    def id(self) -> bytes:
        """The name of the chunk."""
        return craft.chunk_id(self.chunk)


@dataclass(frozen=True)
class Version:
    """A bundle: its entries in canonical order, and the content of its files by path."""

    rows: tuple[Row, ...]
    contents: t.Mapping[bytes, bytes]

    @functools.cached_property
    def references(self) -> tuple[Reference, ...]:
        """All chunks, in canonical order."""
        found = []
        for row in self.rows:
            content = self.contents.get(row.path, b"")
            for is_data, run in ((False, content[: row.data_start]), (True, content[row.data_start :])):
                for number, begin in enumerate(range(0, len(run), craft.CHUNK_SIZE)):
                    found.append(Reference(row.path, is_data, number, run[begin : begin + craft.CHUNK_SIZE]))
        return tuple(found)

    @functools.cached_property
    def listing(self) -> bytes:
        """The canonical form of the listing."""
        return craft.listing_file(*self._listing())

    @functools.cached_property
    def listing_file(self) -> bytes:
        """The file of the listing."""
        head, columns = self._listing()
        return craft.listing_file(head, craft.stored(columns))

    def _listing(self) -> tuple[craft.Header, bytes]:
        ids = [reference.id for reference in self.references]
        return craft.listing_header(self.rows, ids), craft.listing_columns(self.rows, ids)

    @property
    def digest(self) -> str:
        """The digest of the listing."""
        return hashlib.sha256(self.listing).hexdigest()

    def tree(self) -> dict[str, t.Any]:
        """All that a pull makes, as ``case.json`` has it."""
        return {row.path.decode(): self._item(row) for row in self.rows}

    def _item(self, row: Row) -> dict[str, t.Any]:
        if row.kind == DIRECTORY:
            return {"type": "directory"}
        if row.kind == LINK:
            return {"type": "link", "target": row.target.decode()}
        content = self.contents[row.path]
        sha256, executable = hashlib.sha256(content).hexdigest(), bool(row.flags & craft.EXECUTABLE)
        return {"type": "file", "size": len(content), "sha256": sha256, "executable": executable}


def version(
    files: t.Mapping[str, bytes], *others: Row, data_start: int = 0, executables: t.Sequence[str] = ()
) -> Version:
    """A bundle of files, and of other entries; ``data_start`` is that of the images."""
    rows = list(others)
    for path, content in files.items():
        flags = craft.EXECUTABLE if path in executables else 0
        rows.append(Row(FILE, path.encode(), flags, len(content), data_start if path.endswith(".hds") else 0))
    contents = {path.encode(): content for path, content in files.items()}
    return Version(tuple(sorted(rows, key=lambda row: row.path)), contents)


def smaller(data: bytes) -> tuple[int, bytes]:
    """Runs of bytes as DEFLATE, anything else raw."""
    encoded = craft_deltas.runs(data)
    return (craft.DEFLATE, encoded) if len(encoded) < len(data) else (craft.RAW, data)


def raw(data: bytes) -> tuple[int, bytes]:
    """Not compressed."""
    return craft.RAW, data


@dataclass
class Catalog:
    """Versions that were pushed, each with a segment of what no earlier one has, and objects of patches."""

    versions: list[Version] = field(default_factory=list)
    places: dict[bytes, Place] = field(default_factory=dict)
    segments: list[bytes] = field(default_factory=list)
    patches: list[bytes] = field(default_factory=list)
    indexes: list[bytes] = field(default_factory=list)

    @staticmethod
    def pack(number: int) -> str:
        """The upload id of a version."""
        return f"{number:x}{craft.PACK[1:]}"

    def push(
        self,
        made: Version,
        bases: t.Sequence[int] = (),
        *,
        encode: t.Optional[Encoder] = smaller,
        patches_per_object: int = 99,
    ) -> list[Draft]:
        """Push a version with deltas from earlier ones; without ``encode`` they have no patches."""
        self._store(made)
        drafts = []
        for base in bases:
            one = _Comparison(self.versions[base], made)
            found = one.patches(encode) if encode else {}
            objects = _objects(list(found.values()), patches_per_object)
            self.patches += [data for data, _total in objects]
            drafts.append(one.draft(self.places, found, objects))
        self.versions.append(made)
        self.indexes.append(
            craft.index(made.listing_file, self._locator(made), [craft_deltas.delta(draft) for draft in drafts])
        )
        return drafts

    def _store(self, made: Version) -> None:
        new = {reference.id: reference.chunk for reference in made.references}
        pieces = [
            craft.Piece(chunk, *smaller(chunk))
            for identity, chunk in new.items()
            if identity != craft.HOLE and identity not in self.places
        ]
        if not pieces:
            return
        segment = craft.segment(pieces)
        pack = self.pack(len(self.versions))
        for identity, place in segment.places.items():
            self.places[identity] = (pack, segment.sha256, len(segment.data), *place)
        self.segments.append(segment.data)

    def _locator(self, made: Version) -> bytes:
        distinct = dict.fromkeys(one.id for one in made.references if one.id != craft.HOLE)
        packs, segments, placed = _placed(distinct, self.places)
        order = sorted(packs)
        renumbered = [(name, size, order.index(packs[pack])) for name, size, pack in segments]
        head = craft.locator_header(made.digest, order, len(segments), len(placed))
        return craft.locator_file(head, craft.stored(craft.locator_columns(renumbered, placed)))


def _placed(
    ids: t.Iterable[bytes], places: t.Mapping[bytes, Place]
) -> tuple[list[str], list[tuple[bytes, int, int]], list[tuple[int, int, int, int]]]:
    """The packs, the segments and the rows of chunks, in the order in which they are used."""
    packs: list[str] = []
    segments: list[tuple[bytes, int, int]] = []
    rows = []
    for identity in ids:
        pack, name, size, offset, length, codec = places[identity]
        if pack not in packs:
            packs.append(pack)
        segment = (name, size, packs.index(pack))
        if segment not in segments:
            segments.append(segment)
        rows.append((segments.index(segment), offset, length, codec))
    return packs, segments, rows


@dataclass(frozen=True)
class _Patch:
    """A patch, and the reference of the base that it starts from."""

    base: int
    codec: int
    data: bytes


def _objects(patches: t.Sequence[_Patch], per_object: int) -> list[tuple[bytes, int]]:
    """The objects of some patches, and how many each has."""
    found = []
    for first in range(0, len(patches), per_object):
        some = patches[first : first + per_object]
        found.append((craft_deltas.patches_object([patch.data for patch in some]), len(some)))
    return found


class _Comparison:
    """Two versions, reference by reference."""

    def __init__(self, base: Version, made: Version) -> None:
        self._base, self._made = base, made
        self._base_ids = [reference.id for reference in base.references]
        self._places = {reference.place: number for number, reference in enumerate(base.references)}
        self._changed = [number for number, one in enumerate(made.references) if not self._is_kept(one)]
        ids = dict.fromkeys(made.references[number].id for number in self._changed)
        self._added = [identity for identity in ids if identity != craft.HOLE and identity not in self._base_ids]

    def _is_kept(self, one: Reference) -> bool:
        there = self._places.get(one.place)
        return there is not None and self._base_ids[there] == one.id

    def patches(self, encode: Encoder) -> dict[int, _Patch]:
        """The patches by the numbers of the added chunks."""
        found = {}
        for number, identity in enumerate(self._added):
            first = next(one for one in self._made.references if one.id == identity)
            there = self._places.get(first.place)
            if there is None or self._base_ids[there] == craft.HOLE:
                continue
            codec, data = craft_deltas.patch(self._base.references[there].chunk, first.chunk, encode)
            if 4 * len(data) <= 3 * len(smaller(first.chunk)[1]):
                found[number] = _Patch(there, codec, data)
        return found

    def draft(
        self, places: t.Mapping[bytes, Place], patches: t.Mapping[int, _Patch], objects: t.Sequence[tuple[bytes, int]]
    ) -> Draft:
        """The columns of the delta."""
        packs, segments, placed = _placed(self._added, places)
        bases = [0, *(patch.base for patch in patches.values())]
        entry_runs, entries = self._entries()
        return Draft(
            self._base.digest,
            self._made.digest,
            entry_runs,
            entries,
            self._runs(),
            self._origins(),
            self._added,
            packs,
            segments,
            _with_gaps(placed),
            bytes(number in patches for number in range(len(self._added))),
            [
                ((patch.base - before) % 2**32, len(patch.data), patch.codec)
                for before, patch in zip(bases, patches.values())
            ],
            [(hashlib.sha256(data).digest(), len(data), total) for data, total in objects],
        )

    def _entries(self) -> tuple[list[tuple[int, int, int]], list[Row]]:
        """The runs of entries: as much as possible is copied at once."""
        runs: list[tuple[int, int, int]] = []
        first, copied, own = 0, 0, 0
        entries = []
        for row in self._made.rows:
            number = self._base.rows.index(row) if row in self._base.rows else None
            if number is None:
                own += 1
                entries.append(row)
            elif copied and not own and number == first + copied:
                copied += 1
            else:
                runs.append((first, copied, own))
                first, copied, own = number, 1, 0
        runs.append((first, copied, own))
        return [run for run in runs if run != (0, 0, 0)], entries

    def _runs(self) -> list[tuple[int, int]]:
        runs: list[tuple[int, int]] = []
        end = 0
        for number in self._changed:
            if runs and number == end:
                runs[-1] = (runs[-1][0], runs[-1][1] + 1)
            else:
                runs.append((number - end, 1))
            end = number + 1
        return runs

    def _origins(self) -> list[int]:
        found = []
        used: set[bytes] = set()
        for number in self._changed:
            identity = self._made.references[number].id
            if identity == craft.HOLE:
                found.append(0)
            elif identity in self._base_ids:
                found.append(2 + len(self._added) + self._base_ids.index(identity))
            elif identity in used:
                found.append(2 + self._added.index(identity))
            else:
                found.append(1)
                used.add(identity)
        return found


def _with_gaps(placed: t.Sequence[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Rows with gaps in place of offsets."""
    found = []
    before, end = -1, 0
    for segment, offset, length, codec in placed:
        found.append((segment, (offset - (end if segment == before else 8)) % 2**32, length, codec))
        before, end = segment, offset + length
    return found
