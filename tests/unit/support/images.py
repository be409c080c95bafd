# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Small virtual machines, and what a catalog and its storage hold of them."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.macfleet.parallels.plugins.module_utils._base.link import DEFAULT_LINK
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import (
    bundle,
    chunks,
    codecs,
    index,
    plan,
    reader,
    reuse,
    writer,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index_file import decode_index, encode_index
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import encode_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import encode_locator
from ansible_collections.macfleet.parallels.tests.support import bundles
from ansible_collections.macfleet.parallels.tests.unit.support.recording import manifest

CHUNK = chunks.MIN_CHUNK_SIZE
# The configuration, the disk's description, and the variables of the firmware: a chunk each.
OTHER_CHUNKS = 3


def piece(seed: int) -> bytes:
    """A chunk that a codec makes smaller, the same for the same number; zeros for 0."""
    return random.Random(seed).getrandbits(2 * CHUNK).to_bytes(CHUNK // 4, "little") * 4 if seed else bytes(CHUNK)


def make_bundle(directory: Path, *seeds: int) -> Path:
    """A bundle whose disk holds one chunk for each number; all else is the same for the same length."""
    directory.mkdir(parents=True, exist_ok=True)
    content = b"".join(piece(seed) for seed in seeds)
    return Path(bundles.make_bundle(str(directory), content, disk=bundles.PLAIN))


def change_disk(root: Path, number: int, seed: int) -> None:
    """Let a guest, or a fault of the disk, write over one chunk."""
    image = Path(bundles.image_path(str(root)))
    mode = image.stat().st_mode
    image.chmod(0o600)
    with image.open("r+b") as stream:
        stream.seek(number * CHUNK)
        stream.write(piece(seed))
    image.chmod(mode)


def tree(root: Path) -> dict[str, t.Any]:
    """Content of the files of a bundle, None for its directories."""
    return {path.relative_to(root).as_posix(): None if path.is_dir() else path.read_bytes() for path in root.rglob("*")}


@dataclass(frozen=True)
class Image:
    """A version: its record as the server sends it, its index, and its segments by their names."""

    manifest: dict[str, t.Any]
    index: index.Index
    segments: dict[str, bytes]

    @property
    def id(self) -> str:
        """The id of its manifest."""
        return str(self.manifest["id"])

    @property
    def digest(self) -> str:
        """The identity of its content."""
        return str(self.manifest["digest"])

    @property
    def objects(self) -> dict[str, bytes]:
        """What the storage holds of it, by path."""
        return {
            f"/{segment.pack}/{segment.sha256}": self.segments[segment.sha256]
            for segment in self.index.locator.segments
        }


def image_of(root: Path, version: str = "1.4", pack: str = "", chunk_size: int = CHUNK, **fields: t.Any) -> Image:
    """A bundle as it lies in a catalog after a push; ``pack`` is the id of that push."""
    pack = pack or hashlib.sha256(version.encode()).hexdigest()[:32]
    segments: dict[str, bytes] = {}

    def put(data: bytes) -> index.SegmentRef:
        name = hashlib.sha256(data).hexdigest()
        segments[name] = data
        return index.SegmentRef(pack, name, len(data))

    encoder = codecs.make_encoder(index.CODEC_DEFLATE, 1)
    written = writer.write_pack(bundle.inspect(str(root), chunk_size), reuse.KnownChunks(), encoder, put)
    found = decode_index(encode_index(encode_listing(written.listing), encode_locator(written.locator)))
    return Image(manifest_of(found, root.name, version, **fields), found, segments)


def manifest_of(
    found: index.Index, name: str = "sample.pvm", version: str = "1.4", **fields: t.Any
) -> dict[str, t.Any]:
    """The record that a server makes of a committed index."""
    rows = found.rows
    return manifest(
        **{
            "id": hashlib.sha256(version.encode()).hexdigest(),
            "version": version,
            "type": "pvm",
            "name": name,
            "digest": found.listing.digest,
            "chunk_size": found.listing.chunk_size,
            "chunks": len(rows.first),
            "files": found.listing.file_total,
            "logical_bytes": found.listing.logical_bytes,
            "data_bytes": rows.data_bytes,
            "stored_bytes": sum(segment.size for segment in found.locator.segments),
            **fields,
        }
    )


def unpack(found: index.Index, objects: t.Mapping[str, bytes], root: Path) -> Path:
    """Make the bundle of an index out of what a storage holds; each chunk is checked."""
    root.mkdir()

    def fetch(segment: index.SegmentRef, offset: int, length: int) -> bytes:
        return objects[f"/{segment.pack}/{segment.sha256}"][offset : offset + length]

    made = plan.plan_pull(
        found.listing,
        found.rows,
        found.locator,
        present_ids={},
        seeds=[],
        can_clone=False,
        link=DEFAULT_LINK,
    )
    reader.apply_plan(made, os.fspath(root), fetch=fetch, clone_file=shutil.copyfile)
    return root
