# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import contextlib
import http.client
import http.server
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.cancellation import Cancellation
from ansible_collections.macfleet.parallels.plugins.module_utils._base.connection_errors import (
    AnswerTooLong,
    NotConnected,
    TlsRefused,
    UrlRefused,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._base.link_meter import LinkMeter
from ansible_collections.macfleet.parallels.plugins.module_utils._base.signed_url import SignedUrl
from ansible_collections.macfleet.parallels.plugins.module_utils._base.transport import (
    Request,
    Response,
    Transport,
    TransportSettings,
    _tls_context,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import StorageUnavailable
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.signed import SignedTransfer


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: t.ClassVar[list[tuple[str, str, dict[str, str], bytes]]]
    clients: t.ClassVar[set[tuple[str, int]]]

    def answer(self) -> None:
        self.clients.add(self.client_address)
        if self.path == "/silent":
            self.server.stop.wait(10)  # type: ignore[attr-defined]
            self.close_connection = True
            return
        if self.path == "/early":
            self.reply(413, b"no")
            self.close_connection = True
            return
        if self.path in ("/dripping_headers", "/dripping", "/steady"):
            self.drip()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.seen.append((self.command, self.path, dict(self.headers), body))
        if self.path.endswith("/hangup"):
            self.close_connection = True
        elif self.path.endswith("/short"):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
            self.close_connection = True
        elif self.path.endswith("/rubbish"):
            self.wfile.write(b"SSH-2.0-OpenSSH_9.9\r\n")
            self.close_connection = True
        elif self.path.endswith("/then_closed"):
            self.reply(200, b"0123456789")
            self.close_connection = True
        elif self.path.endswith("/empty"):
            self.send_response(204)
            self.end_headers()
        elif self.path.endswith("/large"):
            self.reply(200, bytes(200_000))
        elif self.path.endswith("/missing"):
            self.reply(404, b"none")
        else:
            self.reply(200, b"0123456789")

    do_GET = do_POST = do_PATCH = do_DELETE = answer

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("X-Request-Id", "r-1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def drip(self) -> None:
        # At 0.2 seconds of timeout, 205 bytes are enough.
        block = bytes(2000 if self.path == "/steady" else 1)
        if self.path != "/dripping_headers":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        with contextlib.suppress(OSError):
            while not self.server.stop.wait(0.05):  # type: ignore[attr-defined]
                self.wfile.write(block)
        self.close_connection = True

    def do_CONNECT(self) -> None:
        self.seen.append((self.command, self.path, dict(self.headers), b""))
        if self.headers.get("Proxy-Authorization") is None:
            self.send_error(407)
            return
        host, _colon, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as upstream:
            self.send_response(200)
            self.end_headers()
            pump = threading.Thread(target=copy, args=(upstream, self.connection))
            pump.start()
            copy(self.connection, upstream)
            pump.join()
        self.close_connection = True

    def log_message(self, *words: object) -> None:
        pass


def copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.handler = type("Seen", (Handler,), {"seen": [], "clients": set()})
        super().__init__(("127.0.0.1", 0), self.handler)
        self.stop = threading.Event()
        self.scheme = "http"
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
            self.scheme = "https"

    @property
    def seen(self) -> list[tuple[str, str, dict[str, str], bytes]]:
        return self.handler.seen  # type: ignore[attr-defined,no-any-return]

    @property
    def connections(self) -> int:
        return len(self.handler.clients)  # type: ignore[attr-defined]

    @property
    def address(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *words: object) -> None:
        pass


@contextlib.contextmanager
def running(tls: ssl.SSLContext | None = None) -> t.Iterator[Server]:
    server = Server(tls)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.stop.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server() -> t.Iterator[Server]:
    with running() as it:
        yield it


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key and a certificate for 127.0.0.1, which is its own authority."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    directory = tmp_path_factory.mktemp("tls")
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=catalog"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([openssl, *words], cwd=directory, check=True, capture_output=True)
    return directory


@pytest.fixture
def tls_server(certificate: Path) -> t.Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with running(context) as it:
        yield it


def ask(
    url: str,
    settings: TransportSettings = TransportSettings(),  # noqa: B008
    *,
    method: str = "GET",
    body: bytes | None = None,
    seconds: float = 5.0,
    most: int = 100,
) -> Response:
    return Transport(settings).send(Request(method, url, {"X-Test": "yes"}, body, seconds, most))


def test_a_request_and_its_answer(server: Server) -> None:
    answer = ask(f"{server.address}/a%20b?c=d", method="POST", body=b"body")
    assert (answer.status, answer.body) == (200, b"0123456789")
    assert (answer.headers["x-request-id"], answer.headers["content-type"]) == ("r-1", "text/plain")
    method, path, headers, body = server.seen[0]
    assert (method, path, body) == ("POST", "/a%20b?c=d", b"body")
    assert (headers["X-Test"], headers["Accept-Encoding"]) == ("yes", "identity")
    assert headers["User-Agent"] == "macfleet.parallels"


def test_answers_that_are_no_failure_of_the_transport(server: Server) -> None:
    assert ask(f"{server.address}/empty").body == b""
    assert ask(f"{server.address}/missing").status == 404
    assert ask(f"{server.address}/x", method="DELETE").status == 200
    assert ask(f"{server.address}/x", most=10).status == 200


def test_an_answer_that_is_too_long(server: Server) -> None:
    with pytest.raises(AnswerTooLong, match="more than 9 bytes"):
        ask(f"{server.address}/x", most=9)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("hangup", "closed without an answer"),
        ("short", "IncompleteRead|ended after 3 bytes"),
        ("rubbish", "SSH-2.0"),
        ("silent", "no answer within 0.2 seconds"),
    ],
)
def test_no_answer_or_half_of_one(server: Server, path: str, reason: str) -> None:
    with pytest.raises(NotConnected, match=reason) as failure:
        ask(f"{server.address}/{path}", seconds=0.2)
    assert failure.value.code == "unreachable"


@pytest.mark.parametrize(
    ("path", "answer_seconds", "reason"),
    [
        ("dripping_headers", None, "only [0-9]+ bytes moved within"),
        ("dripping", None, "only [0-9]+ bytes moved within"),
        ("steady", 0.5, "did not end in time"),
    ],
)
def test_an_answer_that_comes_too_slowly(server: Server, path: str, answer_seconds: float | None, reason: str) -> None:
    request = Request("GET", f"{server.address}/{path}", {}, None, 0.2, 1 << 20, answer_seconds=answer_seconds)
    with pytest.raises(NotConnected, match=reason):
        Transport(TransportSettings()).send(request)


def test_a_refusal_that_comes_before_everything_is_sent(server: Server) -> None:
    assert ask(f"{server.address}/early", method="POST", body=b"x" * (8 << 20)).status == 413


def test_nobody_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(NotConnected, match="Connection refused"):
            ask(f"http://127.0.0.1:{unused.getsockname()[1]}/")
    with pytest.raises(NotConnected, match=r"'catalog\.invalid' cannot be resolved"):
        ask("http://catalog.invalid/")


@pytest.mark.parametrize("host", ["catalog..x", "a" * 64 + ".example.com"])
def test_a_host_that_is_not_a_name(host: str) -> None:
    with pytest.raises(UrlRefused, match="is not valid") as failure:
        ask(f"http://{host}/")
    assert failure.value.code == "invalid_url"


@pytest.mark.parametrize("path", ["a b", "a\x00b"])
def test_a_path_that_cannot_be_sent(server: Server, path: str) -> None:
    with pytest.raises(UrlRefused, match="is not valid"):
        ask(f"{server.address}/{path}")
    assert not server.seen


def test_an_address_that_is_not_a_url() -> None:
    for url in ("ftp://host/", "http://host:port/", "http://[host/"):
        with pytest.raises(UrlRefused, match="not a valid http or https URL"):
            ask(url)


# Kept connections


def send(transport: Transport, url: str, *, repeatable: bool = True) -> int:
    return transport.send(Request("POST", url, {}, b"body", 5.0, 100, repeatable)).status


@pytest.mark.parametrize("settings", [TransportSettings(), TransportSettings(use_proxy=False)])
def test_a_connection_is_used_again(server: Server, settings: TransportSettings) -> None:
    transport = Transport(settings)
    for path in ("x", "missing", "empty", "x"):
        send(transport, f"{server.address}/{path}")
    assert server.connections == 1
    transport.close()
    send(transport, f"{server.address}/x")
    assert server.connections == 2


def test_a_connection_that_broke_off_is_not_used_again(server: Server) -> None:
    transport = Transport(TransportSettings())
    for path in ("short", "hangup"):
        with pytest.raises(NotConnected):
            send(transport, f"{server.address}/{path}")
        assert send(transport, f"{server.address}/x") == 200
    with pytest.raises(AnswerTooLong):
        transport.send(Request("GET", f"{server.address}/x", {}, None, 5.0, 3))
    assert send(transport, f"{server.address}/x") == 200


def test_a_kept_connection_that_the_server_closed_is_opened_again(server: Server) -> None:
    transport = Transport(TransportSettings())
    for _time in range(3):
        assert send(transport, f"{server.address}/then_closed") == 200
    assert server.connections == 3


def test_what_must_not_be_sent_twice_gets_a_connection_of_its_own(server: Server) -> None:
    transport = Transport(TransportSettings())
    send(transport, f"{server.address}/x")
    send(transport, f"{server.address}/x", repeatable=False)
    assert server.connections == 2
    with pytest.raises(NotConnected):
        send(transport, f"{server.address}/hangup", repeatable=False)
    assert [path for _method, path, _headers, _body in server.seen] == ["/x", "/x", "/hangup"]


def test_each_request_has_its_own_timeout(server: Server) -> None:
    transport = Transport(TransportSettings())
    send(transport, f"{server.address}/x")
    with pytest.raises(NotConnected, match="no answer within 0.2 seconds"):
        transport.send(Request("GET", f"{server.address}/silent", {}, None, 0.2, 100))


def test_threads_do_not_share_a_connection(server: Server) -> None:
    transport = Transport(TransportSettings())
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(send(transport, f"{server.address}/x"))) for _one in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [200] * 4


def test_what_requests_cost_is_measured(server: Server) -> None:
    meter = LinkMeter()
    transport = Transport(TransportSettings(), meter)
    transport.send(Request("GET", f"{server.address}/large", {}, None, 5.0, 1 << 20))
    (sample,) = meter.samples()
    assert 0 < sample.first_byte_seconds < sample.seconds < 5 and sample.count == 200_000


# TLS


def test_a_silent_tls_connection_is_broken_when_its_request_is_cancelled(tls_server: Server, certificate: Path) -> None:
    transport = Transport(TransportSettings(ca_path=str(certificate / "cert.pem"), timeout_seconds=9.0))
    cancellation = Cancellation()
    ended: list[Exception] = []

    def fetch() -> None:
        with SignedTransfer(transport.connect) as transfer:
            try:
                transfer.fetch_into(SignedUrl(f"{tls_server.address}/silent", 60.0), 0, bytearray(10), cancellation)
            except Exception as error:
                ended.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    while not tls_server.connections:
        time.sleep(0.01)
    cancellation.cancel()
    thread.join(5)
    assert not thread.is_alive()
    assert isinstance(ended[0], StorageUnavailable)


def test_old_versions_of_tls_are_off(certificate: Path) -> None:
    # The LibreSSL of macOS has no minimum_version, and Python does not say so.
    context = _tls_context(TransportSettings(ca_path=str(certificate / "cert.pem")))
    assert context.options & ssl.OP_NO_TLSv1 and context.options & ssl.OP_NO_TLSv1_1


def test_a_certificate_of_nobody(tls_server: Server) -> None:
    with pytest.raises(TlsRefused, match="certificate is not valid: self.signed") as failure:
        ask(f"{tls_server.address}/x")
    assert failure.value.code == "tls_failure"


def test_a_certificate_of_a_trusted_authority(tls_server: Server, certificate: Path) -> None:
    trusted = certificate / "cert.pem"
    assert ask(f"{tls_server.address}/x", TransportSettings(ca_path=str(trusted))).status == 200
    assert ask(f"{tls_server.address}/x", TransportSettings(ca_certificates=trusted.read_text())).status == 200


def test_a_certificate_for_another_name(tls_server: Server, certificate: Path) -> None:
    address = tls_server.address.replace("127.0.0.1", "localhost")
    with pytest.raises(TlsRefused, match="not valid"):
        ask(f"{address}/x", TransportSettings(ca_path=str(certificate / "cert.pem")))


def test_validation_can_be_switched_off(tls_server: Server) -> None:
    assert ask(f"{tls_server.address}/x", TransportSettings(validate_certs=False)).status == 200


def test_the_server_wants_a_certificate_of_ours(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    context.load_verify_locations(certificate / "cert.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    trusting = {"ca_path": str(certificate / "cert.pem")}
    ours = {"client_cert": str(certificate / "cert.pem"), "client_key": str(certificate / "key.pem")}
    with running(context) as it:
        assert ask(f"{it.address}/x", TransportSettings(**trusting, **ours)).status == 200
        with pytest.raises(NotConnected):
            ask(f"{it.address}/x", TransportSettings(**trusting))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"ca_path": "/nowhere/ca.pem"}, "ca_path '/nowhere/ca.pem' cannot be read: No such file"),
        ({"ca_certificates": "nonsense"}, "handed over cannot be read"),
        ({"validate_certs": False, "client_cert": "/nowhere/me.pem"}, "client_cert '/nowhere/me.pem' cannot be used"),
    ],
)
def test_files_that_are_not_what_they_should_be(tls_server: Server, settings: dict[str, t.Any], reason: str) -> None:
    with pytest.raises(TlsRefused, match=reason):
        ask(f"{tls_server.address}/x", TransportSettings(**settings))


def test_plain_http_where_tls_is_expected(server: Server) -> None:
    with pytest.raises(TlsRefused, match="TLS failed"):
        ask(f"https://127.0.0.1:{server.server_address[1]}/x")


def test_a_handshake_that_breaks_off_is_no_failure_of_tls() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            client, _address = listener.accept()
            with client:
                client.recv(65536)

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(NotConnected) as failure:
            ask(f"https://127.0.0.1:{listener.getsockname()[1]}/x")
        thread.join()
    assert (type(failure.value), failure.value.code) == (NotConnected, "unreachable")


@pytest.mark.parametrize(
    ("kind", "reason", "lasts"),
    [
        (ssl.SSLEOFError, None, False),
        (ssl.SSLZeroReturnError, None, False),
        (ssl.SSLSyscallError, None, False),
        (ssl.SSLError, "UNEXPECTED_EOF_WHILE_READING", False),
        (ssl.SSLError, "DECRYPTION_FAILED_OR_BAD_RECORD_MAC", False),
        (ssl.SSLError, "TLSV1_ALERT_INTERNAL_ERROR", False),
        (ssl.SSLError, "TLSV13_ALERT_CERTIFICATE_REQUIRED", True),
        (ssl.SSLError, "SSLV3_ALERT_BAD_CERTIFICATE", True),
        (ssl.SSLError, "TLSV1_ALERT_UNKNOWN_CA", True),
        (ssl.SSLError, "SSLV3_ALERT_HANDSHAKE_FAILURE", True),
        (ssl.SSLError, "TLSV1_ALERT_PROTOCOL_VERSION", True),
        (ssl.SSLError, "UNSUPPORTED_PROTOCOL", True),
    ],
)
def test_what_of_tls_lasts(
    monkeypatch: pytest.MonkeyPatch, kind: type[ssl.SSLError], reason: str | None, lasts: bool
) -> None:
    error = kind(8, "EOF occurred in violation of protocol")
    error.reason = reason  # type: ignore[assignment]

    def connect(_connection: object) -> None:
        raise error

    monkeypatch.setattr(http.client.HTTPSConnection, "connect", connect)
    with pytest.raises(NotConnected) as failure:
        ask("https://127.0.0.1:1/x")
    assert isinstance(failure.value, TlsRefused) is lasts
    assert (reason or "violation of protocol") in str(failure.value)


# Proxies


def test_a_proxy_for_plain_http(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.address.replace("://", "://us%40er:pass@"))
    assert ask("http://catalog.invalid:8080/x?y=z").status == 200
    _method, path, headers, _body = server.seen[0]
    assert (path, headers["Host"]) == ("http://catalog.invalid:8080/x?y=z", "catalog.invalid:8080")
    assert headers["Proxy-Authorization"] == "Basic " + base64.b64encode(b"us@er:pass").decode()


def test_a_proxy_for_tls(
    server: Server, tls_server: Server, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TransportSettings(ca_path=str(certificate / "cert.pem"))
    monkeypatch.setenv("https_proxy", server.address)
    with pytest.raises(NotConnected, match=f"407.* through the proxy {server.address}"):
        ask(f"{tls_server.address}/x", settings)
    monkeypatch.setenv("https_proxy", server.address.replace("://", "://user:pass@"))
    assert ask(f"{tls_server.address}/x", settings).status == 200
    assert server.seen[-1][:2] == ("CONNECT", tls_server.address.partition("://")[2])
    assert "Proxy-Authorization" not in tls_server.seen[-1][2]


def test_when_no_proxy_is_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    assert ask(f"{server.address}/x", TransportSettings(use_proxy=False)).status == 200
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert ask(f"{server.address}/x").status == 200
    monkeypatch.setenv("no_proxy", "example.com")
    with pytest.raises(NotConnected, match=r"proxy http://proxy\.invalid:3128 cannot be resolved"):
        ask(f"{server.address}/x")


@pytest.mark.parametrize("proxy", ["socks5://user:pass@proxy:1080", "http://proxy:x", "https://proxy"])
def test_a_proxy_of_another_kind(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(NotConnected, match="proxy") as failure:
        ask("http://catalog.invalid/")
    assert "pass" not in str(failure.value)


def test_a_connection_is_kept_by_whoever_wants_to(server: Server) -> None:
    connection = Transport(TransportSettings(timeout_seconds=5)).connect("http", "127.0.0.1", server.server_address[1])
    for path in ("/x", "/y"):
        connection.request("GET", path)
        assert connection.getresponse().read() == b"0123456789"
    connection.close()
    assert [path for _method, path, _headers, _body in server.seen] == ["/x", "/y"]
