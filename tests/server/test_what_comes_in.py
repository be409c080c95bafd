# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What comes in: text, types, empty values, cursors; and in which order a request is looked at."""

from __future__ import annotations

import base64
import json
import re
import sys
import threading
import typing as t
import unicodedata

import httpx
import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import StorageDenied
from catalog_server import cursors, texts
from catalog_server.app import ROUTERS
from catalog_server.catalog.schemas import ManifestEdit
from catalog_server.errors import BadRequest, Unavailable
from catalog_server.health.readiness import SLOW_SECONDS, Readiness
from catalog_server.keys import KeyRing
from catalog_server.models.catalog import Manifest
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, SecretStr
from pydantic.fields import FieldInfo
from routes import _flat
from rows import new_catalog_id, put_manifest
from running import PASSWORD, Server
from sockets import connect, everything, status_of
from transfer_client import Client

JSON = {"Content-Type": "application/json"}


def error_of(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]


@pytest.mark.parametrize("text", ["", "a b", "Gr\u0308n", "\U0001f468", "e\u0301"])
def test_equal_texts_are_equal_bytes(text: str) -> None:
    assert texts.clean(text) == texts.clean_line(text)
    assert texts.clean("e\u0301") == "\u00e9"


@pytest.mark.parametrize("character", ["\x00", "\ud800", "\x1b", "\x7f", "\x9b"])
def test_what_is_no_text(character: str) -> None:
    for check in (texts.clean, texts.clean_line):
        with pytest.raises(ValueError, match="not allowed"):
            check(f"a{character}b")


@pytest.mark.parametrize("character", ["\n", "\t", "\u202e", "\u200b"])
def test_what_is_no_name(character: str) -> None:
    assert texts.clean(f"a{character}b") == f"a{character}b"
    with pytest.raises(ValueError, match="not allowed"):
        texts.clean_line(f"a{character}b")


def test_what_is_shown_can_be_a_name() -> None:
    """All characters that Unicode has assigned; see ``texts.py``."""
    line = re.compile(texts.LINE_PATTERN)
    for number in range(sys.maxunicode + 1):
        category = unicodedata.category(chr(number))
        is_refused = category in ("Cc", "Cf", "Zl", "Zp")
        if category not in ("Cn", "Cs"):
            assert (line.fullmatch(chr(number)) is None) == is_refused, hex(number)


# Every string that a route takes


def _loose(annotation: t.Any, metadata: t.Sequence[t.Any], path: str) -> t.Iterator[str]:
    """The places in a type where a string may be anything."""
    origin, arguments = t.get_origin(annotation), t.get_args(annotation)
    if origin is t.Annotated:
        yield from _loose(arguments[0], [*metadata, *arguments[1:]], path)
    elif annotation in (str, SecretStr):
        functions = {one.func for one in metadata if isinstance(one, AfterValidator)}
        patterns = [one for one in metadata if getattr(one, "pattern", None)]
        patterns += [
            one for info in metadata if isinstance(info, FieldInfo) for one in info.metadata if hasattr(one, "pattern")
        ]
        if not functions & {texts.clean, texts.clean_line, texts._clean_secret} and not patterns:
            yield path
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not annotation.model_config.get("strict"):
            yield f"{path} is not strict"
        for name, field in annotation.model_fields.items():
            yield from _loose(field.annotation, field.metadata, f"{path}.{name}")
    elif origin is not t.Literal:
        for argument in arguments:
            yield from _loose(argument, metadata if argument in (str, SecretStr) else [], path)


def _longest(field: FieldInfo) -> int | None:
    lengths = [one.max_length for one in field.metadata if hasattr(one, "max_length")]
    for argument in t.get_args(field.annotation):
        lengths += [one.max_length for one in getattr(argument, "__metadata__", ()) if hasattr(one, "max_length")]
        for info in getattr(argument, "__metadata__", ()):
            lengths += [one.max_length for one in getattr(info, "metadata", ()) if hasattr(one, "max_length")]
    return min(lengths, default=None)


def test_what_is_stored_as_it_came_fits_its_column() -> None:
    lengths = {name: getattr(column.type, "length", None) for name, column in Manifest.__table__.columns.items()}
    stored = {name: field for name, field in ManifestEdit.model_fields.items() if lengths.get(name) is not None}
    assert "superseded_by" in stored
    assert [name for name, field in stored.items() if (_longest(field) or sys.maxsize) > lengths[name]] == []


@pytest.mark.parametrize("clean", [texts.clean, texts.clean_line])
def test_a_letter_has_few_marks(clean: t.Callable[[str], str]) -> None:
    assert clean("e" + "\u0323" * 30) == "\u1eb9" + "\u0323" * 29
    for marks in (31, 1000):
        with pytest.raises(ValueError, match="30 marks"):
            clean("e" + "\u0301\u0323" * marks)
    with pytest.raises(ValueError, match="20000 characters"):
        clean("e\u0301" * 10_001)


@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("PATCH", "/manifests/x", "description"),
        ("PATCH", "/manifests/x", "superseded_by"),
        ("POST", "/users", "password"),
    ],
)
def test_no_text_takes_the_square_of_its_length(server: Server, method: str, path: str, field: str) -> None:
    body = json.dumps({field: "a" + "\u0301\u0323" * 250_000}, ensure_ascii=False).encode()
    # Of a stranger, whose credentials nobody has looked at yet; the client waits for half a minute, and not for two.
    assert server.call(method, path, bearer="x", content=body, headers=JSON).status_code == 401
    assert server.call("GET", "/health/live").status_code == 200


def _routes() -> list[APIRoute]:
    return [route for router in ROUTERS for route in _flat(router)]


def test_every_string_that_comes_in_is_a_text() -> None:
    found = []
    for route in _routes():
        dependant = route.dependant
        for field in [
            *dependant.path_params,
            *dependant.query_params,
            *dependant.header_params,
            *dependant.body_params,
        ]:
            info = field.field_info
            found += list(_loose(info.annotation, info.metadata, f"{route.path} {field.name}"))
    assert found == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (rb'{"email": "a", "password": "\ud800"}', 400),
        (rb'{"email": "\ud800", "password": "a"}', 400),
        (rb'{"email": "a\u0000", "password": "a"}', 400),
        (rb'{"email": "a", "password": "a\u0000"}', 400),
        (rb'{"api_key": "\ud800"}', 400),
        (json.dumps({"api_key": base64.b64encode(b"a\0b:c").decode()}).encode(), 401),
        (b'{"email": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400),
    ],
)
def test_no_login_is_a_mistake_of_the_server(server: Server, body: bytes, status: int) -> None:
    reply = server.call("POST", "/auth/token", content=body, headers=JSON)
    assert reply.status_code == status
    assert "ud800" not in reply.text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/manifests/%00", None),
        ("GET", "/manifests?catalog_id=a%00", None),
        ("GET", "/manifests?cursor=%00", None),
        ("GET", "/manifests/resolve?catalog_id=a%00", None),
        ("GET", "/uploads/%00", None),
        ("DELETE", "/grants/%00", None),
        ("POST", "/grants", rb'{"verb": "pull", "catalog_id": "a\u0000"}'),
        ("POST", "/grants", rb'{"verb": "pull", "catalog_id": "\ud800"}'),
        ("PATCH", "/manifests/ID", rb'{"description": "a\u0000"}'),
        ("PATCH", "/manifests/ID", rb'{"description": "\u001b[31m"}'),
        ("PATCH", "/manifests/ID", rb'{"description": "\ud800"}'),
        ("PATCH", "/manifests/ID", rb'{"labels": {"a\u0000": "b"}}'),
        ("PATCH", "/manifests/ID", rb'{"required_roles": ["a\u202e"]}'),
        ("POST", "/manifests/ID/taint", rb'{"reason": "a\u0000"}'),
    ],
)
def test_no_text_is_a_mistake_of_the_server(server: Server, method: str, path: str, body: bytes | None) -> None:
    path = path.replace("ID", put_manifest(server))
    reply = server.call(method, path, "admin", content=body, headers=JSON)
    assert error_of(reply) == (400, "bad_request")


def test_an_api_key_that_is_no_text_is_no_key(server: Server) -> None:
    for key in (b"a\0b:c", b"a:\0", "\u202e:a".encode()):
        reply = server.call("GET", "/manifests", headers={"X-Api-Key": base64.b64encode(key).decode()})
        assert error_of(reply) == (401, "invalid_credentials")


def test_a_description_may_have_lines_and_is_stored_in_one_form(server: Server) -> None:
    manifest_id = put_manifest(server)
    body = {"description": "line\n\tline e\u0301"}
    reply = server.call("PATCH", f"/manifests/{manifest_id}", "admin", json=body)
    assert reply.json()["description"] == "line\n\tline \u00e9"


@pytest.mark.parametrize(
    "fields",
    [
        {"catalog_id": "c\u0430t"},
        {"catalog_id": "a\u00a0b"},
        {"version": "\uff11.0"},
        {"name": "A\n\x1b[31m.pvm"},
        {"name": "A\u202e.pvm"},
        {"chunk_size": "65536"},
        {"chunk_size": 65536.0},
        {"force": "yes"},
        {"force": 1},
        {"minimum_requirements": {"cpu": True}},
        {"tags": "latest"},
        {"version": ""},
        {"catalog_id": " "},
    ],
)
def test_a_push_is_taken_literally(server: Server, fields: dict[str, t.Any]) -> None:
    reply = Client.of(server, "pusher").begin(**{"catalog_id": new_catalog_id(), "version": "1.0", **fields})
    assert error_of(reply) == (400, "bad_request")


@pytest.mark.parametrize(
    "query",
    ["catalog_id=", "catalog_id=%20", "version=%20", "architecture=", "tag=", "type=", "tainted=", "limit=", "cursor="],
)
def test_an_empty_value_is_not_everything(server: Server, query: str) -> None:
    assert error_of(server.call("GET", f"/manifests?{query}", "reader")) == (400, "bad_request")


@pytest.mark.parametrize(
    "path",
    [
        "/manifests?tainted=1",
        "/manifests?revoked=yes",
        "/manifests?limit=1_0",
        "/manifests?limit=%2B1",
        "/manifests?limit=1.0",
        "/manifests?limit=%D9%A1",
        "/audit?since=0",
        "/audit?since=2026-11-20",
        "/audit?since=2026-11-20T09:00:00",
        "/audit?since=0001-01-01T00:00:00%2B01:00",
    ],
)
def test_a_value_in_a_query_is_taken_literally(server: Server, path: str) -> None:
    assert error_of(server.call("GET", path, "admin")) == (400, "bad_request")


@pytest.mark.parametrize("query", ["catalog_id=", "catalog_id=a&version=", "catalog_id=a&version=%20"])
def test_an_empty_version_is_not_the_latest(server: Server, query: str) -> None:
    assert error_of(server.call("GET", f"/manifests/resolve?{query}", "reader")) == (400, "bad_request")


# Cursors

KEYS = KeyRing(["a secret of thirty-two characters"])


def test_a_cursor_comes_back() -> None:
    cursor = cursors.encode(KEYS, ("a", "1.0", "arm64"))
    assert cursors.decode(KEYS, cursor, 3) == ("a", "1.0", "arm64")
    newer = KeyRing(["another secret of thirty-two characters", "a secret of thirty-two characters"])
    assert cursors.decode(newer, cursor, 3) == ("a", "1.0", "arm64")


def _signed(data: bytes) -> str:
    return base64.urlsafe_b64encode(cursors._signature(KEYS.signing.cursors, data) + data).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "rubbish",
        "\ud800",
        "ü",
        base64.urlsafe_b64encode(b'["a", "1.0", "arm64"]').decode(),
        base64.urlsafe_b64encode(b"x" * 16 + b'["a", "1.0", "arm64"]').decode(),
        cursors.encode(KeyRing(["another secret of thirty-two characters"]), ("a", "1.0", "arm64")),
        _signed(b'["a", "1.0"]'),
        _signed(b'["a", "1.0", 1]'),
        _signed(b"[" * 100_000),
        _signed(b"\xff"),
    ],
)
def test_other_cursors_are_refused(cursor: str) -> None:
    with pytest.raises(BadRequest, match="not valid"):
        cursors.decode(KEYS, cursor, 3)


# In which order a request is looked at


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/grants", b"{}"),
        ("POST", "/grants", b"{"),
        ("POST", "/uploads", b"[]"),
        ("PATCH", "/manifests/a", b'{"unknown": 1}'),
        ("GET", "/manifests?limit=0", None),
        ("GET", "/manifests/resolve", None),
        ("POST", "/uploads/a/commit", b""),
    ],
)
def test_credentials_are_looked_at_before_anything_is_told(
    server: Server, method: str, path: str, body: bytes | None
) -> None:
    for headers in ({}, {"Authorization": "Bearer rubbish"}, {"X-Api-Key": "rubbish"}):
        reply = server.call(method, path, content=body, headers={**JSON, **headers})
        assert reply.status_code == 401
        assert reply.headers["www-authenticate"] == "Bearer"
    assert error_of(server.call(method, path, "admin", content=body, headers=JSON)) == (400, "bad_request")


def test_whoever_says_nothing_of_themselves_sends_no_large_body(server: Server) -> None:
    body = b'{"email": "' + b"a" * 20_000 + b'"}'
    assert error_of(server.call("POST", "/grants", content=body, headers=JSON)) == (413, "payload_too_large")


@pytest.mark.parametrize("framing", ["Content-Length: 900000\r\n", "Transfer-Encoding: chunked\r\n"])
def test_a_long_body_is_received_only_from_somebody_who_is_known(server: Server, framing: str) -> None:
    begun = b"20000\r\n" if "chunked" in framing else b""
    head = (
        "POST /api/v1/grants HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer rubbish\r\n"
    )
    with connect(server) as connection:
        connection.sendall(f"{head}{framing}\r\n".encode() + begun + b'{"labels": {' + b" " * 20_000)
        # The rest never comes, and nobody waits for it.
        answer = everything(connection)
    assert status_of(answer) == 401
    assert b'"error":"unauthenticated"' in answer and b"connection: close" in answer.lower()


def test_a_long_body_of_somebody_who_is_known_is_read(server: Server) -> None:
    body = b'{"labels": {' + b" " * 100_000 + b"}}"
    assert error_of(server.call("POST", "/grants", "pusher", content=body, headers=JSON)) == (400, "bad_request")


@pytest.mark.parametrize("hosts", [b"", b"Host: a\r\nHost: a\r\n", b"Host: a\r\nhost: b\r\n"])
def test_a_request_names_one_host(server: Server, hosts: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /api/v1/server HTTP/1.1\r\nConnection: close\r\n" + hosts + b"\r\n")
        assert status_of(everything(connection)) == 400


def test_an_old_client_names_no_host(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /api/v1/server HTTP/1.0\r\n\r\n")
        assert status_of(everything(connection)) == 200


# What answers say to caches, browsers and clients


def test_no_answer_of_the_api_is_kept(server: Server) -> None:
    replies = [
        server.login("reader"),
        server.call("POST", "/auth/token", json={"email": "reader", "password": "wrong"}),
        server.call("GET", "/manifests", "reader"),
        server.call("GET", "/nothing"),
    ]
    assert {reply.headers["cache-control"] for reply in replies} == {"no-store"}
    assert {reply.headers["x-content-type-options"] for reply in replies} == {"nosniff"}


def test_objects_are_kept_for_as_long_as_their_urls(server: Server) -> None:
    pusher = Client.of(server, "pusher")
    pushed = pusher.push(new_catalog_id())
    name = next(iter(pushed.pack.segments))
    url = pusher.read_urls(pushed.id, [(pushed.upload_id, name)]).json()["urls"][0]["url"]
    whole = httpx.get(url, trust_env=False)
    assert whole.headers["etag"] == f'"{name}"'
    assert whole.headers["cache-control"] == "max-age=900, immutable"
    same = httpx.get(url, headers={"If-None-Match": f'"x", "{name}"'}, trust_env=False)
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", f'"{name}"')
    for condition, status in ((f'"{name}"', 206), ('"other"', 200)):
        part = httpx.get(url, headers={"Range": "bytes=0-9", "If-Range": condition}, trust_env=False)
        assert part.status_code == status


def test_an_index_is_asked_for_again_and_not_sent_again(server: Server) -> None:
    manifest_id = put_manifest(server)
    for kind in ("listing", "locator"):
        first = server.call("GET", f"/manifests/{manifest_id}/{kind}", "reader")
        assert first.headers["cache-control"] == "private, no-cache"
        assert first.headers["etag"] == f'"{first.headers["x-content-sha256"]}"'
        condition = {"If-None-Match": first.headers["etag"]}
        again = server.call("GET", f"/manifests/{manifest_id}/{kind}", "reader", headers=condition)
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/manifests/a", "GET, PATCH, DELETE"),
        ("/manifests", "GET"),
        ("/manifests/resolve", "GET"),
        ("/grants/renew", "POST"),
        ("/uploads/a", "GET, DELETE"),
        ("/objects/local/a", "GET, HEAD, PUT"),
        ("/health/ready", "GET, HEAD"),
    ],
)
def test_allow_names_every_method(server: Server, path: str, allowed: str) -> None:
    reply = server.call("OPTIONS", path, "admin")
    assert error_of(reply) == (405, "method_not_allowed")
    assert reply.headers["allow"] == allowed


@pytest.mark.parametrize("probe", ["probe", "live", "ready"])
def test_probes_answer_to_head(server: Server, probe: str) -> None:
    reply = server.call("HEAD", f"/health/{probe}")
    assert (reply.status_code, reply.content) == (200, b"")


def test_log_lines_are_ascii(server: Server) -> None:
    server.line_of(server.call("GET", "/a-path\u009b\u2028\u202e\u00fc"))
    assert server.log.isascii()
    assert PASSWORD not in server.log


def test_readiness_is_asked_once_a_second() -> None:
    now, asked = [0.0], []

    def check() -> list[str]:
        asked.append(now[0])
        if now[0] == 1.0:
            raise Unavailable("not now", retry_after=1)
        return [f"a warning of {now[0]}"]

    readiness = Readiness(check, lambda: now[0])
    for now[0] in (0.0, 0.5, 0.99):
        assert readiness.check() == ["a warning of 0.0"]
    for now[0] in (1.0, 1.5):
        with pytest.raises(Unavailable, match="not now"):
            readiness.check()
    now[0] = 2.0
    readiness.check()
    assert asked == [0.0, 1.0, 2.0]


def test_nobody_waits_for_a_check_that_hangs() -> None:
    now, hangs, begun, end = [0.0], [False], threading.Event(), threading.Event()

    def check() -> list[str]:
        if hangs[0]:
            begun.set()
            assert end.wait(30)
        return []

    readiness = Readiness(check, lambda: now[0])
    readiness.check()
    hangs[0], now[0] = True, 2.0
    waiting = threading.Thread(target=readiness.check)
    waiting.start()
    assert begun.wait(30)
    # The answer of before, for some time
    readiness.check()
    now[0] = 2.0 + SLOW_SECONDS
    with pytest.raises(Unavailable, match="not answered"):
        readiness.check()
    end.set()
    waiting.join(30)
    readiness.check()


def test_whatever_a_check_finds_is_asked_once_a_second() -> None:
    asked = []

    def check() -> list[str]:
        asked.append(1)
        raise StorageDenied("Could not read the object catalog.json: Permission denied.")

    readiness = Readiness(check, lambda: 0.0)
    for _time in range(3):
        with pytest.raises(Unavailable, match="log says why"):
            readiness.check()
    assert len(asked) == 1
