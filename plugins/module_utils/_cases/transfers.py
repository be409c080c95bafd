# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Sources and sinks of a transfer: the server's client names the URLs, the storage's client uses them."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import PATCHES, SEGMENTS, CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.uploads import Upload
from ansible_collections.macfleet.parallels.plugins.module_utils._base.cancellation import Cancellation
from ansible_collections.macfleet.parallels.plugins.module_utils._base.link import LinkCost, estimate
from ansible_collections.macfleet.parallels.plugins.module_utils._base.link_meter import LinkMeter
from ansible_collections.macfleet.parallels.plugins.module_utils._base.progress import Progress
from ansible_collections.macfleet.parallels.plugins.module_utils._base.retry import Patience
from ansible_collections.macfleet.parallels.plugins.module_utils._base.signed_url import SignedUrl
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.urls import PullUrls, ResumeUrls, UploadUrls
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.chunks import chunk_id
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    ObjectRef,
    PatchesRef,
    SegmentRef,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._storage import limited
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.retrying import RetryingTransfer, Transfer
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.sources import (
    Buffer,
    Sink,
    Source,
)

Key = t.TypeVar("Key")
Stored = t.TypeVar("Stored", SegmentRef, PatchesRef)

# Segments that wait for their upload, or are under way: each takes its 32 MiB of memory. While the metadata server is
# silent, those that have their URL are still stored.
_MOST_PUTS = 8
# Threads beyond the number of connections that was asked for: some decode and write what has arrived, while the
# connections bring more.
_DECODING = 2


class Transfers(t.Protocol):
    """Makes the sources and sinks of one task.

    ``fetch_workers`` and ``put_workers`` are the threads to use them from. How many requests really run at once is
    decided behind them.
    """

    @property
    def fetch_workers(self) -> int: ...  # pylint: disable=missing-function-docstring

    @property
    def put_workers(self) -> int: ...  # pylint: disable=missing-function-docstring

    def link(self) -> LinkCost:
        """Return what a request costs, as far as that is known from the requests so far."""
        ...  # pylint: disable=unnecessary-ellipsis

    def pull_source(self, manifest_id: str, order: t.Iterable[ObjectRef], kind: str = SEGMENTS) -> Source:
        """Return a source of objects of one kind for a pull of a manifest, to be read in about this ``order``."""
        ...  # pylint: disable=unnecessary-ellipsis

    def upload_source(self, upload: Upload) -> Source:
        """Return a source of the segments that an open upload has already."""
        ...  # pylint: disable=unnecessary-ellipsis

    def upload_sink(self, upload: Upload) -> Sink[SegmentRef]:
        """Return a sink for the segments of an open upload."""
        ...  # pylint: disable=unnecessary-ellipsis

    def patch_sink(self, upload: Upload) -> Sink[PatchesRef]:
        """Return a sink for the objects of patches of an open upload."""
        ...  # pylint: disable=unnecessary-ellipsis


@dataclass(frozen=True)
class TransferSettings:
    """How transfers are made.

    ``patience`` is that of each request to the storage. ``connections`` is the number of requests at once; None means
    a number that grows while that moves more. ``sleep`` and ``clock`` are those of the retries.
    """

    patience: Patience
    connections: t.Optional[int] = None
    sleep: t.Callable[[float], None] = time.sleep
    clock: t.Callable[[], float] = time.monotonic


class SignedTransfers:
    """Transfers by signed URLs."""

    def __init__(
        self,
        catalog: CatalogClient,
        transfer: Transfer,
        progress: Progress,
        settings: TransferSettings,
        meter: t.Optional[LinkMeter] = None,
    ) -> None:
        self._catalog = catalog
        self._progress = progress
        self._settings = settings
        self._meter = meter or LinkMeter()
        number = settings.connections
        growth = limited.Growth(number, number) if number else limited.Growth()
        self._transfer = limited.LimitedTransfer(transfer, growth)

    @property
    def fetch_workers(self) -> int:
        """See ``Transfers``."""
        connections = self._settings.connections
        return connections + _DECODING if connections else limited.MOST

    @property
    def put_workers(self) -> int:
        """See ``Transfers``."""
        return self._settings.connections or _MOST_PUTS

    def link(self) -> LinkCost:
        """See ``Transfers``."""
        return estimate(self._meter.samples(), sharing=self._settings.connections or limited.LEAST)

    def pull_source(self, manifest_id: str, order: t.Iterable[ObjectRef], kind: str = SEGMENTS) -> Source:
        """See ``Transfers``."""
        keys = [(item.pack, item.sha256) for item in order]
        cancellation = self._cancellation()
        urls = PullUrls(self._catalog, manifest_id, keys, cancellation.check, kind=kind)
        return _SignedSource(self._retrying(urls, cancellation), cancellation)

    def upload_source(self, upload: Upload) -> Source:
        """See ``Transfers``."""
        cancellation = self._cancellation()
        return _SignedSource(self._retrying(ResumeUrls(self._catalog, upload), cancellation), cancellation)

    def upload_sink(self, upload: Upload) -> Sink[SegmentRef]:
        """See ``Transfers``."""
        cancellation = self._cancellation()
        urls = UploadUrls(self._catalog, upload.id, cancellation.check)
        return _SignedSink(upload.id, self._retrying(urls, cancellation), cancellation, SegmentRef)

    def patch_sink(self, upload: Upload) -> Sink[PatchesRef]:
        """See ``Transfers``."""
        cancellation = self._cancellation()
        urls = UploadUrls(self._catalog, upload.id, cancellation.check, kind=PATCHES)
        return _SignedSink(upload.id, self._retrying(urls, cancellation), cancellation, PatchesRef)

    def _cancellation(self) -> Cancellation:
        return Cancellation(self._progress.alive, self._settings.sleep)

    def _retrying(
        self, urls: t.Callable[[Key, t.Optional[SignedUrl]], SignedUrl], cancellation: Cancellation
    ) -> RetryingTransfer[Key]:
        return RetryingTransfer(
            self._transfer,
            urls,
            self._settings.patience,
            cancellation=cancellation,
            sleep=cancellation.sleep,
            clock=self._settings.clock,
        )


class _SignedSource:
    def __init__(self, transfer: RetryingTransfer[t.Tuple[str, str]], cancellation: Cancellation) -> None:
        self._transfer = transfer
        self._cancellation = cancellation

    def fetch(self, item: ObjectRef, offset: int, length: int) -> Buffer:
        return self._transfer.fetch((item.pack, item.sha256), offset, length)

    def cancel(self) -> None:
        self._cancellation.cancel()


class _SignedSink(t.Generic[Stored]):
    def __init__(
        self,
        upload_id: str,
        transfer: RetryingTransfer[t.Tuple[str, int]],
        cancellation: Cancellation,
        stored: t.Callable[[str, str, int], Stored],
    ) -> None:
        self._upload_id = upload_id
        self._transfer = transfer
        self._cancellation = cancellation
        self._stored: t.Callable[[str, str, int], Stored] = stored

    def put(self, data: bytes) -> Stored:
        name = chunk_id(data).hex()
        self._transfer.put((name, len(data)), data)
        return self._stored(self._upload_id, name, len(data))

    def cancel(self) -> None:
        self._cancellation.cancel()
