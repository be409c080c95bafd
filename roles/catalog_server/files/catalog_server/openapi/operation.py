# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a route says of itself beside its handler: by which credentials, with which errors of its own, and which body.

It is handed to the framework as ``openapi_extra``; ``document.py`` makes whole answers of it.
"""

from __future__ import annotations

import typing as t

# Names of security schemes; ``document.py`` describes them.
TOKEN = "token"
API_KEY = "api_key"
GRANT = "grant"

# Who may send a request, by its credentials
ANYBODY: tuple[str, ...] = ()
USERS = (TOKEN, API_KEY)
USERS_AND_GRANTS = (TOKEN, API_KEY, GRANT)
GRANTS = (GRANT,)

# In an operation, until the document is complete
WORDS = "x-words"
BODY = "x-body"

Body = t.Literal["json", "index", "object"]


def operation(by: tuple[str, ...], *words: str, body: Body = "json", **more: t.Any) -> dict[str, t.Any]:
    """Return the ``openapi_extra`` of a route.

    ``words`` are those of errors that other routes do not answer; ``body`` is what its body is, which decides how long
    it may be (see ``app.py``); ``more`` are other fields of the operation.
    """
    return {"security": [{name: []} for name in by], WORDS: list(words), BODY: body, **more}


def body_of(route: t.Any) -> Body:
    """Return what the body of a route is. What is no route of the API may have no more than others."""
    found: Body = (getattr(route, "openapi_extra", None) or {}).get(BODY, "json")
    return found


def is_public(route: t.Any) -> bool:
    """Return True if a route needs no credentials."""
    return (getattr(route, "openapi_extra", None) or {}).get("security") == []
