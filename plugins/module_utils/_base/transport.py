# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Connections to the metadata server and its storage: TLS, proxies, timeouts, as the options of a task say.

One way to connect serves the API (``send``, for ``_api``) and the signed transfers (``connect``, for ``_storage``), on
the controller and on managed hosts. It looks for proxies in the environment alone: asking macOS for those of the
system crashes in a process that was forked, which Ansible's workers on a controller are.
"""

from __future__ import annotations

import base64
import http.client
import os
import socket
import ssl
import typing as t
import urllib.parse
import urllib.request
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._base.redact import redact_url

USER_AGENT = "macfleet.parallels"
_BLOCK_BYTES = 1 << 20
_PORTS = {"http": 80, "https": 443}
# Words in the reason of a TLS error that lasts. Any other is taken as a connection that broke: what is tried again for
# nothing costs seconds, and what is not tried again may cost a transfer.
_LASTING_TLS_REASONS = ("CERT", "UNKNOWN_CA", "HANDSHAKE_FAILURE", "PROTOCOL", "VERSION")
# Where macOS keeps its authorities; a Python from python.org looks elsewhere and finds none.
_CA_FILE_OF_MACOS = "/etc/ssl/cert.pem"


class NotConnected(CatalogError):
    """There was no answer, or half of one; the message is the reason alone, for whoever asked to complete."""

    code = "unreachable"


class TlsRefused(NotConnected):
    """A certificate, the server's or ours, was not accepted, or cannot be read."""

    code = "tls_failure"


class AnswerTooLong(CatalogError):
    """An answer is longer than the request allows."""

    code = "bad_reply"


@dataclass(frozen=True)
class Request:
    """What ``send`` sends."""

    method: str
    url: str
    headers: t.Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    timeout_seconds: float
    max_body_bytes: int


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


class _ThroughProxy(http.client.HTTPConnection):
    """Plain HTTP through a proxy, which wants the whole URL in the request line."""

    def __init__(self, origin: str, proxy: _Proxy, timeout: float) -> None:
        super().__init__(proxy.host, proxy.port, timeout=timeout)
        self._origin = origin
        self._proxy_headers = proxy.headers

    def putrequest(self, method: str, url: str, skip_host: bool = False, skip_accept_encoding: bool = False) -> None:
        super().putrequest(method, self._origin + url, skip_host, skip_accept_encoding)
        for name, value in self._proxy_headers.items():
            self.putheader(name, value)


class Transport:
    """Makes connections; usable from several threads at once."""

    def __init__(self, settings: TransportSettings) -> None:
        self._settings = settings
        self._context: ssl.SSLContext | None = None

    def connect(self, scheme: str, host: str, port: int) -> http.client.HTTPConnection:
        """A connection that connects at its first request."""
        timeout = self._settings.timeout_seconds
        proxy = self._proxy(scheme, host, port)
        if scheme == "https":
            if proxy is None:
                return http.client.HTTPSConnection(host, port, timeout=timeout, context=self._tls())
            connection = http.client.HTTPSConnection(proxy.host, proxy.port, timeout=timeout, context=self._tls())
            connection.set_tunnel(host, port, headers=dict(proxy.headers))
            return connection
        if proxy is None:
            return http.client.HTTPConnection(host, port, timeout=timeout)
        name = f"[{host}]" if ":" in host else host
        return _ThroughProxy(f"{scheme}://{name}:{port}", proxy, timeout)

    def send(self, request: Request) -> Response:
        """One request over a connection of its own.

        :raises NotConnected: there was no answer, or half of one
        :raises AnswerTooLong: the answer is longer than it may be
        """
        parts = urllib.parse.urlsplit(request.url)
        selector = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        headers = {"User-Agent": USER_AGENT, **request.headers}
        connection = self.connect(parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme])
        connection.timeout = request.timeout_seconds
        try:
            return _exchange(connection, request, selector, headers)
        except (OSError, http.client.HTTPException) as error:
            raise _failure(error, connection.host, request.timeout_seconds) from error
        finally:
            connection.close()

    def _tls(self) -> ssl.SSLContext:
        # Two threads may make one each; both are the same.
        if self._context is None:
            self._context = _tls_context(self._settings)
        return self._context

    def _proxy(self, scheme: str, host: str, port: int) -> _Proxy | None:
        if not self._settings.use_proxy:
            return None
        proxies = urllib.request.getproxies_environment()
        url = proxies.get(scheme) or proxies.get("all")
        # This, too, looks at the environment alone as soon as that names any proxy.
        if not url or urllib.request.proxy_bypass(f"{host}:{port}"):
            return None
        return _parse_proxy(url)


def _parse_proxy(url: str) -> _Proxy:
    try:
        parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port or _PORTS["http"]
    except ValueError:
        raise NotConnected(f"the proxy {redact_url(url)!r} that the environment names is no address") from None
    if parts.scheme != "http" or not parts.hostname:
        raise NotConnected(f"the proxy {redact_url(url)!r} that the environment names is no HTTP proxy")
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


def _exchange(
    connection: http.client.HTTPConnection, request: Request, selector: str, headers: t.Mapping[str, str]
) -> Response:
    try:
        connection.request(request.method, selector, body=request.body, headers=dict(headers))
    except (BrokenPipeError, ConnectionResetError):
        # A server may answer before it has read everything, and close: that answer says why.
        if connection.sock is None:
            raise
    response = connection.getresponse()
    body = bytearray()
    while True:
        block = response.read(min(_BLOCK_BYTES, request.max_body_bytes + 1 - len(body)))
        body += block
        if len(body) > request.max_body_bytes:
            raise AnswerTooLong(f"the answer has more than {request.max_body_bytes} bytes")
        if not block:
            break
    if response.length:
        raise NotConnected(f"the answer ended after {len(body)} bytes")
    return Response(response.status, {name.lower(): value for name, value in response.getheaders()}, bytes(body))


def _failure(error: Exception, host: str, timeout_seconds: float) -> NotConnected:
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsRefused(f"its certificate is not valid: {error.verify_message or error}")
    if isinstance(error, ssl.SSLError):
        reason = error.reason or str(error)
        if any(word in reason for word in _LASTING_TLS_REASONS):
            return TlsRefused(f"TLS failed: {reason}")
        return NotConnected(f"the TLS connection broke: {reason}")
    if isinstance(error, socket.timeout):
        return NotConnected(f"no answer within {timeout_seconds:g} seconds")
    if isinstance(error, socket.gaierror):
        return NotConnected(f"the name {host!r} cannot be resolved")
    return NotConnected(_reason(error))


def _reason(error: Exception) -> str:
    if isinstance(error, http.client.RemoteDisconnected):
        return "the connection was closed without an answer"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
