# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Lists that the metadata server sends page by page."""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import BadReply
from ansible_collections.macfleet.parallels.plugins.module_utils._api.http import Http

PAGE_LENGTH = 200


def items(
    http: Http, path: str, name: str, doing: str, query: t.Optional[t.Mapping[str, str]] = None
) -> t.Iterator[t.Any]:
    """Yield what the field ``name`` of all pages lists.

    :raises BadReply: it is not a list, or the server sends a page again
    """
    asked = {"limit": str(PAGE_LENGTH), **(query or {})}
    seen: t.Set[str] = set()
    while True:
        reply = http.json("GET", path, doing, query=asked)
        page = reply if isinstance(reply, dict) else {}
        found = page.get(name)
        if not isinstance(found, list):
            raise BadReply(f"Could not {doing}: the server sent something that is not a list.")
        yield from found
        cursor = page.get("next")
        if cursor is None:
            return
        if not isinstance(cursor, str) or cursor in seen:
            raise BadReply(f"Could not {doing}: the server sends the same page again and again.")
        seen.add(cursor)
        asked["cursor"] = cursor
