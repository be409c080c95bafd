# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A metadata server that keeps silent, and a storage that works: real servers, the transfer as it is composed."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import threading
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.auth import GrantHolder
from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.http import Http
from ansible_collections.macfleet.parallels.plugins.module_utils._api.uploads import Upload
from ansible_collections.macfleet.parallels.plugins.module_utils._base.progress import Progress
from ansible_collections.macfleet.parallels.plugins.module_utils._base.repeated import Repeated
from ansible_collections.macfleet.parallels.plugins.module_utils._base.retry import NEVER, Patience
from ansible_collections.macfleet.parallels.plugins.module_utils._base.transport import Transport, TransportSettings
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.transfers import (
    SignedTransfers,
    TransferSettings,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import SegmentRef
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.signed import SignedTransfer
from ansible_collections.macfleet.parallels.tests.unit.support.storage import Handler, StorageServer, serving

# One for sixty: a timeout of half a second stands for 30, a silence of two for 120. A segment has four ranges, and the
# storage gives 25 segments in a second, where one of 20 MB/s gives 37 of 32 MiB in a minute.
TIMEOUT_SECONDS = 0.5
SILENT_SECONDS = 2.0
GRANT_SECONDS = 4
RANGE_BYTES = 64 << 10
SEGMENT_BYTES = 4 * RANGE_BYTES
RANGE_SECONDS = 1 / 100
PACK = "0" * 32
SEGMENTS = [SegmentRef(PACK, f"{number:064x}", SEGMENT_BYTES) for number in range(400)]


class Metadata(http.server.BaseHTTPRequestHandler):
    """Renews grants and hands out URLs, unless the server is silent."""

    protocol_version = "HTTP/1.1"
    server: MetadataServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((time.monotonic(), self.path))
        if self.server.silent.is_set():
            # As if the packets were dropped, until the client gives up.
            self.server.over.wait(10)
            self.close_connection = True
            return
        if self.path.endswith("/grants/renew"):
            reply: dict[str, t.Any] = {"grant": "next", "expires_in": GRANT_SECONDS}
        else:
            reply = {"urls": [{**one, "url": self.server.url(one), "expires_in": 3600} for one in body["segments"]]}
        data = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: t.Any) -> None:
        """Say nothing."""


class MetadataServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, storage: StorageServer) -> None:
        super().__init__(("127.0.0.1", 0), Metadata)
        self.storage = storage
        self.silent = threading.Event()
        self.over = threading.Event()
        self.seen: list[tuple[float, str]] = []

    def url(self, segment: t.Mapping[str, t.Any]) -> str:
        return self.storage.url(f"{segment['sha256']}").url

    def handle_error(self, *words: t.Any) -> None:
        """A client that gave up is no error."""


class Host:
    """A transfer as it is composed on a host, whose grant is renewed beside it."""

    def __init__(self, storage: StorageServer, metadata: MetadataServer) -> None:
        self.storage = storage
        self.metadata = metadata
        self.progress = Progress()
        transport = Transport(TransportSettings(timeout_seconds=TIMEOUT_SECONDS, use_proxy=False))
        url = f"http://127.0.0.1:{metadata.server_port}"
        renewing = CatalogClient(Http(url, transport.send, timeout_seconds=TIMEOUT_SECONDS, patience=NEVER))
        self.grant = GrantHolder("first", GRANT_SECONDS, renewing.renew_grant, retry_seconds=TIMEOUT_SECONDS)
        patience = Patience(30.0, longest_seconds=0.5)
        http_client = Http(
            url,
            transport.send,
            authorization=self.grant.headers,
            timeout_seconds=TIMEOUT_SECONDS,
            patience=patience,
            sleep=self.progress.sleep,
        )
        transfer = SignedTransfer(transport.connect, self.progress.moved)
        settings = TransferSettings(patience, sleep=self.progress.sleep)
        self.transfers = SignedTransfers(CatalogClient(http_client), transfer, self.progress, settings)

    @contextlib.contextmanager
    def working(self) -> t.Iterator[None]:
        with self.progress.reporting(), Repeated(self.grant.keep, self.progress.fail, "grant"):
            yield

    @property
    def moved_bytes(self) -> int:
        return int(self.progress.snapshot()["moved_bytes"])

    def rate_over(self, seconds: float) -> float:
        before, began_at = self.moved_bytes, time.monotonic()
        time.sleep(seconds)
        return (self.moved_bytes - before) / (time.monotonic() - began_at)


@pytest.fixture(name="host")
def host_fixture() -> t.Iterator[Host]:
    with serving() as storage, MetadataServer(storage) as metadata:
        thread = threading.Thread(target=metadata.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        lock = threading.Lock()
        next_at = time.monotonic()

        def throttled(_handler: Handler) -> bool:
            nonlocal next_at
            with lock:
                # What a busy machine misses for a moment is made up for.
                next_at = max(next_at, time.monotonic() - 0.5) + RANGE_SECONDS
                at = next_at
            time.sleep(max(0.0, at - time.monotonic()))
            return False

        storage.faults = [throttled] * 100_000
        try:
            yield Host(storage, metadata)
        finally:
            metadata.over.set()
            metadata.shutdown()
            thread.join()


def test_a_pull_keeps_its_rate_while_the_metadata_server_is_silent(host: Host) -> None:
    host.storage.objects.update({f"/{segment.sha256}": bytes(SEGMENT_BYTES) for segment in SEGMENTS})
    source = host.transfers.pull_source("m", SEGMENTS)
    enough = threading.Event()

    def fetch(item: tuple[SegmentRef, int]) -> None:
        if not enough.is_set():
            assert len(source.fetch(item[0], item[1] * RANGE_BYTES, RANGE_BYTES)) == RANGE_BYTES

    with host.working(), ThreadPoolExecutor(host.transfers.fetch_workers) as pool:
        work = [pool.submit(fetch, (segment, part)) for segment in SEGMENTS for part in range(4)]
        host.rate_over(0.3)
        before = host.rate_over(1.0)
        # The grant is to be renewed when two of its four seconds have passed.
        host.metadata.silent.set()
        during = host.rate_over(SILENT_SECONDS)
        host.metadata.silent.clear()
        after = host.rate_over(1.0)
        enough.set()
        for one in work:
            one.result()
    assert before > 0
    assert during >= 0.9 * before, (before, during, after)
    assert host.grant.token() == "next"
    # The pause counts from the end of an attempt: so there are two in two seconds, and not one after the other.
    renewals = [when for when, path in host.metadata.seen if path.endswith("/renew")]
    assert all(later - earlier >= 0.9 * TIMEOUT_SECONDS for earlier, later in zip(renewals, renewals[1:]))


def test_a_push_goes_on_with_the_urls_that_it_has_and_then_waits(host: Host) -> None:
    sink = host.transfers.upload_sink(Upload("u", 0.0, "local", 1 << 20, "r", (), ()))
    with host.working(), ThreadPoolExecutor(host.transfers.put_workers) as pool:
        pool.submit(sink.put, os.urandom(SEGMENT_BYTES)).result()
        host.metadata.silent.set()
        work = [pool.submit(sink.put, os.urandom(SEGMENT_BYTES)) for _segment in range(40)]
        time.sleep(SILENT_SECONDS)
        # Nothing failed, and nothing is lost.
        assert not any(one.done() for one in work)
        host.metadata.silent.clear()
        stored = {one.result().sha256 for one in work}
    assert stored < {path[1:] for path in host.storage.objects}
    assert host.moved_bytes == 41 * SEGMENT_BYTES
    # Those that were finished meanwhile are asked for together.
    asked = [path for when, path in host.metadata.seen if path.endswith("/urls")]
    assert len(asked) < 41


def test_a_silent_server_does_not_keep_whoever_cancels_waiting(host: Host) -> None:
    host.metadata.silent.set()
    source = host.transfers.pull_source("m", SEGMENTS)
    with host.working(), ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(source.fetch, SEGMENTS[0], 0, RANGE_BYTES)
        time.sleep(0.1)
        began_at = time.monotonic()
        host.progress.fail(KeyError("cancelled"))
        with pytest.raises(KeyError):
            waiting.result()
    assert time.monotonic() - began_at < 3


@pytest.mark.parametrize("wrong", [0.0, 4_102_444_800.0])
def test_the_clock_of_a_host_may_say_1970_or_2100(host: Host, monkeypatch: pytest.MonkeyPatch, wrong: float) -> None:
    monkeypatch.setattr(time, "time", lambda: wrong)
    host.storage.objects.update({f"/{segment.sha256}": bytes(SEGMENT_BYTES) for segment in SEGMENTS})
    source = host.transfers.pull_source("m", SEGMENTS)
    deadline = time.monotonic() + 10
    with host.working():
        for segment in SEGMENTS:
            source.fetch(segment, 0, RANGE_BYTES)
            if host.grant.token() == "next":
                break
            assert time.monotonic() < deadline
    assert host.grant.token() == "next"
    # As long as its grant, it has used a few hundred URLs.
    assert sum(path.endswith("/urls") for _when, path in host.metadata.seen) <= 6
    assert sum(path.endswith("/renew") for _when, path in host.metadata.seen) == 1
