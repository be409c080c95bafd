# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of routes whose bodies or answers are bytes; the framework knows nothing of ranges and entity tags."""

from __future__ import annotations

import typing as t

from fastapi import Response

MEDIA_TYPE = "application/octet-stream"
_CONTENT = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}


class Octets(Response):
    """Bytes of a file."""

    media_type = MEDIA_TYPE


def _header(name: str, description: str) -> dict[str, t.Any]:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": {"type": "string"}}


# What may be asked of an answer that is bytes (RFC 9110, sections 13 and 14)
RANGES = [
    _header("Range", "One range of bytes, such as `bytes=0-1023`; anything else is ignored."),
    _header("If-Range", "`ETag` that the bytes must have; otherwise `Range` is ignored."),
    _header("If-None-Match", "`ETag` values; the answer is 304 if the bytes have one of them."),
]
CONTENT_SHA256 = {
    "X-Content-SHA256": {
        "description": "SHA-256 of the whole file, in hexadecimal.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    }
}
_ENTITY_TAG = {
    "ETag": {"description": "Names the bytes: their SHA-256 in quotation marks.", "schema": {"type": "string"}}
}
_ACCEPT_RANGES = {"Accept-Ranges": {"description": "Always `bytes`.", "schema": {"const": "bytes"}}}
_CONTENT_RANGE = {"Content-Range": {"description": "Which bytes of how many were sent.", "schema": {"type": "string"}}}


def received(description: str) -> dict[str, t.Any]:
    """Return the body of a request that is bytes."""
    return {"description": description, "required": True, "content": _CONTENT}


def sent(what: str, headers: t.Mapping[str, t.Any] | None = None, *, head: bool = False) -> dict[str, t.Any]:
    """Return the answers of a route that sends bytes, or ranges of them; without the bytes for a HEAD."""
    always = {**_ENTITY_TAG, **_ACCEPT_RANGES, **(headers or {})}
    body = {} if head else {"content": _CONTENT}
    return {
        "200": {"description": f"{what}.", "headers": always, **body},
        "206": {"description": f"One range of {what}.", "headers": {**always, **_CONTENT_RANGE}, **body},
        "304": {"description": "The client has these bytes already.", "headers": _ENTITY_TAG},
    }
