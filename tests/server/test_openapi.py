# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The description of the API is complete, valid, and what the server does."""

from __future__ import annotations

import re
import sys
import typing as t
from pathlib import Path

import httpx
import pytest
from ansible_collections.macfleet.parallels.tests.support.documents import assert_alike
from catalog_server import errors
from catalog_server.openapi.examples import EXAMPLES
from described import Json, document, operations, resolved
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from routes import all_routes
from rows import segments_of
from running import Server
from test_matrix import Scene

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import api_reference

SCHEMAS: Json = document()["components"]["schemas"]
OPERATIONS = {operation["operationId"]: (method, path, operation) for method, path, operation in operations()}
SENTENCE = re.compile(r"[A-Z`0-9].*[.]", re.DOTALL)


def of_each_operation(function: t.Callable[..., None]) -> t.Callable[..., None]:
    return pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS.values(), ids=list(OPERATIONS))(function)


def of_each_schema(function: t.Callable[..., None]) -> t.Callable[..., None]:
    return pytest.mark.parametrize("name", SCHEMAS)(function)


def validator(schema: Json) -> OAS31Validator:
    """What validates against a schema of the document."""
    resource = Resource(contents=document(), specification=DRAFT202012)
    registry = Registry().with_resource("urn:document", resource)
    return OAS31Validator(_absolute(schema), registry=registry, format_checker=OAS31Validator.FORMAT_CHECKER)


def _absolute(part: t.Any) -> t.Any:
    if isinstance(part, list):
        return [_absolute(one) for one in part]
    if isinstance(part, dict):
        return {name: f"urn:document{one}" if name == "$ref" else _absolute(one) for name, one in part.items()}
    return part


# What is in the repository


def test_the_document_is_what_the_routes_say() -> None:
    """If it is not: ``make reference``."""
    made = api_reference.document.encoded(api_reference.ROUTERS)
    assert api_reference.OPENAPI.read_text(encoding="utf-8") == made


def test_the_page_is_made_from_the_document() -> None:
    """If it is not: ``make reference``."""
    assert api_reference.PAGE.read_text(encoding="utf-8") == api_reference.page(document())


def test_the_document_is_valid() -> None:
    assert [str(error) for error in OpenAPIV31SpecValidator(document()).iter_errors()] == []


def test_anybody_gets_the_document(server: Server) -> None:
    reply = server.call("GET", "/openapi.json")
    assert reply.headers["content-type"] == "application/json"
    assert reply.json() == document()


def test_there_is_no_page_that_loads_anything(server: Server) -> None:
    for path in ("docs", "redoc", "api/docs", "api/v1/docs"):
        assert httpx.get(f"{server.url}/{path}", trust_env=False).status_code == 404


def test_every_route_is_described() -> None:
    assert {(method, path) for method, path, _operation in operations()} == all_routes()


# Whether it is complete


def test_names_of_operations_are_words() -> None:
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", name) for name in OPERATIONS)
    assert len(OPERATIONS) == len(operations())


@of_each_operation
def test_operation_is_complete(method: str, path: str, operation: Json) -> None:
    assert SENTENCE.fullmatch(operation["summary"])
    assert "\n" not in operation["summary"]
    assert len(operation["tags"]) == 1
    assert operation["tags"][0] in {tag["name"] for tag in document()["tags"]}
    schemes = document()["components"]["securitySchemes"]
    assert all(name in schemes for one in operation["security"] for name in one)
    for parameter in operation.get("parameters", []):
        assert SENTENCE.fullmatch(parameter["description"]), parameter["name"]
        assert {"type": "null"} not in parameter["schema"].get("anyOf", []), parameter["name"]
    assert any(status < "400" for status in operation["responses"])
    assert {"400", "500", "503"} <= operation["responses"].keys()
    assert ("401" in operation["responses"]) >= bool(operation["security"])
    assert ("413" in operation["responses"]) >= ("requestBody" in operation)


@of_each_operation
def test_answers_are_complete(method: str, path: str, operation: Json) -> None:
    for status, answer in operation["responses"].items():
        answer = resolved(answer)
        assert answer["description"] not in ("", "Successful Response"), status
        assert "X-Request-Id" in answer["headers"], status
        if status in ("429", "503"):
            assert "Retry-After" in answer["headers"]
        bodies = [answer] if "content" in answer else []
        assert bodies or status in ("204", "304") or method in ("HEAD", "PUT"), status
        for body in bodies:
            _check_body(body)
    if "requestBody" in operation:
        _check_body(operation["requestBody"])


def _check_body(body: Json) -> None:
    for kind, media in body["content"].items():
        if kind != "application/json" or media["schema"] == {"type": "object"}:
            continue
        samples = [media["example"]] if "example" in media else [one["value"] for one in media["examples"].values()]
        assert samples
        for sample in samples:
            validator(media["schema"]).validate(sample)


@of_each_schema
def test_every_field_is_described(name: str) -> None:
    schema = SCHEMAS[name]
    assert SENTENCE.fullmatch(schema["description"])
    for field, one in schema.get("properties", {}).items():
        assert SENTENCE.fullmatch(one.get("description", "")), field


@of_each_schema
def test_every_schema_has_an_example_that_is_valid(name: str) -> None:
    (example,) = SCHEMAS[name]["examples"]
    assert example == EXAMPLES[name]
    validator(SCHEMAS[name]).validate(example)
    assert example.keys() <= SCHEMAS[name].get("properties", {}).keys()


def test_there_are_no_other_examples() -> None:
    assert EXAMPLES.keys() == SCHEMAS.keys()


def test_words_of_errors_are_listed() -> None:
    assert SCHEMAS["Error"]["properties"]["error"]["enum"] == list(errors.STATUSES)
    listed = {
        word
        for _method, _path, operation in operations()
        for answer in operation["responses"].values()
        for word in resolved(answer).get("content", {}).get("application/json", {}).get("examples", {})
    }
    # No route answers that it does not know a method.
    assert listed & errors.STATUSES.keys() == errors.STATUSES.keys() - {"method_not_allowed"}


# Whether it is what the server does


@pytest.fixture(scope="module", name="scene")
def scene_fixture(server: Server) -> Scene:
    return Scene(server)


@of_each_operation
def test_credentials_are_needed_where_the_document_says(scene: Scene, method: str, path: str, operation: Json) -> None:
    reply = scene.server.call(method, scene.path(path))
    assert (reply.status_code == 401) == bool(operation["security"])


def example_of(operation: Json) -> Json | None:
    """The example of its body, in JSON."""
    media = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if media is None:
        return None
    return dict(media["example"] if "example" in media else next(iter(media["examples"].values()))["value"])


def body_of(scene: Scene, name: str, operation: Json) -> Json | None:
    """The example of its body, with what exists on this server."""
    body = example_of(operation)
    if body is None:
        return None
    if "catalog_id" in body:
        body["catalog_id"] = scene.catalog_id
    changes: dict[str, Json] = {
        "begin_upload": {"bases": [scene.manifest_id]},
        "make_grant": {"version": "1.0"},
        "log_in": {"email": "reader"},
        "make_read_urls": {"digest": None},
    }
    body.update(changes.get(name, {}))
    if name == "make_read_urls":
        pack, sha256 = segments_of(scene.server, scene.manifest_id)[0]
        body["segments"] = [{"pack": pack, "sha256": sha256}]
    return body


# They need more than a call: see test_native_api_document.py and test_objects.py.
NOT_HERE = {"commit_upload", "read_object", "head_object", "store_object"}


@pytest.mark.parametrize("name", sorted(OPERATIONS.keys() - NOT_HERE))
def test_examples_are_what_the_server_takes_and_answers(server: Server, name: str) -> None:
    method, path, operation = OPERATIONS[name]
    scene = Scene(server)
    by = "pusher" if "upload" in name or name == "make_store_urls" else "admin"
    # One that has versions is not deleted.
    url = scene.path(path.replace("{catalog_id}", "{empty}") if name == "delete_catalog_id" else path)
    if name == "resolve_version":
        url += f"?catalog_id={scene.catalog_id}"
    if name == "renew_grant":
        reply = server.call(method, url, bearer=scene.grants["pull grant"])
    else:
        reply = server.call(method, url, by, json=body_of(scene, name, operation))
    assert reply.is_success, reply.text
    media = operation["responses"][str(reply.status_code)].get("content", {}).get("application/json")
    if media is None or name == "get_openapi":
        return
    validator(media["schema"]).validate(reply.json())
    answer = reply.json()
    for entry in answer.get("entries", ()):
        # Of each action others
        entry["details"] = {}
    for job in answer.get("jobs", [answer] if name.endswith("_job") else ()):
        # Of each job others
        job["result"] = {}
    assert_alike(media["example"], answer, name)
