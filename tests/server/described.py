# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The description of the API, and a check that every answer a test gets is one that it lists."""

from __future__ import annotations

import functools
import json
import re
import typing as t

import httpx
from catalog_server.openapi.routes import FILE

Json = dict[str, t.Any]

_PREFIX = re.compile(r"/api(/v1)?(?=/)")


@functools.cache
def document() -> Json:
    """The document that the server sends."""
    return t.cast(Json, json.loads(FILE.read_text(encoding="utf-8")))


def operations() -> list[tuple[str, str, Json]]:
    """Method, path and description of each operation."""
    return [
        (method.upper(), path, operation)
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    ]


def resolved(part: Json) -> Json:
    """A part of the document, or what it refers to."""
    if "$ref" not in part:
        return part
    found: t.Any = document()
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return t.cast(Json, found)


@functools.cache
def _templates() -> list[tuple[re.Pattern[str], str]]:
    # Those with fewer parameters say more.
    paths = sorted(document()["paths"], key=lambda path: path.count("{"))
    return [(re.compile(re.sub(r"\{(\w+)\}", _pattern, path)), path) for path in paths]


def _pattern(parameter: re.Match[str]) -> str:
    return ".+" if parameter.group(1) == "key" and "objects" in parameter.string else "[^/]+"


def operation_of(method: str, path: str) -> Json | None:
    """The operation that answers a request, if there is one."""
    path = _PREFIX.sub("", path, count=1)
    template = next((template for pattern, template in _templates() if pattern.fullmatch(path)), None)
    found: Json = document()["paths"].get(template, {})
    return found.get(method.lower())


def check_described(response: httpx.Response) -> None:
    """Raise AssertionError if the description of the route does not list such an answer."""
    request = response.request
    operation = operation_of(request.method, request.url.path)
    if operation is None:
        return
    where = f"{request.method} {request.url.path}: {response.status_code}"
    answer = operation["responses"].get(str(response.status_code))
    assert answer is not None, f"{where} is not described"
    if response.status_code >= 400 and request.method != "HEAD":
        response.read()
        word = response.json()["error"]
        listed = resolved(answer)["content"]["application/json"]["examples"]
        assert word in listed, f"{where} {word} is not described"
