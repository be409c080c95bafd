# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/pack-format.md says what the code does."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import math
import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base import left_out
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import (
    bundle,
    chunks,
    disks,
    errors,
    hds,
    index,
    paths,
    segments,
    walk,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index_file import (
    INDEX_MAGIC,
    decode_index,
    encode_index,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import (
    LISTING_MAGIC,
    encode_listing,
    make_listing,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import LOCATOR_MAGIC, encode_locator
from ansible_collections.macfleet.parallels.tests.formats import craft, make_vectors

ROOT = Path(make_vectors.__file__).parents[2]
DOCUMENT = (ROOT / "docs/pack-format.md").read_text("utf-8")
PACKAGE = "ansible_collections.macfleet.parallels.plugins.module_utils._pack"


def example(name: str) -> str:
    """What stands behind the mark of an example, up to the end of its block."""
    match = re.search(rf"<!-- example: {name} -->\n\n(.*?)(?=\n\n|\Z)", DOCUMENT, re.DOTALL)
    assert match, name
    return match[1]


def dumped(name: str) -> bytes:
    """The bytes of a dump; its offsets must be right."""
    data = b""
    for line in example(name).splitlines():
        match = re.fullmatch(r"    ([0-9a-f]{4})  ((?:[0-9a-f]{2} ?)+)(?:  .*)?", line)
        assert match, line
        assert int(match[1], 16) == len(data), line
        data += bytes.fromhex(match[2])
    return data


def json_of(name: str) -> bytes:
    match = re.fullmatch(r"```json\n(.*)\n```", example(name))
    assert match, name
    return match[1].encode()


def table(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without its own head."""
    section = DOCUMENT[DOCUMENT.index(f"\n{heading}\n") :]
    lines = re.search(r"\n\n\|[^\n]*\n\|[-| ]*\n((?:\|[^\n]*\n)+)", section)
    assert lines, heading
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in lines[1].splitlines()]


def test_the_examples_are_read_by_the_engine() -> None:
    segment, listing = dumped("segment"), dumped("listing")
    rows = segments.read_trailer(segment, len(segment))
    assert [segment[row.offset : row.offset + row.length] for row in rows] == [b"hi\n"]
    header_end = 12 + int.from_bytes(listing[8:12], "little")
    assert listing[12:header_end] == json_of("listing header")
    listing_file = listing[:header_end] + craft.stored(listing[header_end:])
    locator_file = craft.locator_file(json_of("locator header"), craft.stored(dumped("locator columns")))
    read = decode_index(encode_index(listing_file, locator_file))
    assert [(entry.kind, entry.path, entry.executable, entry.target) for entry in read.listing.entries] == [
        ("file", "hello", True, ""),
        ("link", "latest", False, "hello"),
    ]
    assert read.listing.digest == hashlib.sha256(listing).hexdigest()
    assert f"`{read.listing.digest}`" in DOCUMENT
    assert [one.sha256 for one in read.locator.segments] == [hashlib.sha256(segment).hexdigest()]
    assert read.locator.placement(0).offset == rows[0].offset


def test_every_dump_and_header_is_one_that_is_read() -> None:
    read = {"segment", "listing", "listing header", "locator header", "locator columns"}
    assert set(re.findall(r"<!-- example: ([a-z ]+) -->", DOCUMENT)) == read
    assert DOCUMENT.count("```json") == 2
    # Beside those, code is the layout of the storage and the rule of cutting.
    others = re.findall(r"(?<! -->)\n\n((?:    .*\n)+)", DOCUMENT)
    assert [block.split()[0] for block in others] == ["<prefix>/packs/<upload", "header"]


# Sizes of a file, where its data area begins, and of its chunks; the last are what remains.
CUTS = [
    (0, 0, 64),
    (1, 0, 64),
    (64, 0, 64),
    (1000, 0, 64),
    (1000, 10, 64),
    (1000, 128, 64),
    (1000, 999, 64),
    (9, 9, 64),
]


@pytest.mark.parametrize(("size", "data_start", "chunk_size"), CUTS)
def test_the_rule_of_cutting_is_that_of_the_code(size: int, data_start: int, chunk_size: int) -> None:
    names: dict[str, t.Any] = {"size": size, "data_start": data_start, "chunk_size": chunk_size, "min": min}
    names["ceil"] = math.ceil
    for name, rule in re.findall(r"^    \w+ chunks +(\w) = (.+)$", DOCUMENT, re.M):
        names[name] = eval(rule, names)
    rules = re.findall(r"^    chunk (n .+?) +begins at (.+?), +ends at (.+)$", DOCUMENT, re.M)
    assert len(rules) == 2
    spans = []
    for number in range(names["h"] + names["d"]):
        names["n"] = number
        (begin, end), *others = [rule[1:] for rule in rules if eval(rule[0], names)]
        assert not others
        names["begin"] = eval(begin, names)
        spans.append((names["begin"], eval(end, names) - names["begin"]))
    assert spans == list(chunks.chunk_spans(size, data_start, chunk_size))


def test_the_limits_are_those_of_the_code() -> None:
    names = set()
    for _limit, value, constant in table("## Limits"):
        module, _dot, name = constant.partition(".")
        names.add(constant)
        assert getattr(importlib.import_module(f"{PACKAGE}.{module}"), name) == int(value.replace(",", "")), constant
    told = {f"index.{name}" for name in vars(index) if name.startswith("MAX_")}
    told |= {f"paths.{name}" for name in vars(paths) if name.startswith("MAX_")}
    assert told <= names


def test_the_errors_are_those_of_the_code() -> None:
    classes = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, errors.PackError)]
    assert [row[0] for row in table("## Errors")] == [one.code for one in classes if one is not errors.PackError]


def test_the_codecs_are_those_of_the_code() -> None:
    assert {int(row[0]): row[1] for row in table("## Codecs")} == index.CODEC_NAMES


@pytest.mark.parametrize(
    "magic",
    [segments.MAGIC, segments.TRAILER_MAGIC, LISTING_MAGIC, LOCATOR_MAGIC, INDEX_MAGIC],
)
def test_the_magics_are_those_of_the_code(magic: bytes) -> None:
    assert f"`{magic.hex(' ')}` (`{magic[:-1].decode()}` and a line feed)" in DOCUMENT


def test_the_header_fields_are_those_of_the_code() -> None:
    empty = make_listing(chunks.MIN_CHUNK_SIZE, [], b"")
    for heading, made in (
        ("### Listing", encode_listing(empty)),
        ("### Locator", encode_locator(index.Locator("", (), *(3 * (index.array("I"),)), b""))),
    ):
        length = int.from_bytes(made[8:12], "little")
        assert [row[0] for row in table(heading)] == re.findall(r'"(\w+)":', made[12 : 12 + length].decode())


def test_the_rows_of_a_trailer_are_those_of_the_code() -> None:
    text = DOCUMENT[DOCUMENT.index("A row of the trailer:") :]
    offsets = [int(offset) for offset in re.findall(r"^\| (\d+) \|", text[: text.index("\n\nThe first chunk")], re.M)]
    assert offsets == [0, 32, 36, 40, 44]
    assert segments._ROW.size == 45
    assert (segments.TRAILER_GUESS_BYTES - segments.FOOTER_BYTES) // segments._ROW.size == 363


def test_what_is_said_of_images_is_what_the_code_knows() -> None:
    for magic in hds._MAGICS:
        assert f"`{magic.decode()}`" in DOCUMENT
    assert f"0x{hds._IN_USE:08X}" in DOCUMENT
    assert hds._MAX_DATA_START == 256 << 20
    assert hds.HEADER_BYTES == 64


def test_what_is_said_of_bundles_is_what_the_code_knows() -> None:
    for word in (*left_out.LOCK_SUFFIXES, *walk.MEMORY_SUFFIXES):
        assert f"`*{word}`" in DOCUMENT
    assert disks.MAX_DESCRIPTOR_BYTES == 1 << 20
    assert disks.MAX_CONFIGURATION_BYTES == 16 << 20


def test_what_is_said_of_the_left_out_is_what_the_code_knows() -> None:
    told = DOCUMENT[DOCUMENT.index("### What is left out") : DOCUMENT.index("## Order of writing and reading")].lower()
    suffixes = (*left_out.TOP_SUFFIXES, *left_out.LOCK_SUFFIXES, left_out.SHARED_MEMORY_SUFFIX)
    names = {*left_out.ANYWHERE, *left_out.TOP_DIRECTORIES, left_out.DESCRIPTOR_BACKUP}
    for word in (*names, *(f"*{suffix}" for suffix in suffixes), f"{left_out.APPLE_DOUBLE_PREFIX}*"):
        assert f"`{word.lower()}`".replace("\r", "\\r") in told, word


def test_the_targets_are_those_of_the_code() -> None:
    assert segments.TARGET_BYTES == 32 << 20
    assert "to 32 MiB or more" in DOCUMENT
    assert index.FORMAT == 1


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", DOCUMENT):
        assert (ROOT / "docs" / target).is_file(), target


def test_sections_that_the_code_names_are_there() -> None:
    named: set[str] = set()
    for module in (bundle, left_out, paths, index, segments):
        source = inspect.getsource(module)
        named |= set(re.findall(r'``docs/pack-format.md``, "([^"]+)"', source))
    headings: t.Any = re.findall(r"^#+ (.+)$", DOCUMENT, re.M)
    assert named
    for name in named:
        assert any(heading.startswith(name) for heading in headings), name
