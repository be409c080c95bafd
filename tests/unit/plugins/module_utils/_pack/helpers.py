# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Small bundles, disk images and a storage in memory, for the tests of the engine."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import struct
import threading
import typing as t
from pathlib import Path

from ansible_collections.macfleet.parallels.plugins.module_utils._base.link import LinkCost
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import bundle, chunks, codecs, reader, writer
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.chain import Followed
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    CODEC_DEFLATE,
    FILE,
    Entry,
    Index,
    Listing,
    ObjectRef,
    PatchesRef,
    SegmentRef,
    chunk_rows,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index_file import decode_index, encode_index
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import encode_listing, make_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import encode_locator
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.patch_writer import Base
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.plan import plan_pull
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.positions import References
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.pull_plan import PullPlan
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.reuse import KnownChunks
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.seeds import Seed
from hypothesis import settings

# Only the smallest chunks are cheap enough for many examples.
CHUNK = chunks.MIN_CHUNK_SIZE
PACK = "0123456789abcdef0123456789abcdef"

# A request costs as much as 16 KiB.
LINK = LinkCost(latency_seconds=1.0, bytes_per_second=16384.0)

# Nothing is written beside the tests.
QUICK = settings(max_examples=100, database=None)
SLOW = settings(QUICK, max_examples=25)

DESCRIPTOR = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    "<Parallels_disk_image><StorageData><Storage><Image><Type>Plain</Type>"
    "<File>{image}</File></Image></Storage></StorageData></Parallels_disk_image>\n"
)
CONFIG = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    "<ParallelsVirtualMachine><Hardware><Hdd><SystemName>{disk}</SystemName></Hdd></Hardware>"
    "</ParallelsVirtualMachine>\n"
)
IMAGE = "harddisk.hdd/harddisk.hdd.0.hds"


def noise(seed: int, length: int) -> bytes:
    """Bytes that no codec shrinks, the same for the same seed."""
    return random.Random(seed).getrandbits(8 * length).to_bytes(length, "little") if length else b""


def text(seed: int, length: int) -> bytes:
    """Bytes that every codec shrinks, the same for the same seed."""
    words = [b"%d of a virtual machine " % random.Random(seed * 1000 + number).getrandbits(30) for number in range(40)]
    line = b"".join(words)
    return (line * (length // len(line) + 1))[:length]


def hds_header(
    table_entries: int = 64, data_sector: int = 0, in_use: int = 0, magic: bytes = b"WithouFreSpacExt"
) -> bytes:
    """The first 64 bytes of an expandable disk image of 512 MiB."""
    return struct.pack("<16sIIIIIQIIIQ", magic, 2, 16, 1024, 2048, table_entries, 1 << 20, in_use, data_sector, 0, 0)


def hds_head(data_bytes: int, table: t.Sequence[int] = (), **options: t.Any) -> bytes:
    """An expandable image up to its data area of ``data_bytes``: header, table of 64 entries, padding."""
    entries = struct.pack("<64I", *table, *(0,) * (64 - len(table)))
    return (hds_header(data_sector=data_bytes // 512, **options) + entries).ljust(data_bytes, b"x")


def make_bundle(root: Path, files: t.Optional[t.Mapping[str, bytes]] = None) -> Path:
    """The smallest directory that counts as a bundle, and ``files`` in it."""
    everything = {
        "config.pvs": CONFIG.format(disk="harddisk.hdd").encode(),
        "NVRAM.dat": b"nvram" * 20,
        "harddisk.hdd/DiskDescriptor.xml": DESCRIPTOR.format(image="harddisk.hdd.0.hds").encode(),
        IMAGE: b"",
        **(files or {}),
    }
    for path, content in everything.items():
        write_file(root / path, content)
    return root


def write_file(path: Path, content: bytes) -> None:
    """Write a file, its directories, and holes where whole chunks of it are zeros."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.truncate(len(content))
        for offset in range(0, len(content), CHUNK):
            piece = content[offset : offset + CHUNK]
            if any(piece):
                stream.seek(offset)
                stream.write(piece)


class MemoryStorage:
    """Segments by their SHA-256. ``fail_at`` makes the n-th fetch from now on raise ``OSError``."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.fetched: list[tuple[str, int, int]] = []
        self.fail_at: t.Optional[int] = None
        self._lock = threading.Lock()

    def put(self, data: bytes) -> SegmentRef:
        """Keep one segment."""
        name = hashlib.sha256(data).hexdigest()
        with self._lock:
            self.objects[name] = data
        return SegmentRef(PACK, name, len(data))

    def put_patches(self, data: bytes) -> PatchesRef:
        """Keep one object of patches."""
        segment = self.put(data)
        return PatchesRef(segment.pack, segment.sha256, segment.size)

    def fetch(self, segment: ObjectRef, offset: int, length: int) -> bytes:
        """A range of an object."""
        with self._lock:
            if self.fail_at is not None:
                self.fail_at -= 1
                if self.fail_at < 0:
                    raise ConnectionResetError("the cable was pulled")
            self.fetched.append((segment.sha256, offset, length))
        return self.objects[segment.sha256][offset : offset + length]

    @property
    def fetched_bytes(self) -> int:
        """Bytes of all fetches."""
        return sum(length for _name, _offset, length in self.fetched)


def pack(
    root: t.Union[str, Path],
    storage: MemoryStorage,
    *,
    codec: int = CODEC_DEFLATE,
    chunk_size: int = CHUNK,
    known: t.Optional[KnownChunks] = None,
    **options: t.Any,
) -> writer.WrittenPack:
    """Push a bundle into the storage."""
    return writer.write_pack(
        bundle.inspect(str(root), chunk_size),
        known or KnownChunks(),
        codecs.make_encoder(codec, 1),
        storage.put,
        **options,
    )


def base_of(found: t.Union[writer.WrittenPack, Index], root: t.Union[str, Path]) -> Base:
    """A base whose bundle lies at ``root``."""
    references = References(found.listing)

    def read(reference: int) -> bytes:
        entry, offset, length = references.find(reference)
        with (Path(root) / entry.path).open("rb") as stream:
            stream.seek(offset)
            return stream.read(length)

    return Base(found.listing, chunk_rows(found.listing), read)


def index_of(written: writer.WrittenPack) -> Index:
    """What a reader gets of a written pack: encoded and read again."""
    return decode_index(encode_index(encode_listing(written.listing), encode_locator(written.locator)))


def known_of(*packs: t.Union[writer.WrittenPack, Index]) -> KnownChunks:
    """The chunks of earlier packs."""
    known = KnownChunks()
    for one in packs:
        known.add_index(chunk_rows(one.listing), one.locator)
    return known


def plan_of(index: t.Union[writer.WrittenPack, Index, Followed], **options: t.Any) -> PullPlan:
    """The plan of a pull, of a cold one unless told otherwise."""
    settings_of_plan: dict[str, t.Any] = {"present_ids": {}, "seeds": [], "can_clone": False, "link": LINK, **options}
    return plan_pull(index.listing, chunk_rows(index.listing), index.locator, **settings_of_plan)


def apply(plan: PullPlan, root: t.Union[str, Path], storage: MemoryStorage) -> reader.Applied:
    """Carry out a plan; clones are copies."""
    return reader.apply_plan(plan, str(root), fetch=storage.fetch, clone_file=shutil.copyfile)


def seed_of(root: t.Union[str, Path], listing: Listing, trusted: bool = True) -> Seed:
    """A seed of which everything is trusted, or nothing."""
    return Seed(str(root), listing, frozenset(entry.path for entry in listing.files()) if trusted else frozenset())


def chunk_ids_of(content: bytes, data_start: int = 0, chunk_size: int = CHUNK) -> bytes:
    """The ids of the chunks of one file, cut by hand."""
    runs = (content[:data_start], content[data_start:])
    pieces = [run[offset : offset + chunk_size] for run in runs for offset in range(0, len(run), chunk_size)]
    return b"".join(hashlib.sha256(piece).digest() if any(piece) else bytes(32) for piece in pieces)


def listing_of(files: t.Mapping[str, bytes], others: t.Iterable[Entry] = ()) -> Listing:
    """A listing of files in memory, and of directories and links as they are given."""
    entries = {entry.path: entry for entry in others}
    for path, content in files.items():
        entries.setdefault(path, Entry(FILE, path, size=len(content)))
    made = []
    ids = b""
    for path in sorted(entries, key=lambda name: name.encode("utf-8")):
        entry = entries[path]
        if entry.kind == FILE:
            mine = chunk_ids_of(files[path], entry.data_start)
            entry = Entry(
                FILE, path, entry.executable, entry.size, entry.data_start, "", len(ids) // 32, len(mine) // 32
            )
            ids += mine
        made.append(entry)
    return make_listing(CHUNK, made, ids)


def tree(root: t.Union[str, Path]) -> dict[str, t.Any]:
    """All that lies below a directory: content and executable bit of files, targets of links, directories."""
    found: dict[str, t.Any] = {}
    for directory, names, files in os.walk(root):
        for name in (*names, *files):
            path = os.path.join(directory, name)
            relative = os.path.relpath(path, root)
            if os.path.islink(path):
                found[relative] = ("link", os.readlink(path))
            elif os.path.isdir(path):
                found[relative] = "directory"
            else:
                found[relative] = ("file", Path(path).read_bytes(), bool(os.stat(path).st_mode & 0o100))
    return found


def tree_of_case(root: t.Union[str, Path]) -> dict[str, dict[str, t.Any]]:
    """The same as the ``case.json`` of a vector tells it."""
    found: dict[str, dict[str, t.Any]] = {}
    for path, item in tree(root).items():
        if item == "directory":
            found[path] = {"type": "directory"}
        elif item[0] == "link":
            found[path] = {"type": "link", "target": item[1]}
        else:
            sha256 = hashlib.sha256(item[1]).hexdigest()
            found[path] = {"type": "file", "size": len(item[1]), "sha256": sha256, "executable": item[2]}
    return found
