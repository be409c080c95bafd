# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signed URLs as answers."""

from __future__ import annotations

import datetime
import typing as t

from catalog_server.storages.base import Signed, UrlRequest
from catalog_server.unit_of_work import RequestContext


def wanted(context: RequestContext, holder: str, seconds: int, until: datetime.datetime | None = None) -> UrlRequest:
    """Return what a storage needs to make a URL that is valid for ``seconds``, and not longer than ``until``."""
    return UrlRequest(context.base_url, context.services.clock(), seconds, holder, until)


def fields(signed: Signed) -> dict[str, t.Any]:
    """Return the fields of the answer of that kind."""
    return {
        "url": signed.url,
        "headers": dict(signed.headers),
        "expires_at": signed.expires_at,
        "expires_in": signed.expires_in,
    }
