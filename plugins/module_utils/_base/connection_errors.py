# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What can go wrong with a connection, and the words for it."""

from __future__ import annotations

import http.client
import socket
import ssl

from ansible_collections.macfleet.parallels.plugins.module_utils._base.connections import Origin
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError

# Words in the reason of a TLS error that lasts. Any other is taken as a connection that broke: a needless attempt costs
# seconds, a missing one may cost a transfer.
_LASTING_TLS_REASONS = ("CERT", "UNKNOWN_CA", "HANDSHAKE_FAILURE", "PROTOCOL", "VERSION")


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


def failure(error: Exception, origin: Origin, proxy: str, timeout_seconds: float) -> NotConnected:
    """Return what went wrong with a connection to ``origin``; ``proxy`` is what ``proxies.through`` says."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsRefused(f"its certificate is not valid: {error.verify_message or error}")
    if isinstance(error, ssl.SSLError):
        cause = error.reason or str(error)
        if any(word in cause for word in _LASTING_TLS_REASONS):
            return TlsRefused(f"TLS failed{proxy}: {cause}")
        return NotConnected(f"the TLS connection broke{proxy}: {cause}")
    if isinstance(error, socket.timeout):
        within = f" within {timeout_seconds:g} seconds" if timeout_seconds else " in time"
        return NotConnected(f"no answer{proxy}{within}")
    if isinstance(error, socket.gaierror):
        what = f"of its proxy{proxy.replace(' through the proxy', '')}" if proxy else f"{origin.host!r}"
        return NotConnected(f"the name {what} cannot be resolved")
    return NotConnected(f"{reason(error)}{proxy}")


def reason(error: Exception) -> str:
    """Return what the system says of an error."""
    if isinstance(error, http.client.RemoteDisconnected):
        return "the connection was closed without an answer"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
