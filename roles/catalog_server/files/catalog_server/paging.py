# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists that are sent page by page: how long a page is, and the cursor that leads to the next one."""

from __future__ import annotations

import typing as t

from fastapi import Query

from catalog_server import cursors
from catalog_server.keys import KeyRing
from catalog_server.parameters import Positive
from catalog_server.settings import Settings
from catalog_server.texts import Wanted

_DEFAULT_LENGTH = 100

Limit = t.Annotated[
    Positive | None,
    Query(description="Number of items in a page: 100 by default, and at most `page` of `GET /server`."),
]
Cursor = t.Annotated[
    Wanted | None, Query(max_length=2000, description="Where the page begins: `next` of the page before it.")
]


def length(settings: Settings, limit: int | None) -> int:
    """Return how many items a page has at most, if a client asked for ``limit``."""
    return min(limit or _DEFAULT_LENGTH, settings.max_page)


def cursor(keys: KeyRing, *parts: str) -> str:
    """Return the cursor that says where the page ended."""
    return cursors.encode(keys, parts)


def parts(keys: KeyRing, text: str, count: int) -> tuple[str, ...]:
    """Return what ``cursor`` was given.

    :raises BadRequest: it is not a cursor of this server
    """
    return cursors.decode(keys, text, count)
