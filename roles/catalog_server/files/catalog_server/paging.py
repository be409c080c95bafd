# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists that are sent page by page: how long a page is, and the cursor that leads to the next one."""

from __future__ import annotations

import base64
import binascii
import json
import typing as t

from fastapi import Query

from catalog_server.errors import BadRequest
from catalog_server.settings import Settings

_DEFAULT_LENGTH = 100

Limit = t.Annotated[int | None, Query(ge=1)]
Cursor = t.Annotated[str | None, Query(max_length=2000)]


def length(settings: Settings, limit: int | None) -> int:
    """Return how many items a page has at most, if a client asked for ``limit``."""
    return min(limit or _DEFAULT_LENGTH, settings.max_page)


def cursor(*parts: str) -> str:
    """Return the cursor that says where the page ended."""
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode("ascii")


def parts(text: str, count: int) -> list[str]:
    """Return what ``cursor`` was given.

    :raises BadRequest: it is not a cursor of this server
    """
    try:
        found = json.loads(base64.urlsafe_b64decode(text.encode("ascii")))
    except (binascii.Error, ValueError):
        found = None
    if not isinstance(found, list) or len(found) != count or not all(isinstance(part, str) for part in found):
        raise BadRequest("The cursor is not one that this server gave out.")
    return found
