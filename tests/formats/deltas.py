# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deltas and patches that every reader must accept."""

from __future__ import annotations

import hashlib
import typing as t

from ansible_collections.macfleet.parallels.tests.formats import craft, craft_deltas
from ansible_collections.macfleet.parallels.tests.formats.cases import Case
from ansible_collections.macfleet.parallels.tests.formats.craft import CHUNK_SIZE, DIRECTORY, LINK, Row
from ansible_collections.macfleet.parallels.tests.formats.craft_deltas import BLOCK, Encoder, noise
from ansible_collections.macfleet.parallels.tests.formats.versions import Catalog, Version, raw, smaller, version

BLOCKS = CHUNK_SIZE // BLOCK
Way = t.Sequence[int]


def chunk(first: int, blocks: int = BLOCKS) -> bytes:
    """Blocks that each repeat one byte, from this one on."""
    return b"".join(bytes([first + number]) * BLOCK for number in range(blocks))


def written(data: bytes, *blocks: int, is_noise: bool = False) -> bytes:
    """Data in which blocks were written: with another byte each, or with noise."""
    found = bytearray(data)
    for number in blocks:
        begin = BLOCK * number
        length = len(found[begin : begin + BLOCK])
        new = noise(f"block {number}", BLOCK) if is_noise else bytes([0xB0 + number]) * BLOCK
        found[begin : begin + length] = new[:length]
    return bytes(found)


HEADER = noise("header", 1024)
# The first cluster is large enough for a raw patch to be worth it, the third is a hole, the last is short.
FIRST = chunk(1, 8) + noise("cluster", 2 * BLOCK) + chunk(11, 6)
CLUSTERS = FIRST + chunk(21) + bytes(CHUNK_SIZE) + chunk(41) + chunk(61, 3)
CONFIG = b"<ParallelsVirtualMachine/>\n"


def image(clusters: bytes = CLUSTERS, header: bytes = HEADER, **others: bytes) -> Version:
    """A bundle with a disk, and some files."""
    return version({"disk.hds": header + clusters, "config.pvs": CONFIG, **others}, data_start=len(header))


def update_case(
    name: str, about: str, made: Catalog, ways: t.Sequence[Way], patched: t.Sequence[int], **facts: t.Any
) -> Case:
    """Versions, and ways from one to the last by deltas; ``patched`` references come from patches on each way."""
    last = made.versions[-1]
    found = {f"version-{number}.index.bin": data for number, data in enumerate(made.indexes)}
    for kind, objects in (("segment", made.segments), ("patches", made.patches)):
        found.update({f"{kind}-{hashlib.sha256(data).hexdigest()}.bin": data for data in objects})
    found["listing.canonical.bin"] = last.listing
    described = {"digest": last.digest, "tree": last.tree(), "ways": list(ways), "patched": list(patched)}
    return Case(name, about, "update", found, {**described, **facts})


def _update(name: str, about: str, base: Version, last: Version, patched: int, **options: t.Any) -> Case:
    made = Catalog()
    made.push(base)
    made.push(last, [0], **options)
    return update_case(name, about, made, [[0, 1]], [patched])


def _disk_cases() -> list[Case]:
    scattered = written(written(CLUSTERS, 0, is_noise=True), 20)
    extended = CLUSTERS[: 4 * CHUNK_SIZE] + written(chunk(61, 5), 4)
    grown = image(written(CLUSTERS, 1, 60), noise("header", 512) + noise("longer table", CHUNK_SIZE + 512))
    return [
        _update("delta-patches", "Two patches in one object, raw and DEFLATE.", image(), image(scattered), 2),
        _update(
            "delta-objects",
            "Four patches in two objects, from references that do not ascend by one.",
            image(),
            image(written(scattered, 50, 65)),
            4,
            patches_per_object=2,
        ),
        _update(
            "delta-patches-raw",
            "A patch that is raw, though DEFLATE would be smaller.",
            image(),
            image(written(CLUSTERS, 2)),
            1,
            encode=raw,
        ),
        _update(
            "delta-patches-zstd",
            "A patch in the codec zstd: a frame of one block that repeats one byte.",
            image(),
            image(written(CLUSTERS, 3)),
            1,
            encode=lambda data: (craft.ZSTD, craft_deltas.run_frame(data[0], len(data))),
        ),
        _update("delta-without-patches", "Whole chunks alone.", image(), image(scattered), 0, encode=None),
        _update(
            "delta-moved-data", "A longer header: clusters are where they were, and two changed.", image(), grown, 2
        ),
        _update("delta-chunk-longer", "A chunk that a patch makes longer.", image(), image(extended), 1),
        _update("delta-chunk-shorter", "A chunk that is only cut: no block.", image(), image(CLUSTERS[:-5000]), 1),
        _update(
            "delta-chunk-zeros",
            "A chunk that only gets longer by zeros, into another block: no block.",
            image(),
            image(CLUSTERS + bytes(BLOCK + 7)),
            1,
        ),
    ]


def _entry_cases() -> list[Case]:
    clusters = chunk(81) + CLUSTERS[CHUNK_SIZE : 2 * CHUNK_SIZE] + chunk(101) + chunk(81) + bytes(CHUNK_SIZE) + FIRST
    base = version(
        {"a": b"a", "b/old": b"old", "config.pvs": CONFIG, "disk.hds": HEADER + CLUSTERS, "run": b"#!/bin/sh\n"},
        Row(DIRECTORY, b"b"),
        Row(LINK, b"link", target=b"a"),
        data_start=1024,
    )
    last = version(
        {
            "0": b"first",
            "c/new": b"new",
            "c/same": b"a",
            "config.pvs": CONFIG,
            "disk.hds": HEADER + clusters,
            "empty": b"",
            "run": b"#!/bin/sh\n",
            "z": chunk(101),
        },
        Row(DIRECTORY, b"c"),
        Row(LINK, b"link", target=b"config.pvs"),
        data_start=1024,
        executables=["run"],
    )
    files = {"a": chunk(1), "b": b"b"}
    return [
        _update(
            "delta-entries",
            "Entries that come, go and change; holes; chunks of other places; a new chunk three times.",
            base,
            last,
            0,
        ),
        _update("delta-from-nothing", "A base without entries.", version({}), version(files), 0),
        _update("delta-to-nothing", "A version without entries.", version(files), version({}), 0),
        _update("delta-same", "A base that is the version itself.", version(files), version(files), 0),
        _update(
            "delta-patch-twice",
            "A patch for a chunk that two files have.",
            version({"a": chunk(1), "b": chunk(1)}),
            version({"a": written(chunk(1), 2), "b": written(chunk(1), 2)}),
            2,
        ),
    ]


def _several_cases() -> list[Case]:
    chained = Catalog()
    chained.push(image())
    # One chunk in both, one in each, and a last chunk of three lengths.
    middle = written(CLUSTERS, 0, 20) + noise("more", 100)
    chained.push(image(middle), [0])
    chained.push(image(written(middle, 1, 50)[:-60]), [1])
    three = Catalog()
    for number in range(3):
        three.push(image(written(CLUSTERS, *range(number))))
    three.push(image(written(CLUSTERS, *range(4), 21)), [0, 1, 2])
    return [
        update_case(
            "delta-chain",
            "Two deltas one after another, and chunks with two patches.",
            chained,
            [[0, 1, 2], [1, 2]],
            [4, 3],
        ),
        update_case("delta-three", "A commit with three deltas.", three, [[0, 3], [1, 3], [2, 3]], [2, 2, 2]),
    ]


def _damaged_cases() -> list[Case]:
    """Deltas that are right, with patches that are not: whole chunks take their place."""

    def case(name: str, about: str, patched: int, spoil: t.Callable[[list[bytes]], list[bytes]]) -> Case:
        made = Catalog()
        made.push(image())
        made.push(image(written(written(CLUSTERS, 0, is_noise=True), 16)), [0], patches_per_object=1)
        good = update_case(name, about, made, [[0, 1]], [patched])
        found = {path: data for path, data in good.files.items() if not path.startswith("patches-")}
        names = [f"patches-{hashlib.sha256(data).hexdigest()}.bin" for data in made.patches]
        found.update(zip(names, spoil(made.patches)))
        return Case(name, about, "update", found, good.facts)

    def flipped(objects: list[bytes]) -> list[bytes]:
        first, *others = objects
        return [first[:-1] + bytes([first[-1] ^ 1]), *others]

    return [
        case("patches-flipped", "Patches of which one leads to another chunk.", 1, flipped),
        case(
            "patches-cut", "An object of patches that is too short.", 1, lambda objects: [objects[0][:-1], objects[1]]
        ),
        case("patches-zeros", "Objects of zeros.", 0, lambda objects: [bytes(len(data)) for data in objects]),
        case("patches-swapped", "Two objects under each other's names.", 0, lambda objects: objects[::-1]),
        case("patches-missing", "No object of patches at all.", 0, lambda objects: []),
    ]


def patch_case(name: str, about: str, old: bytes, new: bytes, codec: int, data: bytes, **more: t.Any) -> Case:
    """A patch by itself."""
    facts = {"codec": codec, "length": len(new), "sha256": hashlib.sha256(new).hexdigest()}
    return Case(name, about, "patch", {"chunk.bin": old, "patch.bin": data}, facts, **more)


def _patch_cases() -> list[Case]:
    old = noise("old", 3 * BLOCK + 100)

    def case(name: str, about: str, new: bytes, encode: Encoder = raw, before: bytes = old) -> Case:
        return patch_case(name, about, before, new, *craft_deltas.patch(before, new, encode))

    return [
        case("patch-raw", "Two blocks of four, the short last one among them.", written(old, 1, 3, is_noise=True)),
        case("patch-deflate", "Blocks as DEFLATE.", written(old, 0, 2), smaller),
        case("patch-whole", "All blocks.", noise("new", len(old))),
        case("patch-same", "No block.", old),
        case("patch-longer", "A longer chunk: what the base lacks counts as zeros.", old + bytes(BLOCK) + b"more"),
        case("patch-shorter", "A shorter chunk, within a block.", written(old, 0)[: BLOCK + 9]),
        case("patch-one-byte", "A chunk of one byte.", b"!"),
        case("patch-nine-blocks", "A bitmap of two bytes.", written(chunk(1, 9), 7, 8), before=chunk(1, 9)),
        case("patch-full-chunk", "The last block of a whole chunk.", written(chunk(1), 15), before=chunk(1)),
    ]


def exact_deltas() -> list[Case]:
    """Vectors that are the same bytes whoever makes them."""
    return [*_disk_cases(), *_entry_cases(), *_several_cases(), *_damaged_cases(), *_patch_cases()]
