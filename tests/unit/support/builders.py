# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host that pushes to a catalog with its storage in memory, and pulls from it; bundle and cache are real ones."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.macfleet.parallels.plugins.module_utils._api.deltas import DeltaRecord
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.uploads import Upload, UploadRequest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.cancellation import Cancellation
from ansible_collections.macfleet.parallels.plugins.module_utils._base.signed_url import SignedUrl
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push.metadata import PushRequest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push.run import run
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.codecs import Buffer
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta_file import decode_delta
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index_file import decode_index
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import CHUNK
from ansible_collections.macfleet.parallels.tests.unit.support.shelf import CATALOG_ID, URL, Shelf


class Builder(Shelf):
    """``publish`` is a whole push. ``on_commit`` runs when it is committed, while its clone is still there."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.published: list[Manifest] = []
        self.on_commit: t.Callable[[], None] = lambda: None
        self._begun: dict[str, UploadRequest] = {}

    def publish(self, bundle: Path, version: str, *, check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
        """The result of a task of catalog_push."""
        empty: dict[str, t.Any] = dict.fromkeys(("description", "tags"))
        empty.update(dict.fromkeys(("required_roles", "required_claims", "minimum_requirements")))
        given = {
            "path": str(bundle),
            "catalog_id": CATALOG_ID,
            "version": version,
            "codec": "deflate",
            "compression_level": 1,
            "chunk_size": CHUNK,
            "force": False,
            "allow_suspended": False,
            "keep_in_cache": True,
            "catalog_url": URL,
            "architecture": "arm64",
            "bases": tuple(self.published[-1:]),
            **options,
        }
        return run(PushRequest(**{**empty, **given}), self.context, check_mode=check_mode)

    # What is asked of the catalog and the storage

    def begin_upload(self, request: UploadRequest) -> Upload:
        """See ``CatalogClient``."""
        upload_id = f"{len(self._begun):032x}"
        self._begun[upload_id] = request
        bases = tuple(manifest for manifest in self.published if manifest.id in request.bases)
        return Upload(upload_id, 0.0, "local", request.chunk_size, "r", bases, ())

    def upload_urls(self, upload_id: str, objects: t.Iterable[tuple[str, int]], kind: str) -> dict[str, SignedUrl]:
        """See ``CatalogClient``."""
        return {sha256: SignedUrl(sha256, 3600.0) for sha256, _size in objects}

    def put(self, signed: SignedUrl, data: Buffer, cancellation: t.Optional[Cancellation] = None) -> None:
        """See ``SignedTransfer``."""
        assert self.storage.put(bytes(data)).sha256 == signed.url

    def commit_upload(self, upload_id: str, revision: str, index: bytes) -> Manifest:
        """See ``CatalogClient``."""
        request, found = self._begun[upload_id], decode_index(index)
        manifest = Manifest(
            id=upload_id,
            catalog_id=request.catalog_id,
            version=request.version,
            architecture=request.architecture,
            type=request.type,
            name=request.name,
            digest=found.listing.digest,
            chunk_size=request.chunk_size,
            logical_bytes=found.listing.logical_bytes,
            stored_bytes=found.locator.stored_bytes,
        )
        self.indexes[manifest.id] = found
        self.delta_records += [self._record_of(file, upload_id) for file in found.delta_files]
        self.published.append(manifest)
        self.on_commit()
        return manifest

    def _record_of(self, file: bytes, upload_id: str) -> DeltaRecord:
        delta = decode_delta(file, upload_id)
        name, patch_bytes = self.storage.put(file).sha256, delta.patches.stored_bytes
        return DeltaRecord(delta.base, delta.digest, upload_id, name, len(file), patch_bytes, delta.rows.stored_bytes)
