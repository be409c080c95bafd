# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What plain scripts take for a bundle of thousands of small files: one file after the other, each fsynced once.

``pull`` downloads the segments of a version and writes its files; ``copy`` copies a directory. Both sync the volume at
the end. As in ``limit.py``, the index is read outside of the measured time. Prints JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks, index
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import decode_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import decode_locator
from ansible_collections.macfleet.parallels.tests.bench import limit

# At the top of a bundle, and of a size that a file system allocates one block for.
DIRECTORY_OF = 100
CONTENT_BYTES = 60


@dataclass(frozen=True)
class Piece:
    """A chunk of a file: where it lies in its segment, and where in the file."""

    segment: str
    at: int
    stored_bytes: int
    codec: int
    raw_bytes: int
    offset: int


def fill(bundle: str, count: int) -> None:
    """Add small files, all different, to a bundle."""
    for number in range(count):
        path = Path(bundle, "apps", f"{number // DIRECTORY_OF:04d}", f"{number:06d}.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(hashlib.sha512(b"%d" % number).digest()[:CONTENT_BYTES])


def read_index(arguments: argparse.Namespace, server: limit.Server) -> tuple[dict[str, list[Piece]], dict[str, str]]:
    """The pieces of each file of a version, and a URL for each segment; not measured."""
    wanted = {"catalog_id": arguments.catalog_id, "version": arguments.version, "architecture": "arm64"}
    minted = server.ask("POST", "grants", {"verb": "pull", **wanted})
    manifest, grant = minted["manifests"][0]["id"], minted["grant"]
    listing = decode_listing(server.ask("GET", f"manifests/{manifest}/listing", token=grant))
    rows = index.chunk_rows(listing)
    locator = decode_locator(server.ask("GET", f"manifests/{manifest}/locator", token=grant), listing, rows)
    files: dict[str, list[Piece]] = {}
    for entry in listing.files():
        pieces = files.setdefault(entry.path, [])
        for number in range(entry.chunk_count):
            row = rows.row_of.get(listing.chunk_id(entry.first_chunk + number))
            if row is not None:
                where = locator.placement(row)
                offset, _length = chunks.chunk_span(number, entry.size, entry.data_start, listing.chunk_size)
                raw = rows.lengths[row]
                pieces.append(Piece(where.segment.sha256, where.offset, where.length, where.codec, raw, offset))
    asked = {"segments": [{"pack": one.pack, "sha256": one.sha256} for one in locator.segments]}
    answer = server.ask("POST", f"manifests/{manifest}/urls", asked, grant)
    return files, {one["sha256"]: one["url"] for one in answer["urls"]}


def pull(arguments: argparse.Namespace) -> None:
    """GET each segment whole; decode, SHA-256, write, fsync each file."""
    server = limit.Server(arguments.url, os.environ["MACFLEET_CATALOG_TOKEN"])
    _codec, _encode, decode = limit.CODECS[arguments.provider](1)
    files, urls = read_index(arguments, server)
    connections = limit.Connections()
    begun = time.monotonic()
    segments = {name: connections.send("GET", url, None, {}).read() for name, url in urls.items()}
    for name, pieces in files.items():
        path = Path(arguments.path, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            for piece in pieces:
                encoded = memoryview(segments[piece.segment])[piece.at : piece.at + piece.stored_bytes]
                chunk = bytes(encoded) if piece.codec == 0 else decode(encoded, piece.raw_bytes)
                hashlib.sha256(chunk).digest()
                stream.seek(piece.offset)
                stream.write(chunk)
            finish(stream)
    end(arguments.path, begun, len(files))


def copy(arguments: argparse.Namespace) -> None:
    """Read and write each file, and fsync it."""
    files = [path for path in sorted(Path(arguments.source).rglob("*")) if path.is_file()]
    begun = time.monotonic()
    for source in files:
        path = Path(arguments.path, source.relative_to(arguments.source))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            stream.write(source.read_bytes())
            finish(stream)
    end(arguments.path, begun, len(files))


def finish(stream: t.IO[bytes]) -> None:
    """Have one file on the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def end(path: str, begun: float, count: int) -> None:
    """Sync the volume, and print what it took."""
    subprocess.run(["sync", "--file-system", path], check=True)
    print(json.dumps({"elapsed": time.monotonic() - begun, "files": count}))


def main() -> None:
    """Measure one of both."""
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    pulling = verbs.add_parser("pull")
    pulling.add_argument("path", help="the directory to write")
    pulling.add_argument("--url", required=True)
    pulling.add_argument("--catalog-id", required=True)
    pulling.add_argument("--version", required=True)
    pulling.add_argument("--provider", choices=sorted(limit.CODECS), required=True)
    copying = verbs.add_parser("copy")
    copying.add_argument("source")
    copying.add_argument("path", help="the directory to write")
    arguments = parser.parse_args()
    {"pull": pull, "copy": copy}[arguments.verb](arguments)


if __name__ == "__main__":
    sys.exit(main())
