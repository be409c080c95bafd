# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The vectors of tests/formats: what every reader accepts, what it refuses, and what a writer writes."""

from __future__ import annotations

import hashlib
import json
import typing as t
import zlib
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import codecs, index, segments, verify
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import PackError
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import CODEC_RAW, Index
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index_file import decode_index
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import encode_listing, make_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import encode_locator
from ansible_collections.macfleet.parallels.tests.formats import craft, make_vectors
from ansible_collections.macfleet.parallels.tests.formats.cases import EXECUTABLES, LINKS, files
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import (
    PACK,
    MemoryStorage,
    apply,
    pack,
    plan_of,
    tree_of_case,
    write_file,
)

CASES = {path.parent.name: json.loads(path.read_text("utf-8")) for path in make_vectors.VECTORS.glob("*/case.json")}


def content(case: str, name: str) -> bytes:
    return (make_vectors.VECTORS / case / name).read_bytes()


def storage_of(case: str) -> MemoryStorage:
    storage = MemoryStorage()
    for path in (make_vectors.VECTORS / case).glob("segment-*.bin"):
        storage.objects[path.stem.partition("-")[2]] = path.read_bytes()
    return storage


def read(case: str, directory: Path) -> t.Any:
    """Do with a vector what its case says."""
    reads = CASES[case]["reads"]
    if reads == "segment":
        data = content(case, "segment.bin")
        return segments.fetch_trailer(lambda offset, length: data[offset : offset + length], len(data))
    if reads == "chunk":
        return bytes(codecs.decode(CASES[case]["codec"], content(case, "chunk.bin"), CASES[case]["length"]))
    read_index = decode_index(content(case, "index.bin"))
    if reads == "pack":
        apply(plan_of(read_index), directory, storage_of(case))
    return read_index


def named(*reads: str, good: bool) -> list[str]:
    return sorted(name for name, case in CASES.items() if case["reads"] in reads and ("error" not in case) == good)


def test_every_kind_of_vector_is_there() -> None:
    for reads in ("index", "segment", "chunk", "pack"):
        assert named(reads, good=True)
        assert named(reads, good=False)


# Broken ones


@pytest.mark.parametrize("case", named("index", "segment", "chunk", "pack", good=False))
def test_a_fault_is_refused_with_its_own_error(case: str, tmp_path: Path) -> None:
    with pytest.raises(PackError) as caught:
        read(case, tmp_path)
    assert caught.value.code == CASES[case]["error"]
    assert CASES[case]["says"] in caught.value.message
    assert len(caught.value.message) < 3000


@pytest.mark.parametrize("case", [name for name in named("index", good=False) if name.startswith(("path", "link"))])
def test_a_fault_of_a_path_is_refused_before_anything_is_written(case: str, tmp_path: Path) -> None:
    with pytest.raises(PackError):
        read(case, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


# Good ones


@pytest.mark.parametrize("case", named("index", "pack", good=True))
def test_an_index_is_read_and_has_its_digest(case: str) -> None:
    read_index = decode_index(content(case, "index.bin"))
    assert read_index.listing.digest == CASES[case]["digest"]
    assert hashlib.sha256(content(case, "listing.canonical.bin")).hexdigest() == CASES[case]["digest"]


@pytest.mark.parametrize("case", named("index", "pack", good=True))
def test_an_index_that_is_written_again_has_the_same_canonical_bytes(case: str) -> None:
    read_index = decode_index(content(case, "index.bin"))
    assert unpacked(encode_listing(read_index.listing)) == content(case, "listing.canonical.bin")
    again = make_listing(read_index.listing.chunk_size, read_index.listing.entries, read_index.listing.chunk_ids)
    assert again.digest == CASES[case]["digest"]
    if CASES[case]["reads"] == "pack":
        assert unpacked(encode_locator(read_index.locator)) == content(case, "locator.canonical.bin")


@pytest.mark.parametrize("case", named("segment", good=True))
def test_a_trailer_is_read(case: str, tmp_path: Path) -> None:
    rows = read(case, tmp_path)
    assert len(rows) == CASES[case]["rows"]
    last = rows[-1]
    assert CASES[case]["last_row"] == {
        "sha256": last.identity.hex(),
        "offset": last.offset,
        "length": last.length,
        "codec": last.codec,
    }


@pytest.mark.parametrize("case", named("segment", good=True))
def test_a_segment_that_is_built_again_has_the_same_bytes(case: str, tmp_path: Path) -> None:
    data = content(case, "segment.bin")
    builder = segments.SegmentBuilder()
    for row in read(case, tmp_path):
        assert builder.add(row.identity, row.codec, data[row.offset : row.offset + row.length], row.raw_length) == row
    assert builder.finish() == data


@pytest.mark.parametrize("case", named("chunk", good=True))
def test_every_provider_decodes_the_samples_of_all_encoders(case: str) -> None:
    facts = CASES[case]
    tried = codecs.providers(facts["codec"])
    assert tried
    for provider in tried:
        raw = provider.decode(content(case, "chunk.bin"), facts["length"])
        assert hashlib.sha256(raw).hexdigest() == facts["sha256"], provider.name


@pytest.mark.parametrize("case", named("pack", good=True))
def test_a_pack_is_pulled(case: str, tmp_path: Path) -> None:
    read_index = read(case, tmp_path)
    assert tree_of_case(tmp_path) == CASES[case]["tree"]
    assert verify.damaged_paths(str(tmp_path), read_index.listing) == []


@pytest.mark.parametrize("case", named("pack", good=True))
def test_the_trailers_of_a_pack_say_the_same_as_its_locator(case: str) -> None:
    read_index = decode_index(content(case, "index.bin"))
    objects = storage_of(case).objects
    listed = {}
    for segment in read_index.locator.segments:
        data = objects[segment.sha256]
        assert hashlib.sha256(data).hexdigest() == segment.sha256
        assert len(data) == segment.size
        for row in segments.read_trailer(data, len(data)):
            listed[row.identity] = index.Placement(segment, row.offset, row.length, row.codec)
    rows = index.chunk_rows(read_index.listing)
    assert {identity: read_index.locator.placement(row) for identity, row in rows.row_of.items()} == listed


def test_a_writer_makes_the_raw_pack_byte_for_byte(tmp_path: Path) -> None:
    root = tmp_path / "Sample.pvm"
    for path, data in files().items():
        write_file(root / path, data)
        (root / path).chmod(0o755 if path in EXECUTABLES else 0o644)
    for path, target in LINKS.items():
        (root / path).symlink_to(target)
    storage = MemoryStorage()
    case = CASES["pack-raw"]
    written = pack(root, storage, codec=CODEC_RAW, segment_bytes=case["segment_bytes"])
    assert unpacked(encode_listing(written.listing)) == content("pack-raw", "listing.canonical.bin")
    assert unpacked(encode_locator(written.locator)) == content("pack-raw", "locator.canonical.bin")
    assert storage.objects == storage_of("pack-raw").objects
    assert craft.PACK == PACK


def unpacked(data: bytes) -> bytes:
    """The canonical form of the file of a listing or locator."""
    header_end = 12 + int.from_bytes(data[8:12], "little")
    return data[:header_end] + zlib.decompress(data[header_end:], -15)


def test_all_encodings_of_a_bundle_have_one_digest() -> None:
    packs: list[Index] = [decode_index(content(case, "index.bin")) for case in named("pack", good=True)]
    assert len(packs) == 4
    assert len({one.listing.digest for one in packs}) == 1
    assert len({one.locator.stored_bytes for one in packs}) == 4


# How they are made


def test_the_generator_makes_the_same_bytes_again() -> None:
    made = make_vectors.exact_files()
    kept = {
        str(path.relative_to(make_vectors.VECTORS)): path.read_bytes()
        for path in make_vectors.VECTORS.glob("*/*")
        if "made_by" not in CASES[path.parent.name]
    }
    assert sorted(made) == sorted(kept)
    assert [path for path in sorted(made) if made[path] != kept[path]] == []


def test_samples_of_codecs_say_what_made_them() -> None:
    frozen = {name for name, case in CASES.items() if "made_by" in case}
    assert frozen == set(named("chunk", good=True) + named("chunk", good=False)) | {
        "pack-deflate-zlib",
        "pack-deflate-isal",
        "pack-zstd",
    }


def test_every_vector_says_in_a_sentence_what_it_is() -> None:
    for name, case in CASES.items():
        assert case["about"].endswith("."), name
        assert set(case) <= {
            *("about", "reads", "error", "says", "digest", "tree", "rows", "last_row", "segment_bytes"),
            *("codec", "length", "sha256", "made_by", "ways", "patched"),
        }
