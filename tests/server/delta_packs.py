# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deltas between packs that were made by hand, and pushes with them."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

import httpx
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta import Delta
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta_file import encode_delta
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta_make import make_delta
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import PatchesRef, chunk_rows
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index_file import encode_index
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.patch_writer import Base, PatchWriter
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.positions import References
from packs import CHUNK_SIZE, HandMade, make_pack, sha256
from transfer_client import FILES, Client, Pushed, good

BLOCK = 4096


def written(files: t.Mapping[str, bytes], *blocks: int) -> dict[str, bytes]:
    """Files after blocks of the disk were written."""
    disk = bytearray(files["disk/data"])
    for block in blocks:
        disk[block * BLOCK : block * BLOCK + 8] = f"{block:08}".encode()
    return {**files, "disk/data": bytes(disk)}


@dataclass
class HandMadeDelta:
    """A delta between two packs, and its objects of patches by their SHA-256."""

    delta: Delta
    objects: dict[str, bytes]

    @property
    def file(self) -> bytes:
        return encode_delta(self.delta)

    @property
    def sha256(self) -> str:
        return sha256(self.file)


def make(
    upload_id: str, base: HandMade, base_files: t.Mapping[str, bytes], pack: HandMade, files: t.Mapping[str, bytes]
) -> HandMadeDelta:
    """The delta between two packs whose files are given."""
    old, new = References(base.listing), References(pack.listing)
    rows = chunk_rows(pack.listing)

    def read(references: References, contents: t.Mapping[str, bytes], reference: int) -> bytes:
        entry, offset, length = references.find(reference)
        return contents[entry.path][offset : offset + length]

    one = Base(base.listing, chunk_rows(base.listing), lambda reference: read(old, base_files, reference))
    patches = PatchWriter(pack.listing.entries, CHUNK_SIZE, [one], lambda data: (0, bytes(data)))
    for reference in rows.first:
        data = read(new, files, reference)
        found = patches.compare(reference, pack.listing.chunk_id(reference), memoryview(data))
        patches.add(pack.listing.chunk_id(reference), found, len(data))
    objects = {}
    for finished in patches.finished(everything=True):
        objects[sha256(finished.data)] = finished.data
        patches.stored[0].objects[finished.number] = PatchesRef(upload_id, sha256(finished.data), len(finished.data))
    return HandMadeDelta(make_delta(base.listing, pack.listing, rows, pack.locator, patches.stored[0]), objects)


def store_patches(client: Client, upload_id: str, objects: t.Mapping[str, bytes]) -> None:
    """Store objects of patches by signed URLs."""
    wanted = [{"sha256": name, "size": len(data)} for name, data in objects.items()]
    made = good(client.http.post(f"/uploads/{upload_id}/urls", json={"patches": wanted}))["urls"]
    assert [item["sha256"] for item in made] == list(objects)
    for item in made:
        good(client.anybody.put(item["url"], content=objects[item["sha256"]], headers=item["headers"]))


@dataclass
class Updated:
    """A version that was pushed with a delta from another one."""

    pushed: Pushed
    files: dict[str, bytes]
    made: HandMadeDelta

    @property
    def id(self) -> str:
        return self.pushed.id


def begin_update(
    client: Client, catalog_id: str, version: str, base: Pushed, base_files: t.Mapping[str, bytes], **fields: t.Any
) -> tuple[str, HandMade, dict[str, bytes], HandMadeDelta]:
    """Begin a push of what is some blocks away from a base, and store all of it: id, pack, files, delta."""
    blocks = fields.pop("blocks", (1, 17))
    files = written(base_files, *blocks)
    upload_id = good(client.begin(catalog_id, version, bases=[base.id], **fields))["id"]
    pack = make_pack(upload_id, files, base=base.pack)
    client.store(upload_id, pack)
    made = make(upload_id, base.pack, base_files, pack, files)
    store_patches(client, upload_id, made.objects)
    return upload_id, pack, files, made


def update(
    client: Client,
    catalog_id: str,
    version: str,
    base: Pushed,
    base_files: t.Mapping[str, bytes] | None = None,
    **fields: t.Any,
) -> Updated:
    """All of a push of what is some blocks away from a base, with the delta.

    The files of the base are ``FILES``, if they are not given.
    """
    base_files = FILES if base_files is None else base_files
    upload_id, pack, files, made = begin_update(client, catalog_id, version, base, base_files, **fields)
    manifest = good(commit(client, upload_id, pack, made.file))
    return Updated(Pushed(manifest, pack, upload_id), files, made)


def commit(client: Client, upload_id: str, pack: HandMade, *deltas: bytes) -> httpx.Response:
    """Commit a pack with deltas."""
    return client.commit(upload_id, encode_index(pack.listing_file, pack.locator_file, deltas))


def leading(client: Client, manifest_id: str) -> list[dict[str, t.Any]]:
    """The deltas that lead to a manifest."""
    return t.cast("list[dict[str, t.Any]]", good(client.http.get(f"/manifests/{manifest_id}/deltas"))["deltas"])


def read(client: Client, manifest_id: str, kind: str, pack: str, name: str) -> httpx.Response:
    """The answer to a request for the URL of one object."""
    return client.http.post(f"/manifests/{manifest_id}/urls", json={kind: [{"pack": pack, "sha256": name}]})
