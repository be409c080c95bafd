# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The URL of a metadata server's API, from the address that a user wrote."""

from __future__ import annotations

import urllib.parse

from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import BadRequest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.hints import HINTS
from ansible_collections.macfleet.parallels.plugins.module_utils._base.redact import redact_url


def api_url(catalog_url: str) -> str:
    """Return the URL of the API of a server; ``catalog_url`` is what a user wrote, with or without ``/api/v1``.

    :raises BadRequest: it is not the address of a server, or contains credentials, a query or a fragment
    """
    parts = _parts(catalog_url)
    if parts is None:
        raise BadRequest(
            f"{redact_url(catalog_url)!r} is not a valid address of a metadata server.",
            HINTS["invalid_url"],
            code="invalid_url",
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise BadRequest(
            f"The address {redact_url(catalog_url)!r} contains a user, a query or a fragment.",
            "Set catalog_url to the plain address, and the credentials in their own options.",
            code="invalid_url",
        )
    path = parts.path.rstrip("/")
    for ending in ("/api/v1", "/api"):
        if path.endswith(ending):
            path = path[: -len(ending)]
            break
    return f"{parts.scheme}://{parts.netloc}{path}/api/v1"


def _parts(text: str) -> urllib.parse.SplitResult | None:
    """Return the parts of an http or https address, or None if no request could be sent to it."""
    text = text.strip()
    try:
        parts = urllib.parse.urlsplit(text)
        host = parts.hostname or ""
        # As a look-up of the name does: it refuses labels that are empty or too long.
        host.encode("idna")
        is_sound = bool(host) and parts.port != 0 and parts.scheme in ("http", "https")
    except ValueError:
        return None
    # Some of these urlsplit() drops silently; none is allowed in a request line.
    has_blanks = any(character.isspace() or not character.isprintable() for character in text)
    return parts if is_sound and not has_blanks and parts.path.isascii() else None
