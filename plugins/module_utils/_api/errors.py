# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Errors of the metadata server, as its clients see them.

ApiError                                      a request to the server failed
 ├── BadRequest        bad_request, …          the server does not understand or accept the request
 │    ├── InvalidAddress  bad_request          not a catalog id, version, architecture, tag or range
 │    └── TooLarge     payload_too_large       the body is longer than the server, or a proxy, takes
 ├── Unauthenticated   unauthenticated, …      wrong password, expired token or grant: the caller is unknown
 ├── Forbidden         forbidden, grant_scope  the caller does not have the right
 ├── Missing           unknown_manifest, …     it does not exist, or the caller may not see it
 │    └── StockServer  stock_server            the server is a stock one, and has no such route
 ├── Conflict          version_exists, …       it conflicts with what exists
 │    └── Blocked      tainted, revoked        the manifest is tainted or revoked and must not be pulled
 ├── Throttled         locked_out              too many attempts; the server asks for a pause
 ├── BadReply          bad_reply               the answer is not that of a catalog
 └── Unreachable       unreachable             no answer at all
      ├── TlsFailure   tls_failure             the server's certificate, or ours, was not accepted
      └── Unavailable  unavailable, …          the server cannot answer now (5xx)

The instances carry the server's own ``error`` word as ``code`` wherever the server sent one.
"""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError


class ApiError(CatalogError):
    """A request to the metadata server failed."""

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
    """The server does not know the caller: wrong password, expired token or grant."""

    code = "unauthenticated"


class Forbidden(ApiError):
    """The caller does not have the right."""

    code = "forbidden"


class Missing(ApiError):
    """It does not exist, or the caller may not see it."""

    code = "not_found"


class StockServer(Missing):
    """What answers is a stock Parallels DevOps server, which has no such route."""

    code = "stock_server"


class Conflict(ApiError):
    """The request conflicts with what exists."""

    code = "conflict"


class Blocked(Conflict):
    """The manifest must not be pulled; ``code`` is ``tainted`` or ``revoked``."""

    code = "tainted"


class Throttled(ApiError):
    """Too many attempts; the server asks for a pause."""

    code = "locked_out"


class BadReply(ApiError):
    """The answer is not that of a catalog."""

    code = "bad_reply"


class Unreachable(ApiError):
    """No answer at all."""

    code = "unreachable"


class TlsFailure(Unreachable):
    """The server's certificate, or ours, was not accepted."""

    code = "tls_failure"


class Unavailable(Unreachable):
    """The server answers that it cannot do it now (5xx)."""

    code = "unavailable"


# These may pass by themselves, at the server or at a proxy in front of it. All others are decisions of the server.
TEMPORARY = (Unreachable, Throttled, BadReply)
