# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api import errors
from ansible_collections.macfleet.parallels.plugins.module_utils._api.hints import HINTS
from ansible_collections.macfleet.parallels.plugins.module_utils._base.connection_errors import (
    AnswerTooLong,
    NotConnected,
    UrlRefused,
)
from ansible_collections.macfleet.parallels.tests.unit.support.http_client import TOKEN, client
from ansible_collections.macfleet.parallels.tests.unit.support.recording import BASE_URL, Recording, refusal


def test_an_address_that_only_the_way_to_the_server_refuses(server: Recording) -> None:
    server.expect("GET", "things", error=UrlRefused("the host 'x' or the path of the address is not valid"))
    with pytest.raises(errors.BadRequest, match="is not valid") as failure:
        client(server, 9.0).json("GET", "things", "read things")
    assert failure.value.code == "invalid_url"


@pytest.mark.parametrize(
    ("status", "word", "kind"),
    [
        (400, "bad_request", errors.BadRequest),
        (400, "invalid_index", errors.BadRequest),
        (401, "invalid_credentials", errors.Unauthenticated),
        (401, "token_expired", errors.Unauthenticated),
        (401, "grant_expired", errors.Unauthenticated),
        (403, "forbidden", errors.Forbidden),
        (403, "grant_scope", errors.Forbidden),
        (404, "unknown_manifest", errors.Missing),
        (404, "unknown_segment", errors.Missing),
        (409, "tainted", errors.Blocked),
        (409, "revoked", errors.Blocked),
        (400, "tainted", errors.Blocked),
        (409, "version_exists", errors.Conflict),
        (409, "upload_changed", errors.Conflict),
        (410, "upload_expired", errors.Conflict),
        (413, "payload_too_large", errors.TooLarge),
        (429, "locked_out", errors.Throttled),
        (500, "internal_error", errors.Unavailable),
        (503, "unavailable", errors.Unavailable),
        (418, "teapot", errors.ApiError),
    ],
)
def test_a_refusal_keeps_the_word_of_the_server(server: Recording, status: int, word: str, kind: type) -> None:
    server.expect("GET", "things", **refusal(word, status, "This is why."))
    with pytest.raises(errors.ApiError) as failure:
        client(server).json("GET", "things", "read things")
    assert failure.type is kind
    assert failure.value.code == word
    assert failure.value.message == f"Could not read things at {BASE_URL}/api/v1: This is why."
    assert failure.value.details == {"attempts": 1, "status": status, "request_id": "r-1"}


def test_a_refusal_without_a_word_gets_one_by_its_status(server: Recording) -> None:
    server.expect("GET", "things", status=404, reply={"message": "gone"})
    server.expect("GET", "things", status=500, reply=None)
    with pytest.raises(errors.Missing) as failure:
        client(server).json("GET", "things", "read things")
    assert failure.value.code == "not_found"
    with pytest.raises(errors.Unavailable, match="answered 500") as broken:
        client(server).json("GET", "things", "read things")
    assert broken.value.code == "internal_error"


def test_the_message_of_a_server_is_one_short_line_without_our_secrets(server: Recording) -> None:
    server.expect("GET", "things", **refusal("forbidden", 403, f"no\n\x1b[31m\t{TOKEN} " + "x" * 5000))
    with pytest.raises(errors.Forbidden) as failure:
        client(server).json("GET", "things", "read things")
    assert TOKEN not in str(failure.value)
    assert str(failure.value).isprintable()
    assert len(str(failure.value)) < 1300


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"raw": b"<html>", "content_type": "text/html; charset=utf-8"}, "200 with 'text/html' instead of JSON"),
        ({"raw": b"{}", "content_type": ""}, "200 with no content type instead of JSON"),
        ({"raw": b"{"}, "JSON that cannot be read"),
        ({"raw": b"\xff"}, "JSON that cannot be read"),
        ({"raw": b"[" * 200_000}, "JSON that cannot be read"),
        ({"raw": b"no", "content_type": "text/plain", "status": 404}, "404 with 'text/plain' instead of JSON"),
        (
            {"status": 302, "raw": b"", "reply_headers": {"location": "https://login/?next=x"}},
            r"302 and points to 'https://login/\?next=\*\*\*'",
        ),
    ],
)
def test_what_is_not_a_catalog_is_called_so(server: Recording, answer: dict[str, t.Any], reason: str) -> None:
    server.expect("GET", "things", **answer)
    with pytest.raises(errors.BadReply, match=reason) as failure:
        client(server).json("GET", "things", "read things")
    assert failure.value.code == "bad_reply"
    assert "catalog_url" in str(failure.value)


def test_a_gateway_without_a_server_behind_it_is_unavailable(server: Recording) -> None:
    server.expect("GET", "things", status=502, raw=b"<html>", content_type="text/html")
    with pytest.raises(errors.Unavailable, match="the server answered 502") as failure:
        client(server).json("GET", "things", "read things")
    assert failure.value.code == "unavailable"


def test_a_proxy_that_does_not_take_the_body_is_named(server: Recording) -> None:
    server.expect("POST", "things", status=413, raw=b"<html>", content_type="text/html")
    with pytest.raises(errors.TooLarge, match="a proxy .* 413.*client_max_body_size") as failure:
        client(server).json("POST", "things", "commit a thing")
    assert failure.value.code == "payload_too_large"


def test_bytes_are_checked_against_their_digest(server: Recording) -> None:
    server.expect_bytes("things/1", b"abc")
    server.expect_bytes("things/1", b"abd", digest="ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    assert client(server).read_bytes("things/1", "read a thing", max_bytes=10) == b"abc"
    with pytest.raises(errors.BadReply, match="digest"):
        client(server).read_bytes("things/1", "read a thing", max_bytes=10)
    assert server.requests[0].max_body_bytes == 10


def test_bytes_that_are_too_many(server: Recording) -> None:
    server.expect("GET", "things/1", error=AnswerTooLong("the answer has more than 10 bytes"))
    with pytest.raises(errors.BadReply, match="Could not read a thing .* more than 10 bytes"):
        client(server).read_bytes("things/1", "read a thing", max_bytes=10)


def test_no_secret_in_what_can_be_printed(server: Recording) -> None:
    server.expect("GET", "things", error=NotConnected(f"proxy says {TOKEN}"))
    with pytest.raises(errors.Unreachable) as failure:
        client(server).json("GET", "things", "read things")
    assert TOKEN not in str(failure.value)
    assert TOKEN not in repr(server.requests[0])


def test_each_word_of_the_server_has_a_hint() -> None:
    source = Path(__file__).parents[5] / "roles/catalog_server/files/catalog_server/errors.py"
    words = re.findall(r'^    "([a-z_]+)": \(\s*[0-9]{3},', source.read_text("utf-8"), re.MULTILINE)
    assert len(words) > 30 and set(words) <= HINTS.keys()
