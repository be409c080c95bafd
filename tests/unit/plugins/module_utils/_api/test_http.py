# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api import errors
from ansible_collections.macfleet.parallels.plugins.module_utils._api.http import HINTS, Http, api_url
from ansible_collections.macfleet.parallels.plugins.module_utils._base.retry import Patience
from ansible_collections.macfleet.parallels.plugins.module_utils._base.transport import (
    AnswerTooLong,
    NotConnected,
    TlsRefused,
    UrlRefused,
)
from ansible_collections.macfleet.parallels.tests.unit.support.recording import BASE_URL, Recording, refusal

TOKEN = "s3cr3t-t0k3n"


@pytest.fixture
def server() -> t.Iterator[Recording]:
    recording = Recording()
    yield recording
    recording.finished()


class Pauses:
    """A clock that moves by the pauses only."""

    def __init__(self) -> None:
        self.all: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.all.append(seconds)

    def now(self) -> float:
        return sum(self.all)


def client(
    server: Recording, seconds: float = 0.0, pauses: Pauses | None = None, first_seconds: float | None = None
) -> Http:
    pauses = pauses or Pauses()
    return Http(
        BASE_URL,
        server.send,
        authorization=lambda: {"Authorization": f"Bearer {TOKEN}"},
        patience=Patience(seconds),
        first_patience=None if first_seconds is None else Patience(first_seconds),
        sleep=pauses.sleep,
        clock=pauses.now,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://host", "https://host/api/v1"),
        (" https://host:8443/ ", "https://host:8443/api/v1"),
        ("http://host/api", "http://host/api/v1"),
        ("http://host/catalog/api/v1/", "http://host/catalog/api/v1"),
        ("http://[::1]:80/x", "http://[::1]:80/x/api/v1"),
        ("http://[fe80::1%25eth0]:80", "http://[fe80::1%25eth0]:80/api/v1"),
        ("HTTPS://Host.example.com.//", "https://Host.example.com./api/v1"),
        ("http://bücher.example", "http://bücher.example/api/v1"),
    ],
)
def test_the_api_is_found_below_the_address(text: str, expected: str) -> None:
    assert api_url(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "ftp://host",
        "https://",
        "https://host:x",
        "https://host:99999",
        "https://host:0",
        "file:///etc/passwd",
        "http://catalog..x",
        "http://.example.com",
        f"http://{'a' * 64}.example.com",
        "http://a b.example.com",
        "http://exa\tmple.invalid",
        "http://host/a b",
        "http://host/\x00",
        "http://host/ä",
        "http://[::1",
    ],
)
def test_what_is_not_an_address_is_refused(text: str) -> None:
    with pytest.raises(errors.BadRequest, match="not a valid address of a metadata server") as failure:
        api_url(text)
    assert "catalog_url" in str(failure.value) and failure.value.code == "invalid_url"


def test_an_address_that_only_the_way_to_the_server_refuses(server: Recording) -> None:
    server.expect("GET", "things", error=UrlRefused("the host 'x' or the path of the address is not valid"))
    with pytest.raises(errors.BadRequest, match="is not valid") as failure:
        client(server, 9.0).json("GET", "things", "read things")
    assert failure.value.code == "invalid_url"


@pytest.mark.parametrize("text", ["https://root:pass@host", "https://host/?access_token=pass", "https://host/#pass"])
def test_credentials_in_the_address_are_refused_and_not_shown(text: str) -> None:
    with pytest.raises(errors.BadRequest) as failure:
        api_url(text)
    assert "pass" not in str(failure.value)


def test_a_request_says_who_asks_and_sends_json(server: Recording) -> None:
    server.expect(
        "POST",
        "things",
        body={"name": "ü"},
        reply={"done": True},
        query={"a": "b c"},
        headers={"Authorization": f"Bearer {TOKEN}", "Accept": "application/json", "X-Api-Key": None},
    )
    assert client(server).json("POST", "things", "make a thing", body={"name": "ü"}, query={"a": "b c"}) == {
        "done": True
    }


def test_a_reply_without_a_body(server: Recording) -> None:
    server.expect("DELETE", "things/1", status=204)
    assert client(server).json("DELETE", "things/1", "delete a thing") is None


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


# Retries


def test_what_may_be_asked_twice_is_tried_again(server: Recording) -> None:
    pauses = Pauses()
    server.expect("GET", "things", error=NotConnected("connection refused"))
    server.expect("GET", "things", status=503, reply={"message": "later", "error": "unavailable"})
    server.expect("GET", "things", reply=[1])
    assert client(server, 9.0, pauses).json("GET", "things", "read things") == [1]
    assert len(pauses.all) == 2


def test_attempts_are_bounded_and_counted(server: Recording) -> None:
    # Pauses of 0.25 to 0.5 and of 0.5 to 1 second; with the next one it would be more than 1.75.
    for _attempt in range(3):
        server.expect("GET", "things", error=NotConnected("connection refused"))
    with pytest.raises(errors.Unreachable) as failure:
        client(server, 1.74).json("GET", "things", "read things")
    assert failure.value.message == f"Could not read things at {BASE_URL}/api/v1: connection refused (3 attempts)."
    assert failure.value.code == "unreachable"


def test_a_server_that_has_answered_once_is_waited_for_longer(server: Recording) -> None:
    pauses = Pauses()
    http = client(server, 240.0, pauses, first_seconds=0.0)
    server.expect("GET", "things", error=NotConnected("connection refused"))
    with pytest.raises(errors.Unreachable):
        http.json("GET", "things", "read things")
    server.expect("GET", "things", status=404, reply={})
    with pytest.raises(errors.Missing):
        http.json("GET", "things", "read things")

    def down(_request: t.Any) -> t.Any:
        raise NotConnected("connection refused")

    for _attempt in range(9):
        server.expect("GET", "things", reply=down)
    server.expect("GET", "things", reply=[1])
    assert http.json("GET", "things", "read things") == [1]
    assert len(pauses.all) == 9 and pauses.now() > 45


@pytest.mark.parametrize("method", ["POST"])
def test_what_may_not_be_asked_twice_is_not(server: Recording, method: str) -> None:
    server.expect(method, "things", error=NotConnected("broken pipe"))
    with pytest.raises(errors.Unreachable):
        client(server, 9.0).json(method, "things", "make a thing")


def test_a_post_that_is_idempotent_is_tried_again(server: Recording) -> None:
    server.expect("POST", "things", body={}, error=NotConnected("broken pipe"))
    server.expect("POST", "things", body={}, reply=1)
    assert client(server, 9.0).json("POST", "things", "make a thing", body={}, idempotent=True) == 1


def test_what_an_attempt_before_has_deleted_is_deleted(server: Recording) -> None:
    server.expect("DELETE", "things/1", error=NotConnected("the connection was closed without an answer"))
    server.expect("DELETE", "things/1", **refusal("unknown_manifest", 404))
    assert client(server, 9.0).json("DELETE", "things/1", "delete a thing") is None


def test_what_was_not_there_at_first_is_missing(server: Recording) -> None:
    server.expect("DELETE", "things/1", **refusal("unknown_manifest", 404))
    with pytest.raises(errors.Missing):
        client(server, 9.0).json("DELETE", "things/1", "delete a thing")
    for status in (503, 404):
        server.expect("GET", "things/1", status=status, reply={})
    with pytest.raises(errors.Missing):
        client(server, 9.0).json("GET", "things/1", "read a thing")


@pytest.mark.parametrize(
    "answer",
    [
        {"error": TlsRefused("its certificate is not valid")},
        {"status": 500, "reply": {}},
        {"status": 409, "reply": {}},
        {"status": 429, "reply": {}},
        {"status": 429, "reply": {}, "reply_headers": {"retry-after": "3600"}},
    ],
)
def test_what_will_not_be_better_soon_is_not_tried_again(server: Recording, answer: dict[str, t.Any]) -> None:
    server.expect("GET", "things", **answer)
    with pytest.raises(errors.ApiError):
        client(server, 9.0).json("GET", "things", "read things")


PAGE = {"raw": b"<html>", "content_type": "text/html"}


@pytest.mark.parametrize(
    "answer",
    [PAGE, {**PAGE, "status": 403}, {**PAGE, "status": 404}, {**PAGE, "status": 500}, {"status": 429, "reply": {}}],
    ids=["login page", "firewall", "balancer", "gateway", "throttled"],
)
def test_what_answers_in_place_of_a_server_that_has_worked_may_pass(
    server: Recording, answer: dict[str, t.Any]
) -> None:
    http = client(server, 9.0)
    server.expect("GET", "things", reply=1)
    http.json("GET", "things", "read things")
    server.expect("GET", "things", **answer)
    server.expect("GET", "things", reply=2)
    assert http.json("GET", "things", "read things") == 2


def test_a_server_that_names_a_delay_gets_it(server: Recording) -> None:
    pauses = Pauses()
    server.expect("GET", "things", status=429, reply={}, reply_headers={"retry-after": "7"})
    server.expect("GET", "things", reply=1)
    assert client(server, 9.0, pauses).json("GET", "things", "read things") == 1
    assert pauses.all == [7.0]


# Bytes


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
    words = re.findall(r'^    "([a-z_]+)": [0-9]{3},$', source.read_text("utf-8"), re.MULTILINE)
    assert len(words) > 20 and set(words) <= HINTS.keys()
