# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What holds for every request: shape of errors, headers, limits, both prefixes; and how the process lives and dies."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from ansible_collections.macfleet.parallels.tests.support import certificates
from catalog_server.errors import STATUSES, Unavailable
from catalog_server.models.audit import AuditEntry
from catalog_server.models.catalog import AudienceText, Manifest
from catalog_server.openapi.operation import body_of
from conftest import StartServer
from routes import all_api_routes
from rows import new_catalog_id, put_manifest
from running import PASSWORD, START_SECONDS, STOP_SECONDS, Server, Template, command, environment, wait_until
from sockets import connect, everything, one_answer, status_of
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

PREFIXES = ("/api/v1", "/api")


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("path", ["/health/probe", "/health/live", "/health/ready"])
def test_probes(server: Server, prefix: str, path: str) -> None:
    reply = httpx.get(server.url + prefix + path, trust_env=False)
    assert (reply.status_code, reply.json()["status"]) == (200, "OK")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_server_info_needs_no_credentials(server: Server, prefix: str) -> None:
    info = httpx.get(f"{server.url}{prefix}/server", trust_env=False).json()
    assert info["api"] == 1
    assert set(info["features"]) == {"segmented", "signed", "grants", "identity"}
    assert len(info["catalog_uuid"]) == 36
    assert info["limits"]["page"] == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "word"),
    [
        ("GET", "/api/nothing", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
        ("GET", "/api/v1/server/", 404, "not_found"),
        ("DELETE", "/api/v1/server", 405, "method_not_allowed"),
        ("GET", "/api/v1/manifests", 401, "unauthenticated"),
        ("POST", "/api/v1/auth/token", 400, "bad_request"),
    ],
)
def test_every_error_has_the_one_shape(server: Server, method: str, path: str, status: int, word: str) -> None:
    reply = httpx.request(method, server.url + path, trust_env=False)
    assert reply.status_code == status == STATUSES[word]
    assert reply.headers["content-type"] == "application/json"
    body = reply.json()
    assert set(body) == {"message", "code", "error"}
    assert (body["code"], body["error"]) == (status, word)
    assert body["message"].endswith(".")


def test_every_reply_has_an_id_and_the_exact_content_type(server: Server) -> None:
    replies = [
        server.call("GET", "/server"),
        server.call("GET", "/manifests"),
        server.call("GET", "/manifests", "reader"),
    ]
    assert [reply.status_code for reply in replies] == [200, 401, 200]
    assert {reply.headers["content-type"] for reply in replies} == {"application/json"}
    assert len({reply.headers["x-request-id"] for reply in replies}) == 3


@pytest.mark.parametrize("body", [b"{", b"[]", b'"text"', b'{"verb":"pull"}', b"\xff", b"null"])
def test_bodies_that_cannot_be_read(server: Server, body: bytes) -> None:
    reply = server.call("POST", "/grants", "reader", content=body, headers={"Content-Type": "application/json"})
    assert (reply.status_code, reply.json()["error"]) == (400, "bad_request")


def test_a_body_must_say_that_it_is_json(server: Server) -> None:
    reply = server.call(
        "POST", "/grants", "reader", content=b'{"verb":"pull","catalog_id":"x"}', headers={"Content-Type": "text/plain"}
    )
    assert reply.status_code == 400


def test_a_body_that_is_announced_too_long_is_not_read(server: Server) -> None:
    reply = server.call("POST", "/auth/token", content=b" " * (2 << 20), headers={"Content-Type": "application/json"})
    assert (reply.status_code, reply.json()["error"]) == (413, "payload_too_large")


def test_a_body_that_grows_too_long_is_not_read_to_its_end(server: Server) -> None:
    def chunks() -> object:
        for _number in range(64):
            yield b" " * (1 << 16)

    reply = server.call("POST", "/auth/token", content=chunks(), headers={"Content-Type": "application/json"})
    assert (reply.status_code, reply.json()["error"]) == (413, "payload_too_large")


def test_only_objects_and_indexes_are_longer_than_json() -> None:
    long = {(route.path, body_of(route)) for route in all_api_routes() if body_of(route) != "json"}
    assert long == {("/objects/{storage}/{key:path}", "object"), ("/uploads/{upload_id}/commit", "index")}


@pytest.mark.parametrize("path", ["/nothing", "/objects", "/uploads/x/commit/more"])
def test_the_body_of_what_is_no_resource_is_not_read(server: Server, path: str) -> None:
    with connect(server) as connection:
        head = f"POST /api/v1{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 40}\r\n\r\n"
        connection.sendall(head.encode() + bytes(100))
        assert status_of(one_answer(connection)) == 404


def test_a_body_that_a_route_does_not_take_has_the_limit_of_others(server: Server) -> None:
    """The path is that of objects, the method is none of theirs."""
    with connect(server) as connection:
        head = f"POST /api/v1/objects/local/x HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 40}\r\n\r\n"
        connection.sendall(head.encode())
        assert status_of(one_answer(connection)) == 405


def test_a_log_line_for_each_request_without_query_and_secrets(server: Server) -> None:
    marker = "a-path-of-this-test"
    reply = server.call("GET", f"/{marker}?signature=abcdef&access_token=s3cret", "reader")
    assert server.line_of(reply)["path"] == f"/api/v1/{marker}"
    for secret in ("abcdef", "s3cret", server.token("reader"), PASSWORD):
        assert secret not in server.log


def test_the_server_writes_for_itself_alone(server: Server) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in server.data_dir.iterdir() if path.is_file()}
    assert modes["server-secret"] == 0o600
    assert server.data_dir.stat().st_mode & 0o777 == 0o700


def test_requests_in_flight_are_finished_before_the_process_ends(start_server: StartServer) -> None:
    started = start_server()
    host, port = started.url.removeprefix("http://").split(":")
    body = json.dumps({"email": "reader", "password": PASSWORD}).encode()
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        # The server has the head of the request, and waits for the rest, when it is told to stop.
        connection.sendall(
            b"POST /api/v1/auth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
            + f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body[:10]
        )
        wait_until(lambda: started.call("GET", "/health/live").status_code == 200)
        started.process.terminate()
        wait_until(lambda: '"Shutting down"' in started.log)
        connection.sendall(body[10:])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert started.process.wait(STOP_SECONDS) == 0
    started.ended = True


def test_a_taken_port_is_one_sentence(start_server: StartServer) -> None:
    started = start_server()
    port = started.url.rpartition(":")[2]
    second = subprocess.run(
        [sys.executable, "-m", "catalog_server", "serve", "--port", port],
        env=environment(started.data_dir, started.settings),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert second.returncode == 1
    assert f"Cannot listen on 127.0.0.1 port {port}" in second.stderr.splitlines()[-1]


def test_a_mistake_of_the_server_tells_clients_nothing(start_server: StartServer) -> None:
    server = start_server()
    manifest_id = put_manifest(server)
    with server.services.database.writing() as session:
        session.get_one(Manifest, manifest_id).audience_text = AudienceText(text="not what the server wrote")
    reply = server.call("GET", f"/manifests/{manifest_id}", "admin")
    assert (reply.status_code, reply.json()["error"]) == (500, "internal_error")
    assert "audience" not in reply.text
    assert "what the server wrote" not in reply.text
    (line,) = server.lines_with("JSONDecodeError")
    assert line["request_id"] == reply.headers["x-request-id"]
    # It is one request that failed, and nothing else.
    assert server.call("GET", "/server").status_code == 200


def test_credentials_of_a_request_are_not_those_of_the_next(server: Server) -> None:
    head = "GET /api/v1/manifests HTTP/1.1\r\nHost: x\r\n"
    bearer = f"Authorization: Bearer {server.token('reader')}\r\n"
    with connect(server) as connection:
        connection.sendall(f"{head}{bearer}\r\n{head}Connection: close\r\n\r\n".encode())
        answers = everything(connection)
    assert re.findall(rb"HTTP/1\.1 (\d+)", answers) == [b"200", b"401"]


def test_a_statement_that_fails_does_not_show_its_values(server: Server) -> None:
    secret = new_catalog_id()

    def unit(session: Session) -> None:
        session.execute(text("INSERT INTO nowhere VALUES (:secret)"), {"secret": secret})

    with pytest.raises((DBAPIError, Unavailable)) as failed:
        server.services.database.write(unit)
    # As the log has it, with what it goes back to.
    told = "".join(traceback.format_exception(failed.value))
    assert "INSERT INTO nowhere" in told
    assert secret not in told


def test_a_database_that_is_gone_is_unavailable(start_server: StartServer) -> None:
    server = start_server()
    token = server.token("reader")
    with server.services.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE users RENAME TO elsewhere")
    reply = server.call("GET", "/manifests", bearer=token)
    assert (reply.status_code, reply.json()["error"]) == (503, "unavailable")
    assert reply.headers["retry-after"] == "1"
    assert "users" not in reply.text
    with server.services.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO users")
    assert server.call("GET", "/manifests", bearer=token).status_code == 200


def test_many_writers_at_once_lose_nothing(server: Server) -> None:
    manifest_ids = [put_manifest(server) for _number in range(4)]
    # Each has a token before it is timed against the others.
    server.token("admin")

    def edit(number: int) -> int:
        changes = {"description": f"edit {number}"}
        return server.call("PATCH", f"/manifests/{manifest_ids[number % 4]}", "admin", json=changes).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(edit, range(40))) == {200}
    with server.services.database.reading() as session:
        entries = session.scalars(select(AuditEntry).where(AuditEntry.subject_id.in_(manifest_ids))).all()
    assert len(entries) == 40


@pytest.fixture(name="certificate")
def certificate_fixture(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 and its key."""
    return certificates.make(tmp_path)


def test_tls_of_its_own(start_server: StartServer, certificate: tuple[Path, Path]) -> None:
    server = start_server(CATALOG_TLS_CERTIFICATE=str(certificate[0]), CATALOG_TLS_KEY=str(certificate[1]))
    assert server.url.startswith("https://127.0.0.1:")
    context = ssl.create_default_context(cafile=str(certificate[0]))
    reply = httpx.get(f"{server.url}/api/health/ready", verify=context, trust_env=False)
    assert reply.json()["status"] == "OK"
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/api/health/ready", trust_env=False)


def test_a_certificate_that_is_none_is_one_sentence(
    template: Template, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    for number, wrong in enumerate(("/no/such/file", str(certificate[1]))):
        wanted = {"CATALOG_TLS_CERTIFICATE": wrong, "CATALOG_TLS_KEY": str(certificate[1])}
        data_dir = tmp_path / f"data-{number}"
        with template.copied(data_dir, wanted) as settings:
            answer = command(data_dir, "serve", "--port", "0", settings=settings)
        assert answer.returncode == 2
        assert answer.stderr.splitlines()[-1].startswith("catalog-server: the certificate")
        assert wrong in answer.stderr
        assert "Traceback" not in answer.stderr


def test_links_follow_the_public_url_or_a_trusted_proxy(start_server: StartServer) -> None:
    begin = {"version": "1", "architecture": "arm64", "type": "pvm", "name": "a.pvm", "chunk_size": 262144}
    forwarded = {"X-Forwarded-Proto": "https"}

    def link(server: Server, headers: dict[str, str]) -> str:
        body = {"catalog_id": new_catalog_id(), **begin}
        upload_id = server.call("POST", "/uploads", "pusher", json=body).json()["id"]
        segments = {"segments": [{"sha256": "0" * 64, "size": 100}]}
        reply = server.call("POST", f"/uploads/{upload_id}/urls", "pusher", json=segments, headers=headers)
        return str(reply.json()["urls"][0]["url"])

    own = start_server()
    assert link(own, {}).startswith(f"{own.url}/api/v1/objects/local/packs/")
    assert link(own, forwarded).startswith("https://127.0.0.1:")
    public = start_server(CATALOG_PUBLIC_URL="https://catalog.example.com/vms/")
    assert link(public, {}).startswith("https://catalog.example.com/vms/api/v1/objects/local/packs/")
    wary = start_server(CATALOG_TRUSTED_PROXIES="192.0.2.1")
    assert link(wary, forwarded).startswith(f"{wary.url}/api/v1/objects/")


def test_state_survives_kill_9(start_server: StartServer) -> None:
    started = start_server()
    uuid = started.call("GET", "/server").json()["catalog_uuid"]
    token = started.token("reader")
    started.process.kill()
    started.process.wait()
    started.restart()
    assert started.call("GET", "/server").json()["catalog_uuid"] == uuid
    # The secret that signs is kept, so logins outlive a restart.
    assert started.call("GET", "/manifests", bearer=token).status_code == 200
