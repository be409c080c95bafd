# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Connections through a proxy that the environment names.

Only the environment does: asking macOS for the proxies of the system crashes in a process that was forked, as Ansible's
workers on a controller are.
"""

from __future__ import annotations

import base64
import http.client
import ssl
import typing as t
import urllib.parse
import urllib.request
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._base.connection_errors import NotConnected
from ansible_collections.macfleet.parallels.plugins.module_utils._base.connections import Origin
from ansible_collections.macfleet.parallels.plugins.module_utils._base.redact import redact_url

_HTTP_PORT = 80


@dataclass(frozen=True)
class Proxy:
    """A proxy, and the headers that it wants."""

    host: str
    port: int
    headers: t.Mapping[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        """What to call it in an error."""
        return str(Origin("http", self.host, self.port))


class Tunnelled(http.client.HTTPSConnection):
    """TLS through a proxy."""

    def __init__(self, origin: Origin, proxy: Proxy, timeout: float, context: ssl.SSLContext) -> None:
        super().__init__(proxy.host, proxy.port, timeout=timeout, context=context)
        self.set_tunnel(origin.host, origin.port, headers=dict(proxy.headers))
        self.proxy_name = proxy.name


class ThroughProxy(http.client.HTTPConnection):
    """Plain HTTP through a proxy, which wants the whole URL in the request line."""

    def __init__(self, origin: Origin, proxy: Proxy, timeout: float) -> None:
        super().__init__(proxy.host, proxy.port, timeout=timeout)
        self._origin = str(origin)
        self._proxy_headers = proxy.headers
        self.proxy_name = proxy.name

    def putrequest(self, method: str, url: str, skip_host: bool = False, skip_accept_encoding: bool = False) -> None:
        """See ``http.client``."""
        super().putrequest(method, self._origin + url, skip_host, skip_accept_encoding)
        for name, value in self._proxy_headers.items():
            self.putheader(name, value)


def proxy_for(origin: Origin) -> Proxy | None:
    """Return the proxy on the way to ``origin``, or None if there is none.

    :raises NotConnected: the environment names one that cannot be used
    """
    named = urllib.request.getproxies_environment()
    url = named.get(origin.scheme) or named.get("all")
    # This, too, looks at the environment alone as soon as that names any proxy.
    if not url or urllib.request.proxy_bypass(f"{origin.host}:{origin.port}"):
        return None
    return _parse_proxy(url)


def through(connection: http.client.HTTPConnection) -> str:
    """Return " through the proxy …" for a connection that goes through one, otherwise an empty text."""
    name = getattr(connection, "proxy_name", "")
    return f" through the proxy {name}" if name else ""


def _parse_proxy(url: str) -> Proxy:
    try:
        parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port or _HTTP_PORT
    except ValueError:
        raise NotConnected(f"the proxy {redact_url(url)!r} that the environment names is not a valid address") from None
    if parts.scheme != "http" or not parts.hostname:
        raise NotConnected(f"the proxy {redact_url(url)!r} that the environment names is not an HTTP proxy")
    headers = {}
    if parts.username is not None:
        credentials = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(credentials.encode("utf-8")).decode("ascii")
    return Proxy(parts.hostname, port, headers)
