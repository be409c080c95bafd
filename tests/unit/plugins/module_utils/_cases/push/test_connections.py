# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many requests a push makes at once: the whole push, and a real storage that counts them."""

from __future__ import annotations

import os
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.uploads import Upload
from ansible_collections.macfleet.parallels.plugins.module_utils._base.progress import Progress
from ansible_collections.macfleet.parallels.plugins.module_utils._base.retry import NEVER
from ansible_collections.macfleet.parallels.plugins.module_utils._base.signed_url import SignedUrl
from ansible_collections.macfleet.parallels.plugins.module_utils._base.transport import Transport, TransportSettings
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import CacheSettings, Context, Remote
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push.metadata import PushRequest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push.run import run
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.transfers import (
    SignedTransfers,
    TransferSettings,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.limited import LEAST
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.signed import SignedTransfer
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import IMAGE, make_bundle
from ansible_collections.macfleet.parallels.tests.unit.support.storage import Handler, StorageServer, serving

UPLOAD_ID = "0" * 32
PATIENCE_SECONDS = 20.0
# When as many requests as may be are in the storage, they stay for so long, in which further ones would come.
STAY_SECONDS = 0.5
SEGMENT_BYTES = 32 << 20


class Catalog:
    """Takes one push."""

    def __init__(self, storage: StorageServer) -> None:
        self.storage = storage
        self.committed = False

    def begin_upload(self, request: t.Any) -> Upload:
        return Upload(UPLOAD_ID, 0.0, "local", request.chunk_size, "r", (), ())

    def upload_urls(self, upload_id: str, keys: t.Sequence[tuple[str, int]], kind: str) -> dict[str, SignedUrl]:
        return {sha256: self.storage.url(sha256) for sha256, _size in keys}

    def commit_upload(self, upload_id: str, revision: str, body: bytes) -> Manifest:
        self.committed = True
        return Manifest(
            id=UPLOAD_ID, catalog_id="macos-15", version="1.0", architecture="arm64", type="pvm", name="L", digest="0"
        )


class Counter:
    """Counts the requests that are in the storage at the same time. The first ones wait for each other."""

    def __init__(self, expected: int) -> None:
        self.most = 0
        self._expected = expected
        self._running = 0
        self._changed = threading.Condition()

    def __call__(self, handler: Handler) -> bool:
        handler.body()
        with self._changed:
            self._running += 1
            self.most = max(self.most, self._running)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.most >= self._expected, PATIENCE_SECONDS)
            self._changed.wait_for(lambda: self.most > self._expected, STAY_SECONDS)
            self._running -= 1
        handler.answer(200)
        return True


def push(bundle: Path, catalog: Catalog, connections: t.Optional[int]) -> dict[str, t.Any]:
    empty: dict[str, t.Any] = dict.fromkeys(PushRequest.__annotations__)
    given = {"path": str(bundle), "catalog_id": "macos-15", "version": "1.0", "architecture": "arm64", "codec": "raw"}
    flags = {"compression_level": 1, "force": False, "allow_suspended": False, "manifests": (), "bases": ()}
    client = t.cast(CatalogClient, catalog)
    progress = Progress()
    transport = Transport(TransportSettings(use_proxy=False))
    with SignedTransfer(transport.connect, progress.moved) as transfer:
        transfers = SignedTransfers(client, transfer, progress, TransferSettings(NEVER, connections))
        cache = CacheSettings(str(bundle.parent / "cache"), str(bundle.parent / "facts"), "build", 0.0)
        context = Context(cache, progress, pytest.fail, remote=Remote(client, transfers))
        return run(PushRequest(**{**empty, **given, **flags}), context, check_mode=False)


@pytest.mark.parametrize(("connections", "most"), [(2, 2), (5, 5), (None, LEAST)])
def test_a_push_makes_as_many_requests_at_once_as_connections_says(
    tmp_path: Path, connections: t.Optional[int], most: int
) -> None:
    bundle = make_bundle(tmp_path / "Large.pvm", {IMAGE: os.urandom((most + 1) * SEGMENT_BYTES)})
    with serving() as storage:
        counter = Counter(most)
        storage.faults = [counter] * 100
        catalog = Catalog(storage)
        result = push(bundle, catalog, connections)
        assert result["changed"] and catalog.committed
        assert len(storage.seen) > most
    assert counter.most == most
