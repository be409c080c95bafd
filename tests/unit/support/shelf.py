# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A catalog with its storage in memory, for the use cases that pull from it; the cache is a real one."""

from __future__ import annotations

import hashlib
import time
import typing as t
from pathlib import Path

from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.records import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.progress import Progress
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import pull as _pull
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import pull_image as _pull_image
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import CacheSettings, Context, Remote
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.transfers import SignedTransfers
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache import Cache, CacheEntry
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import Prlctl
from ansible_collections.macfleet.parallels.plugins.module_utils._host.records import CachedAddress
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import index
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.signed import SignedTransfer, SignedUrl
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack import helpers

URL = "https://catalog.example.com"
CATALOG_ID = "macos-15"


class Shelf:
    """Pushed images, what is asked of the catalog and of the storage, and a host that pulls."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.storage = helpers.MemoryStorage()
        self.indexes: dict[str, index.Index] = {}
        self.warnings: list[str] = []
        self.cache = Cache.open(str(directory / "cache"), create=True)
        self.prlctl: t.Optional[Prlctl] = None

    def push(self, root: Path, version: str = "1.0", **fields: t.Any) -> Manifest:
        """Put a bundle into the catalog."""
        options = {name: fields.pop(name) for name in ("codec", "chunk_size") if name in fields}
        found = helpers.index_of(helpers.pack(root, self.storage, **options))
        manifest = Manifest(
            **{
                "id": hashlib.sha256(f"{root} {version}".encode()).hexdigest(),
                "catalog_id": CATALOG_ID,
                "version": version,
                "architecture": "arm64",
                "type": "pvm",
                "name": root.name,
                "digest": found.listing.digest,
                "chunk_size": found.listing.chunk_size,
                "logical_bytes": found.listing.logical_bytes,
                **fields,
            }
        )
        self.indexes[manifest.id] = found
        return manifest

    # What is asked of the catalog and the storage

    def listing(self, manifest_id: str) -> bytes:
        """See ``CatalogClient``."""
        return self.indexes[manifest_id].listing_file

    def locator(self, manifest_id: str) -> bytes:
        """See ``CatalogClient``."""
        return self.indexes[manifest_id].locator_file

    def segment_urls(self, manifest_id: str, segments: t.Iterable[tuple[str, str]]) -> dict[tuple[str, str], SignedUrl]:
        """See ``CatalogClient``."""
        return {segment: SignedUrl(segment[1], time.time() + 3600, {}) for segment in segments}

    def fetch_into(self, signed: SignedUrl, offset: int, buffer: memoryview) -> None:
        """See ``SignedTransfer``."""
        found = self.storage.fetch(index.SegmentRef(helpers.PACK, signed.url, 0), offset, len(buffer))
        buffer[: len(found)] = found

    # The host

    @property
    def context(self) -> Context:
        """What a pull works with."""
        catalog = t.cast(CatalogClient, self)
        transfers = SignedTransfers(catalog, t.cast(SignedTransfer, self), lambda: (), lambda seconds: None)
        return Context(
            CacheSettings(self.cache.path, str(self.directory / "facts"), "build", 0.0),
            Progress(lambda snapshot: None),
            self.warnings.append,
            "a test",
            self.prlctl,
            Remote(catalog, transfers),
        )

    def plan(self, manifest: Manifest, *, must_verify: bool = False) -> _pull_image.ImagePlan:
        """What a pull of an image would do."""
        return _pull_image.plan_image(manifest, self.cache, self.context, must_verify=must_verify)

    def apply(self, made: _pull_image.ImagePlan, *, must_verify: bool = False) -> _pull_image.ImageOutcome:
        """Carry out a plan."""
        address = CachedAddress(URL, made.manifest.catalog_id, made.manifest.version, made.manifest.architecture)
        return _pull_image.apply_image(made, self.cache, self.context, must_verify=must_verify, address=address)

    def pull(self, manifest: Manifest, *, must_verify: bool = False) -> _pull_image.ImageOutcome:
        """Pull an image into the cache."""
        return self.apply(self.plan(manifest, must_verify=must_verify), must_verify=must_verify)

    def entry(self, manifest: Manifest) -> CacheEntry:
        """What the cache holds of an image."""
        found = self.cache.find(manifest.digest)
        assert found is not None
        return found

    def request(self, *manifests: Manifest, **fields: t.Any) -> _pull.PullRequest:
        """A task of catalog_pull."""
        values: dict[str, t.Any] = {
            "state": _pull.CACHED,
            "catalog_url": URL,
            "catalog_id": CATALOG_ID,
            "version": None,
            "architecture": "arm64",
            "name": "Runner",
            "directory": str(self.directory / "Parallels"),
            "verify": False,
            "manifests": manifests,
            **fields,
        }
        return _pull.PullRequest(**values)

    def run(self, *manifests: Manifest, check_mode: bool = False, **fields: t.Any) -> dict[str, t.Any]:
        """The result of such a task."""
        return _pull.run(self.request(*manifests, **fields), self.context, check_mode=check_mode, may_defer=False)
