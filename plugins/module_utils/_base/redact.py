# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Takes secrets out of texts before anybody sees them."""

from __future__ import annotations

import typing as t
import urllib.parse

HIDDEN = "***"
# Hiding anything shorter would damage ordinary words, and it cannot be a secret.
_SHORTEST_SECRET = 4


def redact_url(url: str) -> str:
    """Return ``url`` without its user, password, fragment and the values of its query."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return _without_query(url)
    authority, slash, path = rest.partition("/")
    if not slash:
        # A query may follow the host at once.
        cut = min((authority.find(mark) for mark in "?#" if mark in authority), default=len(authority))
        authority, path = authority[:cut], authority[cut:]
    user, at, host = authority.rpartition("@")
    authority = f"{HIDDEN}@{host}" if at else authority
    return f"{scheme}://{authority}{slash}{_without_query(path)}"


def _without_query(text: str) -> str:
    text = text.partition("#")[0]
    path, mark, query = text.partition("?")
    if not mark:
        return path
    parts = []
    for part in query.split("&"):
        name, equals, _value = part.partition("=")
        parts.append(f"{name}={HIDDEN}" if equals else HIDDEN)
    return f"{path}?{'&'.join(parts)}"


def redact(text: str, secrets: t.Iterable[str | None]) -> str:
    """Return ``text`` without the secrets, plain or percent-encoded."""
    found = {secret for secret in secrets if secret and len(secret) >= _SHORTEST_SECRET}
    found |= {urllib.parse.quote(secret, safe="") for secret in found}
    for secret in sorted(found, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text
