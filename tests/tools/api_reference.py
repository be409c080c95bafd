# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the description of the server's API: the OpenAPI document that it sends, and a page made from it.

usage: PYTHONPATH=<parent of ansible_collections>:roles/catalog_server/files python tests/tools/api_reference.py
``make reference`` does that. A test compares both files with what this makes.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Iterable, Iterator
from pathlib import Path

from catalog_server.app import ROUTERS
from catalog_server.openapi import document

Json = dict[str, t.Any]

ROOT = Path(__file__).resolve().parents[2]
OPENAPI = ROOT / "roles/catalog_server/files/catalog_server/openapi/openapi.json"
PAGE = ROOT / "docs/native-api-reference.md"

_HEAD = """\
<!--
Copyright (c) 2026, macfleet.parallels contributors
GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
SPDX-License-Identifier: GPL-3.0-or-later
-->

# Reference of the native API

Every route of the metadata server, and every body that it takes and answers. [native-api.md](native-api.md) explains
what they mean, and how they work together. This page is made from the OpenAPI document, which each server sends to
anybody at `/api/v1/openapi.json`; `make reference` writes both anew.

Paths are those below `/api/v1`. A field of a request that is not marked as needed can be left out.
"""
_CREDENTIALS = {"token": "login token", "grant": "grant", "api_key": "API key"}


def page(found: Json) -> str:
    """Return the page as Markdown."""
    lines = [_HEAD, "## Routes", ""]
    lines += _table(("route", "what it does", "credentials"), (_row(*route) for route in _routes(found)))
    lines += ["", "## Errors of many routes", "", *_common_errors(found)]
    for tag in found["tags"]:
        lines += ["", f"## {tag['name'].capitalize()}", "", tag["description"]]
        for path, method, operation in _routes(found):
            if operation["tags"] == [tag["name"]]:
                lines += ["", *_operation(path, method, operation)]
    lines += ["", "## Bodies"]
    for name, schema in found["components"]["schemas"].items():
        lines += ["", *_schema(name, schema)]
    return "\n".join(lines) + "\n"


def _routes(found: Json) -> Iterator[tuple[str, str, Json]]:
    order = [tag["name"] for tag in found["tags"]]
    routes = [(path, method, one) for path, methods in found["paths"].items() for method, one in methods.items()]
    yield from sorted(routes, key=lambda route: order.index(route[2]["tags"][0]))


def _row(path: str, method: str, operation: Json) -> tuple[str, str, str]:
    return f"[`{method.upper()} {path}`](#{operation['operationId']})", operation["summary"], _credentials(operation)


def _credentials(operation: Json) -> str:
    names = [_CREDENTIALS[name] for one in operation["security"] for name in one]
    return " or ".join(names) or "none"


def _common_errors(found: Json) -> Iterator[str]:
    """What routes answer by references."""
    yield "Every route may answer these; 401 and 403 only if it needs credentials, 413 only if it takes a body."
    yield ""
    answers = found["components"]["responses"].values()
    yield from _table(("word", "status", "what happened"), (row for answer in answers for row in _words(answer)))


def _words(answer: Json) -> Iterator[tuple[str, str, str]]:
    for word, one in answer.get("content", {}).get("application/json", {}).get("examples", {}).items():
        if one["value"].keys() == {"message", "code", "error"}:
            yield f"`{word}`", str(one["value"]["code"]), one["value"]["message"]


def _operation(path: str, method: str, operation: Json) -> Iterator[str]:
    yield f'### <a id="{operation["operationId"]}"></a>`{method.upper()} {path}`'
    yield ""
    yield operation["summary"]
    if "description" in operation:
        yield operation["description"]
    yield ""
    yield f"Operation: `{operation['operationId']}`. Credentials: {_credentials(operation)}."
    parameters = operation.get("parameters", ())
    if parameters:
        yield ""
        yield from _table(("parameter", "in", "type", "meaning"), map(_parameter, parameters))
    if "requestBody" in operation:
        body = operation["requestBody"]
        needed = "needed" if body.get("required") else "optional"
        yield ""
        yield f"Body ({needed}): {_content(body['content'])}"
    yield ""
    own = []
    for status, answer in operation["responses"].items():
        if status < "400":
            said = answer["description"] + (f" {_content(answer['content'])}" if "content" in answer else "")
            yield f"* {status}: {said}"
        elif "$ref" not in answer:
            own += list(_words(answer)) or [(f"`{one}`", status, "") for one in _listed(answer["description"])]
    if own:
        yield "* errors: " + ", ".join(f"{word} ({status})" for word, status, _meaning in own)


def _listed(description: str) -> list[str]:
    return [line.split("`")[1] for line in description.splitlines()]


def _parameter(parameter: Json) -> tuple[str, str, str, str]:
    needed = " (needed)" if parameter["required"] and parameter["in"] != "path" else ""
    return (
        f"`{parameter['name']}`{needed}",
        parameter["in"],
        _type(parameter["schema"]),
        parameter["description"],
    )


def _content(content: Json) -> str:
    return ", ".join(
        _type(media["schema"]) if name == "application/json" else f"`{name}`" for name, media in content.items()
    )


def _type(schema: Json) -> str:
    """A type in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name})"
    kinds = schema.get("anyOf") or schema.get("oneOf")
    if kinds:
        return " or ".join(_type(kind) for kind in kinds)
    if "const" in schema or "enum" in schema:
        values = [schema["const"]] if "const" in schema else schema["enum"]
        return ", ".join(f"`{json.dumps(value)}`" for value in values)
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}" if "items" in schema else "list"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"object of {_type(values)}" if isinstance(values, dict) else "object"
    return _plain(schema)


def _plain(schema: Json) -> str:
    limits = []
    if "minimum" in schema or "exclusiveMinimum" in schema:
        limits.append(f"from {_number(schema.get('minimum', schema.get('exclusiveMinimum', 0) + 1))}")
    if "maximum" in schema or "exclusiveMaximum" in schema:
        limits.append(f"to {_number(schema.get('maximum', schema.get('exclusiveMaximum', 0) - 1))}")
    if "maxLength" in schema:
        limits.append(f"at most {schema['maxLength']} characters")
    kind = schema.get("format", schema.get("type", "anything"))
    return " ".join([kind, *limits])


def _number(value: float) -> str:
    """Return a number as people write it: the document has all of them with a fraction."""
    return str(int(value)) if float(value).is_integer() else str(value)


def _schema(name: str, schema: Json) -> Iterator[str]:
    yield f'### <a id="{name}"></a>{name}'
    yield ""
    yield schema["description"]
    needed = schema.get("required", ())
    properties = schema.get("properties", {})
    is_request = len(needed) < len(properties)
    rows = [
        (f"`{field}`" + (" (needed)" if is_request and field in needed else ""), _type(one), one["description"])
        for field, one in properties.items()
    ]
    if rows:
        yield ""
        yield from _table(("field", "type", "meaning"), rows)
    yield ""
    yield "```json"
    yield json.dumps(schema["examples"][0], indent=2, ensure_ascii=False)
    yield "```"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for row in (head, ("---",) * len(head), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"


def main() -> None:
    """Write both files."""
    OPENAPI.write_text(document.encoded(ROUTERS), encoding="utf-8")
    PAGE.write_text(page(document.document(ROUTERS)), encoding="utf-8")


if __name__ == "__main__":
    main()
