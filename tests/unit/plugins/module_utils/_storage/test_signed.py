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
    StorageChanged,
    StorageDenied,
    StorageError,
    StorageFull,
    StorageMissing,
    StorageRefused,
    StorageThrottled,
    StorageUnavailable,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.signed import SignedTransfer
from ansible_collections.macfleet.parallels.tests.unit.support.storage import (
    Handler,
    StorageServer,
    close_afterwards,
    hang_up,
    short_body,
    stall,
    status,
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


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_redirect_says_where_it_leads_and_what_may_be_wrong(
    server: StorageServer, transfer: SignedTransfer, method: str
) -> None:
    server.faults = [status(301, Location="https://catalog.example.com/objects/a?signature=s3cret")]
    with pytest.raises(StorageRefused, match="points to https://catalog.example.com:443; .*public_url") as caught:
        if method == "GET":
            transfer.fetch(server.url("a"), 0, 10)
        else:
            transfer.put(server.url("a"), DATA)
    assert "s3cret" not in str(caught.value) and len(server.seen) == 1


def test_a_body_that_a_proxy_does_not_take_names_its_setting(server: StorageServer, transfer: SignedTransfer) -> None:
    server.faults = [status(413)]
    with pytest.raises(StorageRefused, match="413.*client_max_body_size"):
        transfer.put(server.url("a"), DATA)


@pytest.mark.parametrize(("method", "words"), [("GET", "ask the administrator"), ("PUT", "Nothing was stored")])
def test_what_is_not_found_may_be_in_another_place(
    server: StorageServer, transfer: SignedTransfer, method: str, words: str
) -> None:
    server.faults = [status(404)]
    with pytest.raises(StorageMissing) as caught:
        if method == "GET":
            transfer.fetch(server.url("a"), 0, 10)
        else:
            transfer.put(server.url("a"), DATA)
    assert caught.value.hint is not None and "public_url" in caught.value.hint and words in caught.value.hint
    assert "delete" not in str(caught.value)


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


@pytest.mark.parametrize("kept", [0, 1, (1 << 20) + 3])
def test_a_short_body_is_retryable_and_says_what_arrived(
    server: StorageServer, transfer: SignedTransfer, kept: int
) -> None:
    server.objects["/a"] = DATA
    server.faults = [short_body(kept)]
    buffer = bytearray(2 << 20)
    with pytest.raises(StorageUnavailable) as caught:
        transfer.fetch_into(server.url("a"), 7, buffer)
    assert caught.value.retryable
    received = caught.value.received
    assert kept - (1 << 20) < received <= kept
    assert buffer[:received] == DATA[7 : 7 + received]
    assert transfer.fetch(server.url("a"), 0, 10) == DATA[:10]


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


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (301, StorageRefused),
        (307, StorageRefused),
        (400, StorageRefused),
        (401, StorageDenied),
        (403, StorageDenied),
        (404, StorageMissing),
        (405, StorageRefused),
        (416, StorageChanged),
        (429, StorageThrottled),
        (500, StorageUnavailable),
        (502, StorageUnavailable),
        (503, StorageThrottled),
        (504, StorageUnavailable),
        (507, StorageFull),
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_each_status_is_an_error_of_ours(
    server: StorageServer, transfer: SignedTransfer, code: int, kind: type[StorageError], method: str
) -> None:
    server.objects["/a"] = DATA
    server.faults = [status(code, Location="http://127.0.0.1:9/elsewhere")]
    with pytest.raises(StorageError) as caught:
        if method == "GET":
            transfer.fetch(server.url("a"), 0, 10)
        else:
            transfer.put(server.url("a"), DATA)
    assert caught.value.__class__ is kind
    assert "s3cret" not in str(caught.value)
    assert len(server.seen) == 1
    # The answer was read, so the connection stays.
    transfer.fetch(server.url("a"), 0, 10)
    assert server.connections == 1


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("", None)])
def test_tells_how_long_to_wait(
    server: StorageServer, transfer: SignedTransfer, value: str, seconds: float | None
) -> None:
    server.faults = [status(503, Retry_After=value)]
    with pytest.raises(StorageThrottled) as caught:
        transfer.fetch(server.url("a"), 0, 10)
    assert caught.value.delay_seconds == seconds


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
    ("code", "headers", "kind"),
    [
        (206, {"Content-Range": "bytes 1-10/100"}, StorageChanged),
        (206, {"Content-Range": "bytes 0-10/100"}, StorageChanged),
        (206, {"Content-Range": "bytes 0-9/100", "Content-Length": "11"}, StorageChanged),
        (206, {"Content-Range": "rubbish"}, StorageChanged),
        (206, {}, StorageRefused),
        (200, {"Content-Length": "11"}, StorageRefused),
        (206, {"Content-Range": "bytes 0-9/100", "Content-Encoding": "gzip"}, StorageRefused),
    ],
)
def test_another_range_is_no_answer(
    server: StorageServer, transfer: SignedTransfer, code: int, headers: dict[str, str], kind: type[StorageError]
) -> None:
    def other(handler: Handler) -> bool:
        handler.answer(code, b"x" * int(headers.get("Content-Length", 10)), headers)
        return True

    server.faults = [other]
    with pytest.raises(kind):
        transfer.fetch(server.url("a"), 0, 10)


def test_everything_is_an_answer_if_everything_was_asked_for(server: StorageServer, transfer: SignedTransfer) -> None:
    server.faults = [status(200, b"0123456789"), status(200, b"0123456789")]
    assert bytes(transfer.fetch(server.url("a"), 0, 10)) == b"0123456789"
    with pytest.raises(StorageRefused):
        transfer.fetch(server.url("a"), 1, 9)


def test_a_200_that_names_the_range_is_an_answer(server: StorageServer, transfer: SignedTransfer) -> None:
    server.faults = [status(200, b"56", Content_Range="bytes 5-6/10")]
    assert bytes(transfer.fetch(server.url("a"), 5, 2)) == b"56"


def test_a_body_without_end_is_not_read(server: StorageServer, transfer: SignedTransfer) -> None:
    def endless(handler: Handler) -> bool:
        handler.send_response(206)
        handler.send_header("Content-Range", "bytes 0-9/1000000")
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(bytes(1 << 20))
        handler.close_connection = True
        return True

    server.faults = [endless]
    with pytest.raises(StorageChanged, match="more bytes"):
        transfer.fetch(server.url("a"), 0, 10)


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
