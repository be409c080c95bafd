# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a connection may cost before anybody knows whose it is."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from catalog_server.connections import RESERVED_DESCRIPTORS
from catalog_server.storages.signing import GET, Permit, object_signer
from catalog_server.transfers import holders
from conftest import StartServer
from rows import holder_of, put_manifest
from running import Program, Server, Template, environment, running, wait_until
from sockets import PROBE, connect, everything, one_answer, reset_peak, resident_mib, status_of

HALF_A_HEAD = b"GET /api/v1/server HTTP/1.1\r\nHost: x\r\nX-"
POST = b"POST /api/v1/auth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def flood(connection: socket.socket, piece: bytes, length: int = 300 << 20) -> bytes:
    """Send a piece again and again until the server ends it; what it has answered."""
    try:
        for _number in range(length // len(piece) + 1):
            connection.sendall(piece)
    except OSError:
        pass
    return everything(connection)


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        # An honest head is 1 KiB; this is 300 MiB of it.
        (b"GET /api/v1/server HTTP/1.1\r\n", b"X-A: " + b"a" * 60_000 + b"\r\n"),
        (b"GET /api/v1/server HTTP/1.1\r\nX-A: ", b"a" * 65_536),
        (b"GET /api/v1/server HTTP/1.1\r\n", b"a: b\r\n" * 10_000),
        (b"GET /api/v1/server?", b"a" * 65_536),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nX-A: ", b"a" * 65_536),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n", b"a: b\r\n" * 10_000),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1;", b"a" * 65_536),
    ],
    ids=["fields", "one field", "many fields", "URL", "one trailer", "many trailers", "chunk extension"],
)
def test_a_head_without_end_costs_no_memory(server: Server, begin: bytes, piece: bytes) -> None:
    server.call("GET", "/server")
    before = resident_mib(server)
    reset_peak(server)
    with connect(server) as connection:
        connection.sendall(begin)
        answer = flood(connection, piece)
    assert resident_mib(server, "VmHWM") - before < 2
    # A request that is being worked on has no answer of another kind.
    if b"chunked" not in begin:
        assert status_of(answer) == 431
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "head_too_large"
    assert server.call("GET", "/server").status_code == 200


def test_many_fields_in_one_piece_are_refused(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /api/v1/server HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 100 + b"\r\n")
        assert status_of(everything(connection)) == 431


def test_a_large_head_is_served(server: Server) -> None:
    reply = server.call("GET", "/server", headers={"X-Large": "a" * 40_000, **{f"X-{n}": "b" for n in range(80)}})
    assert reply.status_code == 200


def test_what_is_no_http_is_answered_in_the_one_shape(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        answer = everything(connection)
    assert status_of(answer) == 400
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "bad_request"


def test_requests_without_end_on_one_connection_are_refused(server: Server) -> None:
    before = resident_mib(server)
    reset_peak(server)
    with connect(server) as connection:
        flood(connection, PROBE * 2000, 8 << 20)
    assert resident_mib(server, "VmHWM") - before < 8


@pytest.fixture(name="hasty", scope="module")
def hasty_fixture(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that waits for nobody longer than a second."""
    settings = {"CATALOG_HEAD_SECONDS": "1", "CATALOG_BODY_SECONDS": "1", "CATALOG_ANSWER_SECONDS": "1"}
    with running(template, tmp_path_factory.mktemp("hasty") / "data", settings) as started:
        yield started


def test_half_a_head_is_timed_out(hasty: Server) -> None:
    with connect(hasty) as connection:
        connection.sendall(HALF_A_HEAD)
        begun = time.monotonic()
        answer = everything(connection)
        assert time.monotonic() - begun < 10
    assert status_of(answer) == 408
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "request_timeout"


def test_one_byte_at_a_time_does_not_prolong_a_head(hasty: Server) -> None:
    with connect(hasty) as connection:
        begun = time.monotonic()
        connection.settimeout(0.1)
        answer = b""
        while not answer and time.monotonic() - begun < 10:
            try:
                # As far as it goes, it is a head that is allowed.
                connection.sendall(b"\r\n")
                answer = connection.recv(1 << 16)
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert time.monotonic() - begun < 10
    assert status_of(answer) == 408


def test_a_connection_that_sends_nothing_is_closed(hasty: Server) -> None:
    with connect(hasty) as connection:
        assert everything(connection) == b""


def test_one_byte_on_a_kept_connection_is_timed_out(hasty: Server) -> None:
    with connect(hasty) as connection:
        connection.sendall(PROBE)
        assert status_of(one_answer(connection)) == 200
        connection.sendall(b"G")
        assert status_of(everything(connection)) == 408


def test_a_kept_connection_may_rest(hasty: Server) -> None:
    with connect(hasty) as connection:
        for _number in range(2):
            connection.sendall(PROBE)
            assert status_of(one_answer(connection)) == 200
            # Longer than a head may take: the time between two requests is another one.
            time.sleep(1.5)


@pytest.mark.parametrize("head", [b"Content-Length: 100\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"])
def test_a_body_that_does_not_move_is_given_up(hasty: Server, head: bytes) -> None:
    with connect(hasty) as connection:
        connection.sendall(POST + head)
        begun = time.monotonic()
        answer = everything(connection)
        assert time.monotonic() - begun < 10
    assert b"200 OK" not in answer


def large_object(server: Server, length: int) -> str:
    """The path of the URL of an object that is too large for the buffers of a connection."""
    key = f"packs/{'a' * 32}/{'b' * 64}"
    file = server.data_dir / "storage" / key
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as opened:
            opened.truncate(length)
    holder = holder_of(server, holders.MANIFEST, put_manifest(server))
    permit = Permit(GET, "local", key, int(time.time()) + 600, holder)
    signature = object_signer(server.keys).signature(permit)
    query = f"method=GET&expires={permit.expires_at}&for={holder}&signature={signature}"
    return f"/api/v1/objects/local/{key}?{query}"


def test_an_answer_that_nobody_takes_is_given_up(hasty: Server) -> None:
    path = large_object(hasty, 64 << 20)
    with connect(hasty, receive_bytes=4096) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wait_until(lambda: f'"path": "{path.partition("?")[0]}"' in hasty.log, 20)
        received = everything(connection)
    assert len(received) < 64 << 20


@pytest.mark.parametrize("behind", [b"", PROBE], ids=["one request", "another one behind it"])
def test_what_a_client_that_left_has_asked_for_is_not_read(hasty: Server, behind: bytes) -> None:
    length = 64 << 20
    path = large_object(hasty, length)
    about = f'"path": "{path.partition("?")[0]}"'
    before = len(hasty.lines(about))
    with connect(hasty, receive_bytes=4096) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() + behind)
        assert connection.recv(100)
    wait_until(lambda: len(hasty.lines(about)) > before)
    (line,) = hasty.lines(about)[before:]
    assert line["bytes_out"] < length // 2
    assert line["ended"] == "client"


def test_a_reader_that_is_slow_but_moves_is_served(hasty: Server) -> None:
    path = large_object(hasty, 64 << 20)
    with connect(hasty) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        begun, received = time.monotonic(), 0
        while part := connection.recv(1 << 20):
            received += len(part)
            if time.monotonic() - begun < 3:
                time.sleep(0.1)
    assert received > 64 << 20


def test_idle_connections_keep_nobody_away(start_server: StartServer) -> None:
    server = start_server(Program())
    manifest_id = put_manifest(server)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = resident_mib(server)
    with ExitStack() as stack:
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _number in range(2000):
            stack.enter_context(connect(server))
        assert server.call("GET", "/health/live").status_code == 200
        assert server.call("GET", f"/manifests/{manifest_id}", "reader").status_code == 200
        assert resident_mib(server) - before < 60


def test_the_limit_of_open_files_is_raised(start_server: StartServer) -> None:
    """systemd and shells give 1024, of which 4096 are allowed here."""
    server = start_server()
    limits = (server.data_dir / "limits").with_suffix(".py")
    limits.write_text(
        "import resource, runpy, sys\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 4096))\n"
        "sys.argv = ['catalog-server', 'serve', '--port', '0']\n"
        "runpy.run_module('catalog_server', run_name='__main__')\n",
        encoding="utf-8",
    )
    log = server.data_dir / "limits.log"
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, str(limits)],
            env=environment(server.data_dir, server.settings),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready ")
        found = Path(f"/proc/{process.pid}/limits").read_text(encoding="ascii")
        assert next(line.split()[3] for line in found.splitlines() if line.startswith("Max open files")) == "4096"
        # Each connection may have a file open beside.
        wait_until(lambda: '"message": "connections"' in log.read_text(encoding="utf-8"))
        assert limit_of(log.read_text(encoding="utf-8")) == (4096 - RESERVED_DESCRIPTORS) // 2
    finally:
        process.terminate()
        process.wait(10)


def limit_of(log: str) -> int:
    """The number of connections that a server says it takes."""
    (line,) = [json.loads(line) for line in log.splitlines() if '"message": "connections"' in line]
    return int(line["limit"])
