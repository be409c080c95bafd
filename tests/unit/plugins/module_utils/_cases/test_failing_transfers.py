# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A request fails for good while others are tried again, or wait: a real storage, the transfer as it is composed."""

from __future__ import annotations

import contextlib
import threading
import time
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.uploads import Upload
from ansible_collections.macfleet.parallels.plugins.module_utils._base import pipeline
from ansible_collections.macfleet.parallels.plugins.module_utils._base.progress import Progress
from ansible_collections.macfleet.parallels.plugins.module_utils._base.retry import Patience
from ansible_collections.macfleet.parallels.plugins.module_utils._base.signed_url import SignedUrl
from ansible_collections.macfleet.parallels.plugins.module_utils._base.transport import Transport, TransportSettings
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.transfers import (
    SignedTransfers,
    TransferSettings,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import SegmentRef
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import StorageMissing, StorageRefused
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.signed import SignedTransfer
from ansible_collections.macfleet.parallels.tests.unit.support.storage import Handler, StorageServer, serving, status

# The pause after a failure is longer than what is soon.
PATIENCE = Patience(12.0, first_seconds=8.0)
SOON_SECONDS = 3.0
LENGTH = 1000
SEGMENTS = [SegmentRef("0" * 32, f"{number:064x}", LENGTH) for number in range(8)]


class Catalog:
    """Hands out URLs; those of segments that are to wait for theirs do not come before the end."""

    def __init__(self, storage: StorageServer) -> None:
        self.storage = storage
        self.silent = False

    def object_urls(
        self, manifest_id: str, keys: t.Sequence[tuple[str, str]], kind: str
    ) -> dict[tuple[str, str], SignedUrl]:
        if self.silent and keys[0][1] != SEGMENTS[0].sha256:
            self.storage.released.wait(10)
        return {key: self.storage.url(key[1]) for key in keys}

    def upload_urls(self, upload_id: str, keys: t.Sequence[tuple[str, int]], kind: str) -> dict[str, SignedUrl]:
        return {key[0]: self.storage.url(key[0]) for key in keys}


class Scene:
    """A storage, and transfers whose requests it sees."""

    def __init__(self, storage: StorageServer, connections: int) -> None:
        self.storage = storage
        self.catalog = Catalog(storage)
        transport = Transport(TransportSettings(timeout_seconds=30.0, use_proxy=False))
        progress = Progress()
        self.transfers = SignedTransfers(
            t.cast(CatalogClient, self.catalog),
            SignedTransfer(transport.connect, progress.moved),
            progress,
            TransferSettings(PATIENCE, connections, progress.sleep),
        )
        self.others = threading.Event()

    def fail_after_others(self, handler: Handler, code: int) -> bool:
        """Answer when another request has been dealt with, or waits."""
        assert self.others.wait(10)
        return status(code)(handler)

    def busy(self, handler: Handler) -> bool:
        """Ask for patience."""
        status(503)(handler)
        self.others.set()
        return True

    def silent(self, handler: Handler) -> bool:
        """Take the request, and say nothing."""
        self.others.set()
        handler.server.released.wait(10)
        handler.hang_up()
        return True


@contextlib.contextmanager
def scene(connections: int, by_path: t.Mapping[str, t.Callable[[Scene, Handler], bool]]) -> t.Iterator[Scene]:
    """A storage that answers by the path that is asked for; ``""`` stands for any other."""
    with serving() as storage:
        made = Scene(storage, connections)

        def fault(handler: Handler) -> bool:
            path = handler.path.partition("?")[0]
            return by_path.get(path, by_path[""])(made, handler)

        storage.faults = [fault] * 100
        began_at = time.monotonic()
        yield made
        assert time.monotonic() - began_at < SOON_SECONDS


def missing(made: Scene, handler: Handler) -> bool:
    return made.fail_after_others(handler, 404)


FIRST = f"/{SEGMENTS[0].sha256}"


@pytest.mark.parametrize("make", [pipeline.ordered_map, pipeline.unordered_map])
@pytest.mark.parametrize("others", [Scene.busy, Scene.silent])
def test_a_pull_tells_at_once_that_an_object_is_missing(make: t.Any, others: t.Any) -> None:
    with scene(4, {FIRST: missing, "": others}) as made:
        source = made.transfers.pull_source("m", SEGMENTS)
        stage = make(
            lambda segment: source.fetch(segment, 0, LENGTH),
            # The one that fails is not the one whose result is waited for.
            [SEGMENTS[1], SEGMENTS[0], *SEGMENTS[2:]],
            workers=4,
            window=6,
            cancel=source.cancel,
        )
        with pytest.raises(StorageMissing):
            list(stage)


def test_a_pull_tells_it_to_those_who_wait_for_a_place_or_a_url() -> None:
    with scene(1, {FIRST: missing, "": Scene.busy}) as made:
        made.catalog.silent = True
        made.others.set()
        source = made.transfers.pull_source("m", SEGMENTS[:1])
        with pytest.raises(StorageMissing):
            # Two wait for the place of the first, or for the URL of another.
            list(
                pipeline.unordered_map(
                    lambda segment: source.fetch(segment, 0, LENGTH),
                    [SEGMENTS[0], SEGMENTS[0], SEGMENTS[1]],
                    workers=3,
                    window=3,
                    cancel=source.cancel,
                )
            )


@pytest.mark.parametrize("others", [Scene.busy, Scene.silent])
def test_a_push_tells_at_once_that_an_object_is_refused(others: t.Any) -> None:
    with scene(4, {"": others}) as made:
        first = True
        lock = threading.Lock()

        def fault(handler: Handler) -> bool:
            nonlocal first
            with lock:
                mine, first = first, False
            return made.fail_after_others(handler, 413) if mine else bool(others(made, handler))

        made.storage.faults = [fault] * 100
        sink = made.transfers.upload_sink(Upload("u", 0.0, "local", 1 << 20, "r", (), ()))
        with pytest.raises(StorageRefused, match="413"):
            list(
                pipeline.ordered_map(
                    lambda number: sink.put(bytes([number]) * LENGTH),
                    range(8),
                    workers=4,
                    window=4,
                    cancel=sink.cancel,
                )
            )
