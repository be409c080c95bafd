# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A catalog with its storage in memory, for the use cases that pull from it; the cache is a real one."""

from __future__ import annotations

import hashlib
import typing as t
from pathlib import Path

from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import SEGMENTS, CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.deltas import DeltaList, DeltaRecord
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Missing
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.cancellation import Cancellation
from ansible_collections.macfleet.parallels.plugins.module_utils._base.progress import Progress
from ansible_collections.macfleet.parallels.plugins.module_utils._base.retry import NEVER
from ansible_collections.macfleet.parallels.plugins.module_utils._base.signed_url import SignedUrl
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import CacheSettings, Context, Remote
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images import ensure
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.observe import ImageKey
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.segmented import Fill
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull import run, wanted
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.transfers import (
    SignedTransfers,
    TransferSettings,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache, CacheEntry
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.records import CachedAddress
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import Prlctl
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import index, writer
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta_file import decode_delta
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import StorageChanged, StorageMissing
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.signed import SignedTransfer
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack import helpers

URL = "https://catalog.example.com"
CATALOG_ID = "macos-15"


class Shelf:
    """Pushed images, what is asked of the catalog and of the storage, and a host that pulls."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.storage = helpers.MemoryStorage()
        self.indexes: dict[str, index.Index] = {}
        self.delta_records: list[DeltaRecord] = []
        self.manifests: list[Manifest] = []
        self.warnings: list[str] = []
        self.cache = Cache.open(str(directory / "cache"), create=True)
        self.prlctl: t.Optional[Prlctl] = None
        self.lock_timeout_seconds = 0.0
        self.connections: t.Optional[int] = None

    def push(
        self, root: Path, version: str = "1.0", bases: t.Iterable[tuple[Manifest, Path]] = (), **fields: t.Any
    ) -> Manifest:
        """Put a bundle into the catalog, with deltas from ``bases``, whose bundles are given."""
        options = {name: fields.pop(name) for name in ("codec", "chunk_size", "known") if name in fields}
        known = [(self.indexes[base.id], bundle) for base, bundle in bases]
        if known:
            options.setdefault("known", helpers.known_of(*(found for found, _bundle in known)))
            options["bases"] = [helpers.base_of(found, bundle) for found, bundle in known]
            options["put_patches"] = self.storage.put_patches
        written = helpers.pack(root, self.storage, **options)
        self.delta_records += [self._delta_record(written, delta) for delta in written.deltas]
        found = helpers.index_of(written)
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

    def _delta_record(self, written: writer.WrittenPack, delta: writer.WrittenDelta) -> DeltaRecord:
        name = self.storage.put(delta.file).sha256
        chunk_bytes = decode_delta(delta.file, helpers.PACK).rows.stored_bytes
        size = len(delta.file)
        return DeltaRecord(delta.base, written.listing.digest, helpers.PACK, name, size, delta.patch_bytes, chunk_bytes)

    # What is asked of the catalog and the storage

    def listing(self, manifest_id: str) -> bytes:
        """See ``CatalogClient``."""
        return self.indexes[manifest_id].listing_file

    def locator(self, manifest_id: str) -> bytes:
        """See ``CatalogClient``."""
        return self.indexes[manifest_id].locator_file or b""

    def deltas(self, manifest_id: str) -> DeltaList:
        """See ``CatalogClient``."""
        found = self.indexes[manifest_id]
        return DeltaList(tuple(self.delta_records), len(found.listing_file) + len(found.locator_file or b""))

    def object_urls(
        self, manifest_id: str, objects: t.Iterable[tuple[str, str]], kind: str = SEGMENTS
    ) -> dict[tuple[str, str], SignedUrl]:
        """See ``CatalogClient``. As the server does, it knows no other segments of a manifest than its locator."""
        wanted = list(objects)
        if kind == SEGMENTS:
            known = {(item.pack, item.sha256) for item in self.indexes[manifest_id].locator.segments}
            if not known >= set(wanted):
                raise Missing("The manifest has no such segment.", code="unknown_segment")
        return {name: SignedUrl(name[1], 3600.0) for name in wanted}

    def fetch_into(
        self, signed: SignedUrl, offset: int, buffer: memoryview, cancellation: t.Optional[Cancellation] = None
    ) -> None:
        """See ``SignedTransfer``."""
        if signed.url not in self.storage.objects:
            raise StorageMissing(f"There is no object {signed.url}.")
        found = self.storage.fetch(index.SegmentRef(helpers.PACK, signed.url, 0), offset, len(buffer))
        if len(found) != len(buffer):
            raise StorageChanged(f"{signed.url} ends after {offset + len(found)} bytes.")
        buffer[:] = found

    # The host

    @property
    def context(self) -> Context:
        """What a pull works with."""
        catalog = t.cast(CatalogClient, self)
        progress = Progress()
        settings = TransferSettings(NEVER, self.connections)
        transfers = SignedTransfers(catalog, t.cast(SignedTransfer, self), progress, settings)
        return Context(
            CacheSettings(self.cache.path, str(self.directory / "facts"), "build", self.lock_timeout_seconds),
            progress,
            self.warnings.append,
            "a test",
            self.prlctl,
            Remote(catalog, transfers),
        )

    def plan(self, manifest: Manifest, *, verify: bool = False) -> ensure.ImagePlan:
        """What a pull of an image would do."""
        return ensure.plan_image(manifest, self.cache, self.context, verify=verify)

    def fill(self, manifest: Manifest, *, verify: bool = False) -> Fill:
        """What a pull of an image would do, if that is to fill the cache."""
        plan = self.plan(manifest, verify=verify)
        assert isinstance(plan, Fill)
        return plan

    def pull(self, manifest: Manifest, *, verify: bool = False) -> ensure.ImageOutcome:
        """Pull an image into the cache."""
        with self.held(manifest, verify=verify) as (_entry, outcome):
            return outcome

    def held(
        self, manifest: Manifest, *, verify: bool = False
    ) -> t.ContextManager[tuple[CacheEntry, ensure.ImageOutcome]]:
        """Have an image in the cache, and keep it there."""
        address = CachedAddress(URL, manifest.catalog_id, manifest.version, manifest.architecture)
        key = ImageKey(address, manifest.digest)
        return ensure.held_image(key, manifest, self.cache, self.context, verify=verify)

    def entry(self, manifest: Manifest) -> CacheEntry:
        """What the cache holds of an image."""
        found = self.cache.find(manifest.digest)
        assert found is not None
        return found

    def request(self, *manifests: Manifest, **fields: t.Any) -> wanted.PullRequest:
        """A task of catalog_pull."""
        values: dict[str, t.Any] = {
            "state": wanted.CACHED,
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
        return wanted.PullRequest(**values)

    def run(self, *manifests: Manifest, check_mode: bool = False, **fields: t.Any) -> dict[str, t.Any]:
        """The result of such a task."""
        return run.run(self.request(*manifests, **fields), self.context, check_mode=check_mode)
