# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Connections to the metadata server and its storage: TLS, proxies, timeouts, as the options of a task say.

One way to connect serves the API (``send``, for ``_api``) and the signed transfers (``connect``, for ``_storage``), on
the controller and on managed hosts. Only the environment names proxies: asking macOS for those of the system crashes in
a process that was forked, as Ansible's workers on a controller are.
"""

from __future__ import annotations

import base64
import http.client
import os
import socket
import ssl
import time
import typing as t
import urllib.parse
import urllib.request
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._base.connections import Connections, Origin
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._base.link import Sample
from ansible_collections.macfleet.parallels.plugins.module_utils._base.link_meter import LinkMeter
from ansible_collections.macfleet.parallels.plugins.module_utils._base.paced import PacedResponse, pieces
from ansible_collections.macfleet.parallels.plugins.module_utils._base.redact import redact_url

USER_AGENT = "macfleet.parallels"
_BLOCK_BYTES = 1 << 20
_PORTS = {"http": 80, "https": 443}
# Words in the reason of a TLS error that lasts. Any other is taken as a connection that broke: a needless attempt costs
# seconds, a missing one may cost a transfer.
_LASTING_TLS_REASONS = ("CERT", "UNKNOWN_CA", "HANDSHAKE_FAILURE", "PROTOCOL", "VERSION")
# Where macOS keeps its authorities; a Python from python.org looks elsewhere and finds none.
_CA_FILE_OF_MACOS = "/etc/ssl/cert.pem"


class NotConnected(CatalogError):
    """There was no answer, or half of one. The message is the reason alone; the caller makes a sentence of it."""

    code = "unreachable"


class TlsRefused(NotConnected):
    """A certificate, the server's or ours, was not accepted, or cannot be read."""

    code = "tls_failure"


class UrlRefused(NotConnected):
    """A URL that cannot be sent: its host is not a valid name, or it contains blanks or control characters."""

    code = "invalid_url"


class AnswerTooLong(CatalogError):
    """An answer is longer than the request allows."""

    code = "bad_reply"


@dataclass(frozen=True)
class Request:
    """What ``send`` sends; ``repeatable`` is True if sending it twice has the effect of sending it once.

    ``timeout_seconds`` bounds each silence of the server, ``answer_seconds`` its whole answer.
    """

    method: str
    url: str
    headers: t.Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    timeout_seconds: float
    max_body_bytes: int
    repeatable: bool = True
    answer_seconds: float | None = None


@dataclass(frozen=True)
class Response:
    """What came back; the names of the headers are in lower case."""

    status: int
    headers: t.Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class TransportSettings:
    """What the options of a task say about connections."""

    validate_certs: bool = True
    ca_path: str | None = None
    ca_certificates: str | None = field(default=None, repr=False)
    client_cert: str | None = None
    client_key: str | None = None
    timeout_seconds: float = 30.0
    use_proxy: bool = True


@dataclass(frozen=True)
class _Proxy:
    host: str
    port: int
    headers: t.Mapping[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        return str(Origin("http", self.host, self.port))


class _Tunnelled(http.client.HTTPSConnection):
    """TLS through a proxy."""

    def __init__(self, origin: Origin, proxy: _Proxy, timeout: float, context: ssl.SSLContext) -> None:
        super().__init__(proxy.host, proxy.port, timeout=timeout, context=context)
        self.set_tunnel(origin.host, origin.port, headers=dict(proxy.headers))
        self.proxy_name = proxy.name


class _ThroughProxy(http.client.HTTPConnection):
    """Plain HTTP through a proxy, which wants the whole URL in the request line."""

    def __init__(self, origin: Origin, proxy: _Proxy, timeout: float) -> None:
        super().__init__(proxy.host, proxy.port, timeout=timeout)
        self._origin = str(origin)
        self._proxy_headers = proxy.headers
        self.proxy_name = proxy.name

    def putrequest(self, method: str, url: str, skip_host: bool = False, skip_accept_encoding: bool = False) -> None:
        super().putrequest(method, self._origin + url, skip_host, skip_accept_encoding)
        for name, value in self._proxy_headers.items():
            self.putheader(name, value)


class Transport:
    """Makes connections and keeps them; usable from several threads at once.

    ``meter`` learns what the requests of ``send`` cost.
    """

    def __init__(self, settings: TransportSettings, meter: LinkMeter | None = None) -> None:
        self._settings = settings
        self._context: ssl.SSLContext | None = None
        self._connections = Connections(self.connect)
        self._meter = meter

    def connect(self, scheme: str, host: str, port: int) -> http.client.HTTPConnection:
        """Return a connection that connects at its first request.

        :raises NotConnected: the environment names a proxy that cannot be used, or the certificates cannot be read
        """
        connection = self._connection(Origin(scheme, host, port), self._settings.timeout_seconds)
        connection.response_class = PacedResponse
        return connection

    def _connection(self, origin: Origin, timeout: float) -> http.client.HTTPConnection:
        proxy = self._proxy(origin)
        if origin.scheme == "https":
            if proxy is None:
                return http.client.HTTPSConnection(origin.host, origin.port, timeout=timeout, context=self._tls())
            return _Tunnelled(origin, proxy, timeout, self._tls())
        if proxy is None:
            return http.client.HTTPConnection(origin.host, origin.port, timeout=timeout)
        return _ThroughProxy(origin, proxy, timeout)

    def send(self, request: Request) -> Response:
        """Send one request and return its answer.

        :raises UrlRefused: the URL cannot be sent
        :raises NotConnected: there was no answer, or half of one
        :raises AnswerTooLong: the answer is longer than ``max_body_bytes``
        """
        origin, selector = _parse_url(request.url)
        used: list[http.client.HTTPConnection] = []
        first_byte_seconds = 0.0

        def ask(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
            nonlocal first_byte_seconds
            used[:] = [connection]
            _make_ready(connection, request.timeout_seconds)
            began_at = time.monotonic()
            response = _ask(connection, request, selector)
            first_byte_seconds = time.monotonic() - began_at
            return response

        try:
            connection, response = self._connections.ask(origin, ask, repeatable=request.repeatable)
            try:
                began_at = time.monotonic()
                if isinstance(response, PacedResponse) and request.answer_seconds is not None:
                    response.end_within(request.answer_seconds - first_byte_seconds)
                body = _read(response, request.max_body_bytes)
                if self._meter is not None:
                    seconds = first_byte_seconds + time.monotonic() - began_at
                    self._meter.add(Sample(first_byte_seconds, len(body), seconds))
            finally:
                self._connections.give_back(origin, connection, response)
        except (UnicodeError, http.client.InvalidURL) as error:
            raise UrlRefused(f"the host {origin.host!r} or the path of the address is not valid") from error
        except (OSError, http.client.HTTPException) as error:
            raise failure(error, origin, through(used[0]) if used else "", request.timeout_seconds) from error
        return Response(response.status, {name.lower(): value for name, value in response.getheaders()}, body)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._connections.close()

    def _tls(self) -> ssl.SSLContext:
        # Two threads may make one each; both are the same.
        if self._context is None:
            self._context = _tls_context(self._settings)
        return self._context

    def _proxy(self, origin: Origin) -> _Proxy | None:
        if not self._settings.use_proxy:
            return None
        proxies = urllib.request.getproxies_environment()
        url = proxies.get(origin.scheme) or proxies.get("all")
        # This, too, looks at the environment alone as soon as that names any proxy.
        if not url or urllib.request.proxy_bypass(f"{origin.host}:{origin.port}"):
            return None
        return _parse_proxy(url)


def through(connection: http.client.HTTPConnection) -> str:
    """Return " through the proxy …" for a connection that goes through one, otherwise an empty text."""
    name = getattr(connection, "proxy_name", "")
    return f" through the proxy {name}" if name else ""


def _parse_url(url: str) -> tuple[Origin, str]:
    try:
        parts = urllib.parse.urlsplit(url)
        origin = Origin(parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme])
    except (KeyError, ValueError):
        raise UrlRefused("the address is not a valid http or https URL") from None
    return origin, urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))


def _parse_proxy(url: str) -> _Proxy:
    try:
        parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port or _PORTS["http"]
    except ValueError:
        raise NotConnected(f"the proxy {redact_url(url)!r} that the environment names is not a valid address") from None
    if parts.scheme != "http" or not parts.hostname:
        raise NotConnected(f"the proxy {redact_url(url)!r} that the environment names is not an HTTP proxy")
    headers = {}
    if parts.username is not None:
        credentials = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(credentials.encode("utf-8")).decode("ascii")
    return _Proxy(parts.hostname, port, headers)


def _tls_context(settings: TransportSettings) -> ssl.SSLContext:
    try:
        if settings.ca_certificates:
            context = ssl.create_default_context(cadata=settings.ca_certificates)
        elif settings.ca_path and os.path.isdir(settings.ca_path):
            context = ssl.create_default_context(capath=settings.ca_path)
        elif settings.ca_path:
            context = ssl.create_default_context(cafile=settings.ca_path)
        else:
            context = ssl.create_default_context()
            if not context.cert_store_stats()["x509_ca"] and os.path.isfile(_CA_FILE_OF_MACOS):
                context.load_verify_locations(cafile=_CA_FILE_OF_MACOS)
    except (OSError, ValueError) as error:
        where = "that were handed over" if settings.ca_certificates else f"of ca_path {settings.ca_path!r}"
        raise TlsRefused(f"the certificates {where} cannot be read: {_reason(error)}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # With the LibreSSL of macOS, Python takes the line above without effect.
    context.options |= ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1
    if not settings.validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.client_cert:
        try:
            # A key with a passphrase would ask for it on the terminal; an empty one is refused instead.
            context.load_cert_chain(settings.client_cert, settings.client_key, password="")
        except (OSError, ValueError) as error:
            raise TlsRefused(f"client_cert {settings.client_cert!r} cannot be used: {_reason(error)}") from error
    return context


def _make_ready(connection: http.client.HTTPConnection, timeout_seconds: float) -> None:
    connection.timeout = timeout_seconds
    if connection.sock is None:
        connection.connect()
    else:
        connection.sock.settimeout(timeout_seconds)


def _ask(connection: http.client.HTTPConnection, request: Request, selector: str) -> http.client.HTTPResponse:
    headers = {"User-Agent": USER_AGENT, **request.headers}
    body: t.Iterator[memoryview] | None = None
    if request.body is not None:
        headers["Content-Length"] = str(len(request.body))
        body = pieces(request.body, request.timeout_seconds)
    try:
        connection.request(request.method, selector, body=body, headers=headers)
    except (BrokenPipeError, ConnectionResetError):
        # A server may answer before it has read everything, and close: that answer says why.
        if connection.sock is None:
            raise
    return connection.getresponse()


def _read(response: http.client.HTTPResponse, max_bytes: int) -> bytes:
    body = bytearray()
    while True:
        block = response.read(min(_BLOCK_BYTES, max_bytes + 1 - len(body)))
        body += block
        if len(body) > max_bytes:
            raise AnswerTooLong(f"the answer has more than {max_bytes} bytes")
        if not block:
            break
    if response.length:
        raise NotConnected(f"the answer ended after {len(body)} bytes")
    return bytes(body)


def failure(error: Exception, origin: Origin, proxy: str, timeout_seconds: float) -> NotConnected:
    """Return what went wrong with a connection to ``origin``; ``proxy`` is what ``through`` says."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsRefused(f"its certificate is not valid: {error.verify_message or error}")
    if isinstance(error, ssl.SSLError):
        reason = error.reason or str(error)
        if any(word in reason for word in _LASTING_TLS_REASONS):
            return TlsRefused(f"TLS failed{proxy}: {reason}")
        return NotConnected(f"the TLS connection broke{proxy}: {reason}")
    if isinstance(error, socket.timeout):
        within = f" within {timeout_seconds:g} seconds" if timeout_seconds else " in time"
        return NotConnected(f"no answer{proxy}{within}")
    if isinstance(error, socket.gaierror):
        what = f"of its proxy{proxy.replace(' through the proxy', '')}" if proxy else f"{origin.host!r}"
        return NotConnected(f"the name {what} cannot be resolved")
    return NotConnected(f"{_reason(error)}{proxy}")


def _reason(error: Exception) -> str:
    if isinstance(error, http.client.RemoteDisconnected):
        return "the connection was closed without an answer"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
