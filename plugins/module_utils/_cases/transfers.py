# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Sources and sinks of a transfer: the server's client names the URLs, the storage's client uses them."""

from __future__ import annotations

import threading
import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.records import Upload
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.chunks import chunk_id
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import SegmentRef
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.retrying import RetryingTransfer
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.signed import SignedTransfer, SignedUrl
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.sources import (
    Buffer,
    SegmentSink,
    SegmentSource,
)

# URLs asked for with one request, in the order in which they will be used.
_URL_PAGE = 64
# A URL that ends sooner is not used any more.
_URL_MARGIN_SECONDS = 20.0

SegmentKey = t.Tuple[str, str]


class Transfers(t.Protocol):
    """Makes the sources and sinks of one task."""

    def pull_source(self, manifest_id: str, order: t.Iterable[SegmentRef]) -> SegmentSource:
        """Return a source of the segments of a manifest, which will be read in about this ``order``."""
        ...  # pylint: disable=unnecessary-ellipsis

    def upload_source(self, upload: Upload) -> SegmentSource:
        """Return a source of the segments that an open upload has already."""
        ...  # pylint: disable=unnecessary-ellipsis

    def upload_sink(self, upload: Upload) -> SegmentSink:
        """Return a sink for the segments of an open upload."""
        ...  # pylint: disable=unnecessary-ellipsis


class SignedTransfers:
    """Transfers by signed URLs; ``delays`` and ``sleep`` are those of ``RetryingTransfer``."""

    def __init__(
        self,
        catalog: CatalogClient,
        transfer: SignedTransfer,
        delays: t.Callable[[], t.Iterable[float]],
        sleep: t.Callable[[float], None],
    ) -> None:
        self._catalog = catalog
        self._transfer = transfer
        self._delays = delays
        self._sleep = sleep

    def pull_source(self, manifest_id: str, order: t.Iterable[SegmentRef]) -> SegmentSource:
        """See ``Transfers``."""
        urls = PullUrls(self._catalog, manifest_id, order)
        return _SignedSource(RetryingTransfer(self._transfer, urls, self._delays, self._sleep))

    def upload_source(self, upload: Upload) -> SegmentSource:
        """See ``Transfers``."""
        urls = ResumeUrls(self._catalog, upload)
        return _SignedSource(RetryingTransfer(self._transfer, urls, self._delays, self._sleep))

    def upload_sink(self, upload: Upload) -> SegmentSink:
        """See ``Transfers``."""
        urls = UploadUrls(self._catalog, upload.id)
        return _SignedSink(upload.id, RetryingTransfer(self._transfer, urls, self._delays, self._sleep))


class _SignedSource:
    def __init__(self, transfer: RetryingTransfer[SegmentKey]) -> None:
        self._transfer = transfer

    def fetch(self, segment: SegmentRef, offset: int, length: int) -> Buffer:
        return self._transfer.fetch((segment.pack, segment.sha256), offset, length)


class _SignedSink:
    def __init__(self, upload_id: str, transfer: RetryingTransfer[tuple[str, int]]) -> None:
        self._upload_id = upload_id
        self._transfer = transfer

    def put(self, data: bytes) -> SegmentRef:
        name = chunk_id(data).hex()
        self._transfer.put((name, len(data)), data)
        return SegmentRef(self._upload_id, name, len(data))


class PullUrls:
    """Signed URLs of segments: a page at a time, in the order of use, renewed when they end."""

    def __init__(self, catalog: CatalogClient, manifest_id: str, order: t.Iterable[SegmentRef]) -> None:
        self._catalog = catalog
        self._manifest_id = manifest_id
        self._order = list(dict.fromkeys((segment.pack, segment.sha256) for segment in order))
        self._place = {key: number for number, key in enumerate(self._order)}
        self._known: dict[SegmentKey, SignedUrl] = {}
        self._lock = threading.Lock()

    def __call__(self, key: SegmentKey, renew: bool) -> SignedUrl:
        with self._lock:
            known = self._known.get(key)
            if known is None or renew or known.expires_at < time.time() + _URL_MARGIN_SECONDS:
                self._ask(key)
            return self._known[key]

    def _ask(self, key: SegmentKey) -> None:
        start = self._place[key]
        page = self._order[start : start + _URL_PAGE]
        for name, signed in self._catalog.segment_urls(self._manifest_id, page).items():
            self._known[name] = SignedUrl(signed.url, float(signed.expires_at), dict(signed.headers))


class ResumeUrls:
    """URLs to read segments of one upload, as they came with it, and all anew when one is refused."""

    def __init__(self, catalog: CatalogClient, upload: Upload) -> None:
        self._catalog = catalog
        self._upload_id = upload.id
        # None of them lives longer than the upload.
        self._expires_at = upload.expires_at
        self._urls = {stored.sha256: stored.url for stored in upload.segments}
        self._lock = threading.Lock()

    def __call__(self, key: SegmentKey, renew: bool) -> SignedUrl:
        with self._lock:
            if renew:
                upload = self._catalog.upload(self._upload_id)
                self._urls.update({stored.sha256: stored.url for stored in upload.segments})
            return SignedUrl(self._urls[key[1]], self._expires_at)


class UploadUrls:
    """URLs to store segments of one upload, asked for one at a time as segments get ready."""

    def __init__(self, catalog: CatalogClient, upload_id: str) -> None:
        self._catalog = catalog
        self._upload_id = upload_id
        self._lock = threading.Lock()

    def __call__(self, key: tuple[str, int], renew: bool) -> SignedUrl:
        with self._lock:
            signed = self._catalog.upload_urls(self._upload_id, [key])[key[0]]
        return SignedUrl(signed.url, float(signed.expires_at), dict(signed.headers))
