# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The OpenAPI document: what the framework finds in the routes, completed.

The framework does not know credentials, errors, headers and examples; here they are added to what it found.
"""

from __future__ import annotations

import itertools
import json
import typing as t
from collections.abc import Iterable, Iterator

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from catalog_server import NAME, VERSION, errors
from catalog_server.error_responses import Error
from catalog_server.openapi.examples import EXAMPLES
from catalog_server.openapi.operation import API_KEY, BODY, GRANT, TOKEN, WORDS

Json = dict[str, t.Any]

_DESCRIPTION = (
    "Manifests of virtual machine images, transfers of their content, and the people who may do that. "
    "docs/native-api.md explains what these routes mean, and how they work together."
)
_SERVERS = [{"url": "/api/v1", "description": "The server that sent this document."}]
_TAGS = {
    "server": "Probes, and what anybody may know.",
    "logins": "Login tokens.",
    "users": "Users, their logins and their API keys.",
    "roles": "Roles and claims.",
    "audit": "Who changed what.",
    "grants": "Credentials for one transfer and nothing else.",
    "catalog ids": "Names under which versions are pushed, and who may do that.",
    "manifests": "Versions of images: find, edit, block, delete.",
    "content": "Reading the content of a manifest.",
    "uploads": "Pushing a version.",
    "jobs": "Work behind the requests: what it does, and what it would remove.",
    "objects": "Bytes of the embedded storage, by signed URLs.",
}
_SECURITY = {
    TOKEN: {"type": "http", "scheme": "bearer", "description": "A login token, from `POST /auth/token`."},
    GRANT: {
        "type": "http",
        "scheme": "bearer",
        "description": "A grant for one transfer, from `POST /grants`. It opens only what it was made for.",
    },
    API_KEY: {
        "type": "apiKey",
        "in": "header",
        "name": "X-Api-Key",
        "description": "Base64 of an API key and its secret, with a colon between them.",
    },
}
_HEADERS = {
    "X-Request-Id": {
        "description": "Id of the request; the lines of the server's log have the same id.",
        "schema": {"type": "string", "format": "uuid"},
    },
    "Retry-After": {"description": "After how many seconds to try again.", "schema": {"type": "integer", "minimum": 1}},
    "WWW-Authenticate": {"description": "How to say who asks: `Bearer`.", "schema": {"type": "string"}},
    "Content-Range": {"description": "How many bytes there are.", "schema": {"type": "string"}},
}
# Of these errors, besides the id of the request
_HEADERS_OF = {
    401: ("WWW-Authenticate",),
    416: ("Content-Range",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}
_OF_ALL = ("bad_request", "request_timeout", "head_too_large", "internal_error", "unavailable")
_WITH_CREDENTIALS = (
    "unauthenticated",
    "invalid_credentials",
    "token_expired",
    "grant_expired",
    "grant_revoked",
    "forbidden",
    "grant_scope",
)
_WITH_BODY = ("payload_too_large",)


def encoded(routers: Iterable[APIRouter]) -> str:
    """Return the document as the text of its file."""
    return json.dumps(document(routers), indent=2, ensure_ascii=True) + "\n"


def document(routers: Iterable[APIRouter]) -> Json:
    """Return the OpenAPI document of these routes, whose paths are those behind the prefix of the API."""
    app = FastAPI(generate_unique_id_function=_operation_id, openapi_url=None)
    for router in routers:
        app.include_router(router)
    found = get_openapi(
        title=NAME,
        version=VERSION,
        description=_DESCRIPTION,
        license_info={"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
        servers=_SERVERS,
        tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
        routes=app.routes,
    )
    components = found["components"]
    components["schemas"] = _schemas(components["schemas"])
    components["securitySchemes"] = _SECURITY
    components["headers"] = _HEADERS
    components["responses"] = {}
    for method, operation in _operations(found):
        _complete(method, operation, components)
    components["responses"] = dict(sorted(components["responses"].items()))
    return found


def _operation_id(route: APIRoute) -> str:
    return route.name


def _operations(found: Json) -> Iterator[tuple[str, Json]]:
    for path in found["paths"].values():
        yield from path.items()


def _schemas(schemas: Json) -> Json:
    """All schemas with their examples, that of errors too, and without those of the framework's own errors."""
    ours = {name: schema for name, schema in schemas.items() if not name.endswith("ValidationError")}
    ours["Error"] = Error.model_json_schema(ref_template="#/components/schemas/{model}")
    for name, schema in ours.items():
        _untitled(schema)
        if name in EXAMPLES:
            schema["examples"] = [EXAMPLES[name]]
    return dict(sorted(ours.items()))


def _untitled(schema: t.Any) -> None:
    """Remove titles, which only repeat the names."""
    if isinstance(schema, list):
        for part in schema:
            _untitled(part)
    elif isinstance(schema, dict):
        schema.pop("title", None)
        for keyword, part in schema.items():
            if keyword == "properties":
                _untitled(list(part.values()))
            elif keyword not in ("examples", "default", "const", "enum"):
                _untitled(part)


def _complete(method: str, operation: Json, components: Json) -> None:
    operation["summary"], _blank, more = operation.pop("description").partition("\n\n")
    if more:
        operation["description"] = " ".join(more.split())
    for parameter in operation.get("parameters", ()):
        _untitled(parameter["schema"])
        parameter["schema"] = _without_null(parameter["schema"])
        parameter["schema"].pop("description", None)
    answers = operation["responses"]
    answers.pop("422", None)
    for status, answer in answers.items():
        if method == "head":
            answer.pop("content", None)
        _complete_answer(status, answer, components["schemas"])
    if "requestBody" in operation:
        _add_examples(operation["requestBody"])
    own = operation.pop(WORDS)
    del operation[BODY]
    common = (*_OF_ALL, *(_WITH_CREDENTIALS if operation["security"] else ()))
    if "requestBody" in operation:
        common = (*common, *_WITH_BODY)
    answers.update(_failures(own, common, components, has_body=method != "head"))
    operation["responses"] = dict(sorted(answers.items()))


def _without_null(schema: Json) -> Json:
    """The schema of a parameter, which can be left out but is never null."""
    kinds = [kind for kind in schema.pop("anyOf", ()) if kind != {"type": "null"}]
    return {**kinds[0], **schema} if len(kinds) == 1 else schema


def _complete_answer(status: str, answer: Json, schemas: Json) -> None:
    content = answer.get("content", {})
    name = content.get("application/json", {}).get("schema", {}).get("$ref", "").rpartition("/")[2]
    if name:
        answer["description"] = schemas[name]["description"].partition("\n\n")[0]
    elif answer["description"] == "Successful Response":
        answer["description"] = "It is done; there is nothing to say."
    _add_examples(answer)
    answer["headers"] = {**_references(["X-Request-Id"]), **answer.get("headers", {})}


def _add_examples(body: Json) -> None:
    """Put the example of each JSON schema beside it."""
    for media in body.get("content", {}).values():
        schema = media["schema"]
        _untitled(schema)
        kinds = schema.get("oneOf") or schema.get("anyOf") or [schema]
        names = [kind["$ref"].rpartition("/")[2] for kind in kinds if "$ref" in kind]
        if len(names) == 1:
            media["example"] = EXAMPLES[names[0]]
        elif names:
            media["examples"] = {name: {"value": EXAMPLES[name]} for name in names}


def _failures(own: Iterable[str], common: Iterable[str], components: Json, *, has_body: bool) -> Json:
    """The errors of an operation by status; those that many operations have in common are references."""
    answers: Json = {}
    words = sorted({*own, *common}, key=lambda word: (errors.STATUSES[word], list(errors.STATUSES).index(word)))
    for status, group in itertools.groupby(words, errors.STATUSES.__getitem__):
        together = list(group)
        answer = _failure(status, together, has_body=has_body)
        if has_body and not set(together) & set(own):
            name = "".join(part.capitalize() for part in together[0].split("_"))
            components["responses"][name] = answer
            answer = {"$ref": f"#/components/responses/{name}"}
        answers[str(status)] = answer
    return answers


def _failure(status: int, words: list[str], *, has_body: bool) -> Json:
    meanings = {word: errors.WORDS[word][1] for word in words}
    answer: Json = {
        "description": "\n".join(f"* `{word}`: {meaning}" for word, meaning in meanings.items()),
        "headers": _references(["X-Request-Id", *_HEADERS_OF.get(status, ())]),
    }
    if has_body:
        answer["content"] = {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Error", "properties": {"error": {"enum": words}}},
                "examples": {
                    word: {"value": {"message": meaning, "code": status, "error": word}}
                    for word, meaning in meanings.items()
                },
            }
        }
    return answer


def _references(names: Iterable[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
