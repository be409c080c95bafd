# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Errors of the metadata server, as its clients see them.

ApiError                                       what was asked of the server and not done
 ├── BadRequest        bad_request, …          the server does not understand or accept the request
 │    ├── InvalidAddress  bad_request          not a catalog id, version, architecture, tag or range
 │    └── TooLarge     payload_too_large       the body is longer than the server, or a proxy, takes
 ├── Unauthenticated   unauthenticated, …      it does not know who asks: wrong password, expired token or grant
 ├── Forbidden         forbidden, grant_scope  it knows who asks, and that is not enough
 ├── Missing           unknown_manifest, …     not there, or not for these eyes: both look the same
 │    └── StockServer  stock_server            the server is a stock one, and has no such route
 ├── Conflict          version_exists, …       it contradicts what is there already
 │    └── Blocked      tainted, revoked        it is there and must not be pulled
 ├── Throttled         locked_out              too many attempts; wait
 ├── BadReply          bad_reply               what answers does not speak the catalog's protocol
 └── Unreachable       unreachable             no answer at all
      ├── TlsFailure   tls_failure             the server's certificate, or ours, was not accepted
      └── Unavailable  unavailable, …          the server answers that it cannot answer (5xx)

The instances carry the server's own ``error`` word as ``code`` wherever the server sent one.
"""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError


class ApiError(CatalogError):
    """Something was asked of the metadata server and not done."""

    code = "api_error"

    def __init__(
        self,
        message: str,
        hint: t.Optional[str] = None,
        details: t.Optional[t.Mapping[str, t.Any]] = None,
        *,
        code: t.Optional[str] = None,
    ) -> None:
        super().__init__(message, hint, details)
        if code:
            self.code = code


class BadRequest(ApiError):
    """The server does not understand or accept the request."""

    code = "bad_request"


class InvalidAddress(BadRequest):
    """A text that is not a valid catalog id, version, architecture, tag or range."""


class TooLarge(BadRequest):
    """The body is longer than the server takes, or a proxy in front of it."""

    code = "payload_too_large"


class Unauthenticated(ApiError):
    """The server does not know who asks: wrong password, expired token or grant."""

    code = "unauthenticated"


class Forbidden(ApiError):
    """The server knows who asks, and that is not enough."""

    code = "forbidden"


class Missing(ApiError):
    """It does not exist, or the caller may not see it."""

    code = "not_found"


class StockServer(Missing):
    """What answers is a stock Parallels DevOps server, which has no such route."""

    code = "stock_server"


class Conflict(ApiError):
    """The request contradicts what is there already."""

    code = "conflict"


class Blocked(Conflict):
    """The manifest is there and must not be pulled; ``code`` is ``tainted`` or ``revoked``."""

    code = "tainted"


class Throttled(ApiError):
    """Too many attempts; the server wants to be left alone for a while."""

    code = "locked_out"


class BadReply(ApiError):
    """What answers does not speak the catalog's protocol."""

    code = "bad_reply"


class Unreachable(ApiError):
    """No answer at all."""

    code = "unreachable"


class TlsFailure(Unreachable):
    """The server's certificate, or ours, was not accepted."""

    code = "tls_failure"


class Unavailable(Unreachable):
    """The server answers that it cannot answer."""

    code = "unavailable"


# What may pass by itself, at the server or at a proxy in front of it. Everything else is a decision of the server.
TEMPORARY = (Unreachable, Throttled, BadReply)
