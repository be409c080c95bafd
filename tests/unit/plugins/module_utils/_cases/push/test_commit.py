# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The end of a push: a version is committed, with its deltas if the server takes them."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Missing
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.uploads import Upload
from ansible_collections.macfleet.parallels.plugins.module_utils._base.progress import Progress
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import CacheSettings, Context, Remote
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push import apply
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.transfers import Transfers
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import writer
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index_file import decode_index
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack import helpers

UPLOAD = Upload(helpers.PACK, 0.0, "local", helpers.CHUNK, "r", (), ())


class Catalog:
    """Refuses a commit with deltas by an error, and takes every other one."""

    def __init__(self, refusal: Missing) -> None:
        self.refusal = refusal
        self.deltas: list[int] = []

    def commit_upload(self, upload_id: str, revision: str, body: bytes) -> Manifest:
        assert (upload_id, revision) == (UPLOAD.id, UPLOAD.revision)
        self.deltas.append(len(decode_index(body).delta_files))
        if self.deltas[-1]:
            raise self.refusal
        return Manifest(
            id="0", catalog_id="macos-15", version="1.1", architecture="arm64", type="pvm", name="L", digest="0"
        )


@pytest.fixture
def written(tmp_path: Path) -> writer.WrittenPack:
    storage = helpers.MemoryStorage()
    root = helpers.make_bundle(tmp_path / "base.pvm", {helpers.IMAGE: helpers.noise(1, 8 * helpers.CHUNK)})
    base = helpers.pack(root, storage)
    image = helpers.noise(1, 8 * helpers.CHUNK - 4096) + helpers.noise(2, 4096)
    return helpers.pack(
        helpers.make_bundle(tmp_path / "new.pvm", {helpers.IMAGE: image}),
        storage,
        known=helpers.known_of(base),
        bases=[helpers.base_of(base, root)],
        put_patches=storage.put_patches,
    )


def context_of(catalog: Catalog, warnings: list[str]) -> Context:
    remote = Remote(t.cast(CatalogClient, catalog), t.cast(Transfers, None))
    return Context(CacheSettings("", "", "build", 0.0), Progress(), warnings.append, "a test", None, remote)


def commit(catalog: Catalog, written: writer.WrittenPack, warnings: list[str]) -> t.Any:
    assert written.deltas
    body = apply._index_of(written, written.deltas)
    return apply._commit(body, written, UPLOAD, context_of(catalog, warnings))


def test_a_version_whose_base_was_replaced_meanwhile_is_pushed_without_deltas(written: writer.WrittenPack) -> None:
    warnings: list[str] = []
    catalog = Catalog(Missing("A delta does not start from a base.", code="unknown_segment"))
    manifest, deltas = commit(catalog, written, warnings)
    assert manifest.version == "1.1" and deltas == () and catalog.deltas == [1, 0]
    assert len(warnings) == 1 and "without deltas" in warnings[0]


def test_another_refusal_is_an_error(written: writer.WrittenPack) -> None:
    warnings: list[str] = []
    with pytest.raises(Missing, match="no such upload"):
        commit(Catalog(Missing("There is no such upload.", code="unknown_upload")), written, warnings)
    assert not warnings
