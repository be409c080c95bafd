# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes the vectors of format 1 again; see README.md in this directory.

Run it as ``python -m ansible_collections.macfleet.parallels.tests.formats.make_vectors``. Samples of codecs are
kept as they are, since another version of a library may write other bytes; ``--freeze`` makes them anew.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import shutil
import typing as t
import zlib
from pathlib import Path

from ansible_collections.macfleet.parallels.tests.formats import craft
from ansible_collections.macfleet.parallels.tests.formats.cases import (
    Case,
    Encoder,
    exact_cases,
    make_pack,
    pack_case,
    text,
)
from ansible_collections.macfleet.parallels.tests.formats.delta_faults import exact_delta_faults
from ansible_collections.macfleet.parallels.tests.formats.deltas import exact_deltas
from ansible_collections.macfleet.parallels.tests.formats.faults import exact_faults
from ansible_collections.macfleet.parallels.tests.formats.patch_faults import exact_patch_faults

VECTORS = Path(__file__).parent / "vectors"
_SAMPLE_BYTES = 40000


def exact_files() -> dict[str, bytes]:
    """The vectors that are the same bytes whoever makes them: content by path below the vectors."""
    found: dict[str, bytes] = {}
    for case in (*exact_cases(), *exact_faults(), *exact_deltas(), *exact_delta_faults(), *exact_patch_faults()):
        _add(found, case)
    return found


def _add(found: dict[str, bytes], case: Case) -> None:
    if f"{case.name}/case.json" in found:
        raise ValueError(f"two cases are named {case.name}")
    description = json.dumps(case.description(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    found[f"{case.name}/case.json"] = description.encode()
    for name, data in case.files.items():
        found[f"{case.name}/{name}"] = data


def _deflate(level: int, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> t.Callable[[bytes], bytes]:
    def encode(data: bytes) -> bytes:
        compressor = zlib.compressobj(level, zlib.DEFLATED, -15, 8, strategy)
        return compressor.compress(data) + compressor.flush()

    return encode


def _smaller(codec: int, encode: t.Callable[[bytes], bytes]) -> Encoder:
    def encoder(chunk: bytes) -> tuple[int, bytes]:
        encoded = encode(chunk)
        return (codec, encoded) if len(encoded) < len(chunk) else (craft.RAW, chunk)

    return encoder


def _chunk_case(name: str, about: str, codec: int, encoded: bytes, made_by: str, **more: t.Any) -> Case:
    sample = text(_SAMPLE_BYTES)
    facts = {
        "codec": codec,
        "length": len(sample),
        "sha256": hashlib.sha256(sample).hexdigest(),
        "made_by": made_by,
    }
    return Case(name, about, "chunk", {"chunk.bin": encoded}, facts, **more)


def frozen_cases() -> list[Case]:
    """Samples that today's libraries make: chunks and packs in every codec."""
    import zstandard
    from isal import igzip_lib

    sample = text(_SAMPLE_BYTES)
    by_zlib = f"zlib {zlib.ZLIB_RUNTIME_VERSION}"
    by_isal = f"isal {importlib.metadata.version('isal')}"
    by_zstd = f"zstandard {zstandard.__version__}, zstd {'.'.join(map(str, zstandard.ZSTD_VERSION))}"

    def isal(level: int) -> t.Callable[[bytes], bytes]:
        return lambda data: igzip_lib.compress(data, level, igzip_lib.COMP_DEFLATE)

    def zstd(level: int, **options: t.Any) -> t.Callable[[bytes], bytes]:
        return zstandard.ZstdCompressor(level=level, **options).compress

    def chunk(name: str, about: str, codec: int, encoded: bytes, made_by: str) -> Case:
        return _chunk_case(name, about, codec, encoded, made_by)

    def damaged(name: str, about: str, codec: int, encoded: bytes, made_by: str) -> Case:
        return _chunk_case(name, about, codec, encoded, made_by, error="damaged_chunk", says="")

    deflated, zstandarded = _deflate(6)(sample), zstd(3)(sample)
    found = [
        chunk("chunk-deflate-zlib-1", "zlib, fastest.", 1, _deflate(1)(sample), by_zlib),
        chunk("chunk-deflate-zlib-6", "zlib, as usual.", 1, deflated, by_zlib),
        chunk("chunk-deflate-zlib-9", "zlib, smallest.", 1, _deflate(9)(sample), by_zlib),
        chunk("chunk-deflate-fixed", "Fixed Huffman codes.", 1, _deflate(6, zlib.Z_FIXED)(sample), by_zlib),
        chunk("chunk-deflate-huffman", "No copies.", 1, _deflate(6, zlib.Z_HUFFMAN_ONLY)(sample), by_zlib),
        *(chunk(f"chunk-deflate-isal-{level}", "isal.", 1, isal(level)(sample), by_isal) for level in range(4)),
        *(chunk(f"chunk-zstd-{level}", "One frame.", 2, zstd(level)(sample), by_zstd) for level in (1, 3, 19)),
        chunk("chunk-zstd-checksum", "With a checksum.", 2, zstd(3, write_checksum=True)(sample), by_zstd),
        damaged("chunk-deflate-truncated", "The last bytes are missing.", 1, deflated[:-3], by_zlib),
        damaged("chunk-deflate-rest", "Bytes behind the end.", 1, deflated + b"\0", by_zlib),
        damaged("chunk-deflate-longer", "A byte more than the chunk.", 1, _deflate(6)(sample + b"!"), by_zlib),
        damaged("chunk-deflate-shorter", "A byte less than the chunk.", 1, _deflate(6)(sample[:-1]), by_zlib),
        damaged("chunk-deflate-bomb", "Zeros without end.", 1, craft.zeros_without_end(), "hand"),
        damaged("chunk-deflate-wrapped", "The wrapper of RFC 1950.", 1, zlib.compress(sample), by_zlib),
        damaged("chunk-raw-short", "A byte less than the chunk.", 0, sample[:-1], "hand"),
        damaged("chunk-zstd-truncated", "The last bytes are missing.", 2, zstandarded[:-3], by_zstd),
        damaged("chunk-zstd-rest", "Bytes behind the frame.", 2, zstandarded + b"\0", by_zstd),
        damaged("chunk-zstd-two-frames", "Two frames.", 2, zstd(3)(sample[:9]) + zstd(3)(sample[9:]), by_zstd),
        damaged("chunk-zstd-longer", "A byte more than the chunk.", 2, zstd(3)(sample + b"!"), by_zstd),
        damaged(
            "chunk-zstd-without-size",
            "A frame that does not declare its content size.",
            2,
            zstd(3, write_content_size=False)(sample),
            by_zstd,
        ),
        damaged("chunk-zstd-skippable", "A skippable frame.", 2, b"\x50\x2a\x4d\x18\x40\x9c\0\0" + sample, "hand"),
    ]
    packs: list[tuple[str, str, Encoder, str]] = [
        ("pack-deflate-zlib", "The bundle of pack-raw, by zlib.", _smaller(1, _deflate(6)), by_zlib),
        ("pack-deflate-isal", "The bundle of pack-raw, by isal.", _smaller(1, isal(1)), by_isal),
        ("pack-zstd", "The bundle of pack-raw, by zstd.", _smaller(2, zstd(3)), by_zstd),
    ]
    for name, about, encoder, made_by in packs:
        found.append(pack_case(name, about, make_pack(encoder, _deflate(6)), made_by=made_by))
    return found


def write(files: t.Mapping[str, bytes], directory: Path) -> None:
    """Write files below a directory, in place of what their cases held."""
    for case in {path.partition("/")[0] for path in files}:
        shutil.rmtree(directory / case, ignore_errors=True)
    for path, data in files.items():
        os.makedirs((directory / path).parent, exist_ok=True)
        (directory / path).write_bytes(data)


def main() -> None:
    """Make the vectors of this directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--freeze", action="store_true", help="make the samples of codecs anew, too")
    arguments = parser.parse_args()
    files = exact_files()
    if arguments.freeze:
        for case in frozen_cases():
            _add(files, case)
    write(files, VECTORS)


if __name__ == "__main__":
    main()
