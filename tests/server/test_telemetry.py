# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logs: JSON, and no secrets in them."""

from __future__ import annotations

import json
import logging

import pytest
from catalog_server.telemetry import JsonLines, redacted
from running import Server

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJ1aWQiOiJ4In0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "text",
    [
        f"got {TOKEN} from",
        f"Authorization: Bearer {TOKEN}",
        f"-{TOKEN}, {TOKEN}",
        "X-Api-Key: QUJDREVGOnNlY3JldHNlY3JldHNlY3JldA==",
        "GET /objects/a?expires=1&signature=c2lnbmF0dXJl HTTP/1.1",
        "https://x/?access_token=c2lnbmF0dXJl&a=b",
        "password=c2lnbmF0dXJl",
    ],
)
def test_redaction(text: str) -> None:
    clean = redacted(text)
    assert "***" in clean
    for secret in (TOKEN, "c2lnbmF0dXJl", "QUJDREVG"):
        assert secret not in clean


def test_ordinary_text_is_left_alone() -> None:
    text = "PUT /api/v1/objects/packs/0123456789abcdef/listing took 3 ms"
    assert redacted(text) == text


def test_a_record_is_one_line_of_json() -> None:
    error = ValueError(f"line one\nwith {TOKEN}")
    record = logging.LogRecord(
        "x", logging.ERROR, __file__, 1, "it %s", ("failed",), (ValueError, error, error.__traceback__)
    )
    record.status = 500
    text = JsonLines().format(record)
    line = json.loads(text)
    assert "\n" not in text
    assert (line["message"], line["level"], line["status"]) == ("it failed", "error", 500)
    assert "line one" in line["exception"]
    assert TOKEN not in text


def test_of_a_long_traceback_the_end_is_logged() -> None:
    error = ValueError(f"{'x' * 4_000_000} password={TOKEN} and its end")
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed", (), (ValueError, error, None))
    text = JsonLines().format(record)
    assert len(text) < 30_000
    assert json.loads(text)["exception"].endswith(" password=*** and its end")


@pytest.mark.parametrize("part", ["-eyJ", "eyJ.", "-eyJa.b", "bearer ", "bearer" + " " * 100, "secret", "a.", "-"])
def test_no_text_takes_the_square_of_its_length(part: str) -> None:
    # With the square of four million characters, it would take an hour.
    text = part * (4_000_000 // len(part))
    assert redacted(text)


def test_a_request_writes_a_short_line(server: Server) -> None:
    path = "/" + "-eyJ" * 15_000
    reply = server.call("GET", path)
    assert reply.status_code == 404
    server.line_of(reply)
    (line,) = [line for line in server.log.splitlines() if "-eyJ-eyJ" in line]
    assert len(line) < 2000 and json.loads(line)["path"].endswith("…")


def test_a_log_has_no_characters_that_a_terminal_takes_for_its_own() -> None:
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "\x1b[31m %s", ("\u202e",), None)
    record.path = "/api/\x9b31m/\u2028/\u202e\r\n"
    text = JsonLines().format(record)
    assert text.isascii() and text.isprintable()
    assert json.loads(text)["path"] == record.path
