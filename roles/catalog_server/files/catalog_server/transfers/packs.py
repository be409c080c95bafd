# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The objects of one pack in its storage.

    <prefix>/packs/<upload id>/<sha256>           a segment
    <prefix>/packs/<upload id>/<sha256>.listing   the listing of the manifest that the upload became
    <prefix>/packs/<upload id>/<sha256>.locator   its locator
    <prefix>/packs/<upload id>/<sha256>.delta     a delta that leads to it
    <prefix>/packs/<upload id>/<sha256>.patches   patches of a delta
    <prefix>/packs/<upload id>/manifest.json      its record, for the day the database is lost
    <prefix>/packs/<upload id>/state.json         what has become of it since: see jobs/outbox.py

No name is shared between uploads, so deleting one pack never touches another.
"""

from __future__ import annotations

import json
import re
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from catalog_server.models.catalog import Manifest
from catalog_server.models.transfers import Upload
from catalog_server.storages.base import OpenedObject, Provider, Signed, UrlRequest
from catalog_server.unit_of_work import Services

RECORD = "manifest.json"
STATE = "state.json"
RECORD_FORMAT = 1
# The columns of a manifest that its record holds, beside its id and the tags that the push asked for
RECORDED = (
    "catalog_id",
    "version",
    "architecture",
    "type",
    "name",
    "description",
    "audience",
    "minimum_cpu",
    "minimum_memory_mb",
    "minimum_disk_mb",
    "format",
    "digest",
    "chunk_size",
    "chunks",
    "files",
    "logical_bytes",
    "data_bytes",
    "stored_bytes",
    "index_bytes",
    "storage",
    "pack",
    "listing_object",
    "locator_object",
)
_PATCHES = re.compile(r"([0-9a-f]{64})\.patches\Z")
_SEGMENT = re.compile(r"[0-9a-f]{64}\Z")
_OURS = re.compile(r"(?:[0-9a-f]{64}(?:\.listing|\.locator|\.delta|\.patches)?|manifest\.json|state\.json)\Z")


@dataclass(frozen=True)
class PackObjects:
    """The objects of one pack. Everything here waits for a storage, so nothing of it belongs into a transaction."""

    storage: Provider
    folder: str

    def key(self, name: str) -> str:
        """The key of the object of that name."""
        return f"{self.folder}/{name}"

    def names(self) -> set[str]:
        """Names of the objects that are there, of those that a pack can have."""
        found = {info.key.removeprefix(f"{self.folder}/") for info in self.storage.list(self.folder)}
        return {name for name in found if _OURS.match(name)}

    def segments(self) -> dict[str, int]:
        """Names and sizes of the segments that are there."""
        found = ((info.key.rpartition("/")[2], info.size) for info in self.storage.list(self.folder))
        return {name: size for name, size in found if _SEGMENT.match(name)}

    def patches(self) -> dict[str, int]:
        """SHA-256 and sizes of the objects of patches that are there."""
        found = {}
        for info in self.storage.list(self.folder):
            name = _PATCHES.match(info.key.rpartition("/")[2])
            if name:
                found[name.group(1)] = info.size
        return found

    def get(self, name: str) -> bytes:
        """All of one object."""
        return self.storage.get(self.key(name))

    def put(self, name: str, data: bytes) -> None:
        """Store one object that the server itself made."""
        self.storage.put(self.key(name), data)

    def open(self, name: str) -> OpenedObject:
        """Open an object to read it in pieces."""
        return self.storage.open(self.key(name))

    def presign_get(self, name: str, request: UrlRequest) -> Signed:
        """Return a URL that reads an object."""
        return self.storage.presign_get(self.key(name), request)

    def presign_put(self, name: str, size: int, request: UrlRequest) -> Signed:
        """Return a URL that stores an object."""
        return self.storage.presign_put(self.key(name), size, request)

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects, the record before its state."""
        self.storage.delete_many([self.key(name) for name in sorted(names)])

    def remove_all(self) -> None:
        """Remove every object that a pack can have, and what is being received."""
        self.storage.discard_incoming(self.folder)
        self.remove(self.names())


def record_of(manifest_id: str, tags: Iterable[str], columns: Mapping[str, t.Any]) -> bytes:
    """The record of a manifest with these columns."""
    record = {"record_format": RECORD_FORMAT, "manifest_id": manifest_id, "tags": list(tags)}
    record.update({name: columns[name] for name in RECORDED})
    return json.dumps(record, indent=1, sort_keys=True).encode()


def record(upload: Upload, manifest: Manifest) -> bytes:
    """The record of the manifest that an upload became."""
    content = manifest.segmented
    columns = {name: getattr(content if hasattr(content, name) else manifest, name) for name in RECORDED}
    return record_of(manifest.id, upload.fields["tags"], columns)


def delta_name(sha256: str) -> str:
    """The name of the object of a delta."""
    return f"{sha256}.delta"


def patches_name(sha256: str) -> str:
    """The name of an object of patches."""
    return f"{sha256}.patches"


def sha256_of(key: str) -> str:
    """The SHA-256 of the object of a pack, which is a part of its key."""
    return key.rpartition("/")[2].partition(".")[0]


def packs_folder(prefix: str) -> str:
    """The folder of all packs of a storage."""
    return f"{prefix}/packs" if prefix else "packs"


def folder_of(prefix: str, pack: str) -> str:
    """The folder of a pack."""
    return f"{packs_folder(prefix)}/{pack}"


def pack_of(services: Services, storage: str, pack: str) -> PackObjects:
    """The objects of the upload ``pack`` in the storage of that name."""
    provider = services.storages.get(storage)
    return PackObjects(provider, folder_of(provider.prefix, pack))
