# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api import errors
from ansible_collections.macfleet.parallels.plugins.module_utils._base.connection_errors import NotConnected, TlsRefused
from ansible_collections.macfleet.parallels.tests.unit.support.http_client import TOKEN, Pauses, client
from ansible_collections.macfleet.parallels.tests.unit.support.recording import BASE_URL, Recording, refusal


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
