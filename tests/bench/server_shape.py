# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rows of many manifests, the same for the same shape; for server_rows.py."""

from __future__ import annotations

import datetime
import hashlib
import itertools
import typing as t
from collections.abc import Iterator

from catalog_server.models.base import Base
from catalog_server.models.catalog import CatalogId, Manifest, ManifestSegment, ManifestTag, SegmentedContent
from catalog_server.models.storage import LIVE, Pack
from catalog_server.models.transfers import Segment

ARCHITECTURE = "arm64"
_NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)

Rows = Iterator[dict[str, t.Any]]


class Shape:
    """So many catalog ids with so many versions each; those of every ``audiences``-th one are for everybody."""

    def __init__(self, catalog_ids: int, versions: int, audiences: list[int], storage: str) -> None:
        self.catalog_ids = catalog_ids
        self.versions = versions
        self.audiences = audiences
        self.storage = storage

    def addresses(self) -> Iterator[tuple[int, int]]:
        """Numbers of catalog id and version of every manifest."""
        return itertools.product(range(self.catalog_ids), range(self.versions))

    def audience(self, catalog_id: int) -> int:
        """The audience of all versions of a catalog id."""
        return self.audiences[catalog_id % len(self.audiences)]

    def tables(self) -> list[tuple[type[Base], Rows]]:
        """All rows, in the order in which they can be put."""
        return [
            (CatalogId, (self._catalog_id(one) for one in range(self.catalog_ids))),
            (Pack, (self._pack(*at) for at in self.addresses())),
            (Segment, (self._segment(*at) for at in self.addresses())),
            (Manifest, (self._manifest(*at) for at in self.addresses())),
            (SegmentedContent, (self._content(*at) for at in self.addresses())),
            (ManifestSegment, (self._use(*at) for at in self.addresses())),
            (ManifestTag, (self._latest(one) for one in range(self.catalog_ids))),
        ]

    def _catalog_id(self, number: int) -> dict[str, t.Any]:
        return {
            "name": name_of(number),
            "native_only": False,
            "immutable_tags": False,
            "last_push_number": self.versions,
            "created_at": _NOW,
            "created_by": "bench",
        }

    def _pack(self, catalog_id: int, version: int) -> dict[str, t.Any]:
        pack = identity(catalog_id, version)[:32]
        return {
            "id": pack,
            "storage": self.storage,
            "format": "segmented",
            "state": LIVE,
            "created_at": _NOW,
            "state_number": 0,
        }

    def _segment(self, catalog_id: int, version: int) -> dict[str, t.Any]:
        one = identity(catalog_id, version)
        return {
            "pack": one[:32],
            "sha256": one,
            "size": 30_000_000,
            "audience_id": self.audience(catalog_id),
            "proved": True,
            "created_at": _NOW,
        }

    def _manifest(self, catalog_id: int, version: int) -> dict[str, t.Any]:
        return {
            "id": identity(catalog_id, version),
            "catalog_id": name_of(catalog_id),
            "version": version_of(version),
            "architecture": ARCHITECTURE,
            "type": "macvm",
            "name": "Runner.macvm",
            "description": "Xcode and the tools of the runners",
            "release_notes": "",
            "labels": {},
            "audience_id": self.audience(catalog_id),
            "minimum_cpu": 2,
            "minimum_memory_mb": 4096,
            "minimum_disk_mb": 65536,
            "requires": {},
            "format": "segmented",
            "tainted": False,
            "revoked": False,
            "download_count": 0,
            "created_at": _NOW,
            "push_number": version + 1,
            "pushed_at": _NOW,
            "updated_at": _NOW,
            "created_by": "bench",
        }

    def _content(self, catalog_id: int, version: int) -> dict[str, t.Any]:
        one = identity(catalog_id, version)
        return {
            "manifest_id": one,
            "digest": one[::-1],
            "chunk_size": 1 << 20,
            "chunks": 60_000,
            "files": 12,
            "logical_bytes": 64 << 30,
            "data_bytes": 40 << 30,
            "stored_bytes": 20 << 30,
            "index_bytes": 4 << 20,
            "pack": one[:32],
            "listing_object": f"{one}.listing",
            "locator_object": f"{one}.locator",
        }

    def _use(self, catalog_id: int, version: int) -> dict[str, t.Any]:
        one = identity(catalog_id, version)
        return {"manifest_id": one, "pack": one[:32], "sha256": one}

    def _latest(self, catalog_id: int) -> dict[str, t.Any]:
        return {
            "catalog_id": name_of(catalog_id),
            "architecture": ARCHITECTURE,
            "tag": "latest",
            "manifest_id": identity(catalog_id, self.versions - 1),
        }


def name_of(catalog_id: int) -> str:
    """Return a catalog id; they are in the order of their numbers."""
    return f"image-{catalog_id:06d}"


def version_of(number: int) -> str:
    """Return a version; they are in the order of their numbers."""
    return f"1.{number:04d}.0"


def identity(catalog_id: int, version: int) -> str:
    """Return the id of a manifest, spread like a random one."""
    return hashlib.sha256(f"{catalog_id} {version}".encode()).hexdigest()
