# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import http.client
import os
import ssl
import threading

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.link_meter import LinkMeter
from ansible_collections.macfleet.parallels.plugins.module_utils._base.signed_url import SignedUrl
from ansible_collections.macfleet.parallels.plugins.module_utils._base.transport import Transport, TransportSettings
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import (
    InsecureUrl,
    StorageDenied,
    StorageRefused,
    StorageUnavailable,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.signed import SignedTransfer
from ansible_collections.macfleet.parallels.tests.unit.support.storage import (
    Handler,
    StorageServer,
    close_afterwards,
    hang_up,
    stall,
)

from .conftest import connect

DATA = os.urandom(3 << 20)


def test_reads_a_range_and_stores_over_one_connection(server: StorageServer, transfer: SignedTransfer) -> None:
    transfer.put(server.url("a/b", headers={"X-Bound": "yes"}), memoryview(DATA))
    assert server.objects == {"/a/b": DATA}
    assert transfer.fetch(server.url("a/b"), 17, 2 << 20) == DATA[17 : 17 + (2 << 20)]
    assert transfer.fetch(server.url("a/b"), len(DATA) - 1, 1) == DATA[-1:]
    assert server.connections == 1
    (_method, path, put_headers), (_again, _path, get_headers), _last = server.seen
    assert path == "/a/b?signature=s3cret"
    assert put_headers["X-Bound"] == "yes"
    assert put_headers["Content-Length"] == str(len(DATA))
    assert put_headers["Content-Type"] == "application/octet-stream"
    assert get_headers["Range"] == f"bytes=17-{16 + (2 << 20)}"
    assert get_headers["Accept-Encoding"] == "identity"


def test_fills_the_buffer_that_it_is_given(server: StorageServer, transfer: SignedTransfer) -> None:
    server.objects["/a"] = DATA
    buffer = bytearray(10)
    transfer.fetch_into(server.url("a"), 5, memoryview(buffer)[2:8])
    assert bytes(buffer) == b"\0\0" + DATA[5:11] + b"\0\0"


def test_what_fetch_gives_cannot_be_changed(server: StorageServer, transfer: SignedTransfer) -> None:
    server.objects["/a"] = DATA
    assert transfer.fetch(server.url("a"), 0, 8).readonly


def test_a_request_counts_what_it_moves(server: StorageServer) -> None:
    moved: list[int] = []
    with SignedTransfer(connect, moved.append) as transfer:
        transfer.put(server.url("a"), DATA)
        assert moved == [1 << 16] * 48
        transfer.fetch(server.url("a"), 0, len(DATA))
        assert sum(moved) == 2 * len(DATA) and len(moved) >= 6


def test_a_request_can_be_ended_while_it_goes_on(server: StorageServer) -> None:
    def enough(_count: int) -> None:
        raise KeyError

    server.objects["/a"] = DATA
    with SignedTransfer(connect, enough) as transfer:
        for ask in (lambda: transfer.fetch(server.url("a"), 0, 10), lambda: transfer.put(server.url("b"), DATA)):
            with pytest.raises(KeyError):
                ask()
    server.finish()
    assert "/b" not in server.objects


def test_what_requests_cost_is_measured(server: StorageServer) -> None:
    server.objects["/a"] = DATA
    meter = LinkMeter()
    with SignedTransfer(connect, meter=meter) as transfer:
        transfer.fetch(server.url("a"), 0, len(DATA))
    (sample,) = meter.samples()
    assert 0 < sample.first_byte_seconds < sample.seconds < 5 and sample.count == len(DATA)


def test_no_other_credentials_go_to_a_storage(server: StorageServer, transfer: SignedTransfer) -> None:
    transfer.put(server.url("a"), b"1")
    transfer.fetch(server.url("a"), 0, 1)
    for _method, _path, headers in server.seen:
        assert not {"authorization", "x-api-key", "cookie"} & {name.lower() for name in headers}


def test_an_unencrypted_url_is_not_used_where_the_server_was_asked_by_https(server: StorageServer) -> None:
    with SignedTransfer(connect, https_only=True) as transfer:
        for ask in (lambda: transfer.fetch(server.url("a"), 0, 10), lambda: transfer.put(server.url("a"), DATA)):
            with pytest.raises(InsecureUrl, match="public_url.*trusted_proxies") as caught:
                ask()
            assert caught.value.code == "insecure_url" and "s3cret" not in str(caught.value)
    assert not server.clients


def test_a_failure_names_the_proxy(server: StorageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody listens on port 1.
    monkeypatch.setenv("http_proxy", "http://user:s3cret@127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with SignedTransfer(Transport(TransportSettings()).connect) as transfer:
        with pytest.raises(StorageUnavailable, match="refused through the proxy http://127.0.0.1:1") as caught:
            transfer.fetch(SignedUrl("http://storage.invalid/a", 60.0), 0, 10)
    assert "s3cret" not in str(caught.value)


def test_a_proxy_that_cannot_be_used_is_final(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with SignedTransfer(Transport(TransportSettings()).connect) as transfer:
        with pytest.raises(StorageRefused, match="not an HTTP proxy"):
            transfer.fetch(SignedUrl("http://storage.invalid/a", 60.0), 0, 10)


def test_a_certificate_of_the_storage_that_is_not_valid_is_final() -> None:
    def refused(scheme: str, host: str, port: int) -> http.client.HTTPConnection:
        error = ssl.SSLCertVerificationError(1, "certificate verify failed")
        error.verify_message = "self-signed certificate"
        raise error

    with SignedTransfer(refused) as transfer, pytest.raises(StorageRefused, match="certificate is not valid.*ca_path"):
        transfer.fetch(SignedUrl("https://storage.invalid/a", 60.0), 0, 10)


def test_stores_an_empty_object(server: StorageServer, transfer: SignedTransfer) -> None:
    transfer.put(server.url("empty"), b"")
    assert server.objects == {"/empty": b""}


def test_workers_do_not_share_connections(server: StorageServer, transfer: SignedTransfer) -> None:
    server.objects["/a"] = DATA
    together = threading.Barrier(3, timeout=10)

    def wait(_handler: Handler) -> bool:
        together.wait()
        return False

    server.faults = [wait] * 3
    results: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: results.append(bytes(transfer.fetch(server.url("a"), 0, 1000))))
        for _worker in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [DATA[:1000]] * 3
    assert server.connections == 3
    transfer.fetch(server.url("a"), 0, 1000)
    assert server.connections == 3


def test_a_stalled_server_is_a_retryable_error(server: StorageServer, transfer: SignedTransfer) -> None:
    server.faults = [stall]
    with pytest.raises(StorageUnavailable, match="no answer within 0.5 seconds"):
        transfer.fetch(server.url("a"), 0, 10)


def drip(handler: Handler) -> bool:
    """Send an answer of which a byte comes long before each timeout."""
    handler.send_response(206)
    handler.send_header("Content-Length", "1000000")
    handler.send_header("Content-Range", "bytes 0-999999/1000000")
    handler.end_headers()
    with contextlib.suppress(OSError):
        while not handler.server.released.wait(0.05):
            handler.wfile.write(b"x")
    handler.hang_up()
    return True


def test_bytes_that_come_too_slowly_are_taken_as_silence(server: StorageServer) -> None:
    server.faults = [drip]
    with SignedTransfer(Transport(TransportSettings(timeout_seconds=0.5)).connect) as transfer:
        with pytest.raises(StorageUnavailable, match="only [0-9]+ bytes moved within"):
            transfer.fetch(server.url("a"), 0, 1_000_000)


def test_nobody_there(server: StorageServer, transfer: SignedTransfer) -> None:
    # Port 0 is nobody's.
    with pytest.raises(StorageUnavailable):
        transfer.fetch(SignedUrl("http://127.0.0.1:1/a", 60.0), 0, 10)


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_kept_connection_that_was_closed_is_opened_again(
    server: StorageServer, transfer: SignedTransfer, method: str
) -> None:
    server.objects["/a"] = DATA
    server.faults = [close_afterwards]
    transfer.fetch(server.url("a"), 0, 10)
    if method == "GET":
        assert transfer.fetch(server.url("a"), 0, 10) == DATA[:10]
    else:
        transfer.put(server.url("b"), DATA)
        assert server.objects["/b"] == DATA
    assert server.connections == 2


def test_a_kept_connection_is_opened_again_only_once(server: StorageServer, transfer: SignedTransfer) -> None:
    server.objects["/a"] = DATA
    transfer.fetch(server.url("a"), 0, 10)
    server.faults = [hang_up, hang_up]
    with pytest.raises(StorageUnavailable):
        transfer.fetch(server.url("a"), 0, 10)
    assert len(server.seen) == 3
    server.faults = [hang_up]
    with pytest.raises(StorageUnavailable):
        transfer.fetch(server.url("a"), 0, 10)
    assert len(server.seen) == 4


def test_an_early_answer_to_a_put_is_heard(server: StorageServer, transfer: SignedTransfer) -> None:
    def refuse_unread(handler: Handler) -> bool:
        handler.answer(403, b"", {"Connection": "close"})
        handler.close_connection = True
        return True

    server.faults = [refuse_unread]
    with pytest.raises((StorageDenied, StorageUnavailable)):
        transfer.put(server.url("a"), bytes(64 << 20))


@pytest.mark.parametrize(
    "url",
    ["ftp://h/a", "file:///etc/passwd", "/a", "http:///a", "http://user:secret@h/a", "http://h:port/a", "http://[h/a"],
)
def test_only_plain_urls_are_used(transfer: SignedTransfer, url: str) -> None:
    with pytest.raises(StorageRefused) as caught:
        transfer.fetch(SignedUrl(url, 60.0), 0, 10)
    assert "secret" not in str(caught.value)


def test_what_cannot_be_sent_is_not_shown(server: StorageServer, transfer: SignedTransfer) -> None:
    for signed in (server.url("a b", "s3cret"), server.url("a", headers={"X-Key": "s3cret\r\nHost: other"})):
        with pytest.raises(StorageRefused) as caught:
            transfer.fetch(signed, 0, 10)
        assert "s3cret" not in str(caught.value)
    assert not server.seen


def test_a_url_does_not_show_itself(server: StorageServer) -> None:
    assert "s3cret" not in repr(server.url("a", headers={"X-Key": "s3cret"}))


def test_closed_transfers_keep_nothing(server: StorageServer, transfer: SignedTransfer) -> None:
    server.objects["/a"] = DATA
    transfer.fetch(server.url("a"), 0, 10)
    transfer.close()
    transfer.fetch(server.url("a"), 0, 10)
    transfer.fetch(server.url("a"), 0, 10)
    assert server.connections == 3
