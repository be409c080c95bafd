# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Connections to the metadata server and its storage: TLS, proxies, timeouts, as the options of a task say.

One way to connect serves the API (``send``, for ``_api``) and the signed transfers (``connect``, for ``_storage``), on
the controller and on managed hosts.
"""

from __future__ import annotations

import http.client
import os
import ssl
import time
import typing as t
import urllib.parse
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._base import proxies
from ansible_collections.macfleet.parallels.plugins.module_utils._base.connection_errors import (
    AnswerTooLong,
    NotConnected,
    TlsRefused,
    UrlRefused,
    failure,
    reason,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._base.connections import Connections, Origin
from ansible_collections.macfleet.parallels.plugins.module_utils._base.link import Sample
from ansible_collections.macfleet.parallels.plugins.module_utils._base.link_meter import LinkMeter
from ansible_collections.macfleet.parallels.plugins.module_utils._base.paced import PacedResponse, pieces

USER_AGENT = "macfleet.parallels"
_BLOCK_BYTES = 1 << 20
_PORTS = {"http": 80, "https": 443}
# Where macOS keeps its authorities; a Python from python.org looks elsewhere and finds none.
_CA_FILE_OF_MACOS = "/etc/ssl/cert.pem"


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
        proxy = proxies.proxy_for(origin) if self._settings.use_proxy else None
        if origin.scheme == "https":
            if proxy is None:
                return http.client.HTTPSConnection(origin.host, origin.port, timeout=timeout, context=self._tls())
            return proxies.Tunnelled(origin, proxy, timeout, self._tls())
        if proxy is None:
            return http.client.HTTPConnection(origin.host, origin.port, timeout=timeout)
        return proxies.ThroughProxy(origin, proxy, timeout)

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
            raise failure(error, origin, proxies.through(used[0]) if used else "", request.timeout_seconds) from error
        return Response(response.status, {name.lower(): value for name, value in response.getheaders()}, body)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._connections.close()

    def _tls(self) -> ssl.SSLContext:
        # Two threads may make one each; both are the same.
        if self._context is None:
            self._context = _tls_context(self._settings)
        return self._context


def _parse_url(url: str) -> tuple[Origin, str]:
    try:
        parts = urllib.parse.urlsplit(url)
        origin = Origin(parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme])
    except (KeyError, ValueError):
        raise UrlRefused("the address is not a valid http or https URL") from None
    return origin, urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))


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
        raise TlsRefused(f"the certificates {where} cannot be read: {reason(error)}") from error
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
            raise TlsRefused(f"client_cert {settings.client_cert!r} cannot be used: {reason(error)}") from error
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
