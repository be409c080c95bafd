# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import (
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
    short_body,
    status,
)

DATA = os.urandom(3 << 20)


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
