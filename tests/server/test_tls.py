# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TLS of the server itself: handshakes that do not come, and certificates that are renewed."""

from __future__ import annotations

import ssl
import typing as t
from contextlib import ExitStack
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.tests.support import certificates
from conftest import StartServer
from running import Server, wait_until
from sockets import PROBE, connect, everything, one_answer, status_of
from test_http_limits import large_object


@pytest.fixture(name="certificate", scope="module")
def certificate_fixture(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificate:
    """A certificate of 127.0.0.1."""
    return certificates.make(tmp_path_factory.mktemp("certificate"))


def secured(server: Server, certificate: certificates.Certificate, **options: t.Any) -> ssl.SSLSocket:
    """A connection by TLS."""
    context = ssl.create_default_context(cafile=str(certificate[0]))
    return context.wrap_socket(connect(server, **options), server_hostname="127.0.0.1")


def with_tls(certificate: certificates.Certificate, **settings: str) -> dict[str, str]:
    """The settings of a server with TLS of its own."""
    return {"CATALOG_TLS_CERTIFICATE": str(certificate[0]), "CATALOG_TLS_KEY": str(certificate[1]), **settings}


def test_connections_count_before_their_handshake(
    start_server: StartServer, certificate: certificates.Certificate
) -> None:
    server = start_server(**with_tls(certificate, CATALOG_MAX_CONNECTIONS="10"))
    with ExitStack() as stack:
        for _number in range(10):
            stack.enter_context(connect(server))
        wait_until(lambda: '"many connections"' in server.log)
        with secured(server, certificate) as connection:
            assert status_of(everything(connection)) == 503
    wait_until(lambda: _is_served_by_tls(server, certificate))


def _is_served_by_tls(server: Server, certificate: certificates.Certificate) -> bool:
    with secured(server, certificate) as connection:
        connection.sendall(PROBE)
        return status_of(one_answer(connection)) == 200


@pytest.mark.parametrize("begin", [b"", b"\x16\x03\x01", PROBE], ids=["nothing", "a part", "no TLS"])
def test_a_handshake_that_does_not_come_is_given_up(
    start_server: StartServer, certificate: certificates.Certificate, begin: bytes
) -> None:
    server = start_server(**with_tls(certificate, CATALOG_HEAD_SECONDS="1", CATALOG_MAX_CONNECTIONS="1"))
    with connect(server) as connection:
        connection.sendall(begin)
        assert b"HTTP" not in everything(connection)
    wait_until(lambda: _is_served_by_tls(server, certificate))
    with connect(server) as connection:
        # A client that leaves in the middle of a handshake gives its place back, too.
        connection.sendall(b"\x16\x03\x01")
    wait_until(lambda: _is_served_by_tls(server, certificate))


def test_a_handshake_that_does_not_come_keeps_no_server_from_ending(
    start_server: StartServer, certificate: certificates.Certificate
) -> None:
    server = start_server(**with_tls(certificate, CATALOG_SHUTDOWN_SECONDS="60", CATALOG_HEAD_SECONDS="60"))
    with connect(server):
        assert _is_served_by_tls(server, certificate)
        server.ended = True
        server.process.terminate()
        assert server.process.wait(30) == 0


def test_an_answer_that_nobody_takes_is_given_up_with_tls(
    start_server: StartServer, certificate: certificates.Certificate
) -> None:
    server = start_server(**with_tls(certificate, CATALOG_ANSWER_SECONDS="1"))
    path = large_object(server, 64 << 20)
    with secured(server, certificate, receive_bytes=4096) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wait_until(lambda: f'"path": "{path.partition("?")[0]}"' in server.log, 30)


def test_a_certificate_that_is_renewed_is_used(start_server: StartServer, tmp_path: Path) -> None:
    first = certificates.make(tmp_path)
    server = start_server(**with_tls(first))
    before = first.path.read_bytes()

    def served() -> bytes:
        unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
        with unchecked.wrap_socket(connect(server)) as connection:
            return ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True) or b"").encode()

    # A key that does not fit, as between the two steps of whoever renews both
    first.key.write_bytes(certificates.make(_made(tmp_path / "wrong")).key.read_bytes())
    wait_until(lambda: "the new certificate cannot be used" in server.log, 30)
    assert served() == before
    second = certificates.make(_made(tmp_path / "second"))
    for old, new in zip(first, second, strict=True):
        new.rename(old)
    wait_until(lambda: served() == first.path.read_bytes() != before, 30)


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory
