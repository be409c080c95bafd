# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors as answers, in one shape.

``{"message": what happened, "code": the status, "error": the word}``
"""

from __future__ import annotations

import logging
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from catalog_server.bodies import ResponseBody
from catalog_server.errors import CLIENT_LEFT, STATUSES, ServerError, word_of
from catalog_server.openapi.operation import is_public

# What else can come out of the framework, as the word that says it best
_WORDS = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "payload_too_large"}
_MOST_PROBLEMS = 5
# What of an error's details stands in the line of its request
_LOGGED = ("reason", "user")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

# Raises Unauthenticated unless the credentials of a request are good.
Identify = t.Callable[[Request], t.Awaitable[None]]

_log = logging.getLogger("catalog_server.errors")


class Error(ResponseBody):
    """What happened, if a request was not done."""

    message: str
    """One sentence for people: what was attempted, and why it was not done. It may change."""
    code: t.Annotated[int, Field(ge=400, le=599)]
    """The HTTP status."""
    error: t.Annotated[str, Field(json_schema_extra={"enum": list(STATUSES)})]
    """The word for what happened. It never changes."""


def reply(word: str, message: str, headers: t.Mapping[str, str] | None = None) -> JSONResponse:
    """An error as a response."""
    extra = dict(headers or {})
    if STATUSES[word] == 401:
        extra.setdefault("WWW-Authenticate", "Bearer")
    body = Error(message=message, code=STATUSES[word], error=word)
    return JSONResponse(body.model_dump(), status_code=body.code, headers=extra)


def _of_ours(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, CatalogError):
        raise error
    word = word_of(error)
    logged = {"error": word, **{name: error.details[name] for name in _LOGGED if error.details.get(name)}}
    request.scope.get("logged", {}).update(logged)
    if STATUSES[word] >= 500:
        _log.error("request failed", exc_info=error, extra={"error": word})
        if not isinstance(error, ServerError):
            # What a storage says of its directories is for the log, not for clients.
            return reply(word, "The storage cannot do this now; the server's log says why.")
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, ServerError) and error.retry_after else None
    # Clients know what to do about the other words; what is wrong with a request only the server knows.
    return reply(word, str(error) if STATUSES[word] == 400 else error.message, headers)


def _of_validation(_request: Request, error: Exception) -> JSONResponse:
    problems = error.errors() if isinstance(error, RequestValidationError) else []
    texts = []
    for problem in problems[:_MOST_PROBLEMS]:
        where = ".".join(str(part) for part in problem["loc"][1:] if not isinstance(part, int)) or problem["loc"][0]
        texts.append(f"{where}: {problem['msg'].removeprefix('Value error, ')}")
    return reply("bad_request", "The request is not valid: " + "; ".join(texts) + ".")


def _of_framework(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    if isinstance(error.__cause__, CatalogError):
        # One of ours, in the only form in which the framework lets an error out of the reading of a body.
        response = _of_ours(request, error.__cause__)
        response.headers.update(error.headers or {})
        return response
    word = _WORDS.get(error.status_code, "internal_error" if error.status_code >= 500 else "bad_request")
    texts = {
        "not_found": f"There is no resource {request.url.path}.",
        "method_not_allowed": f"{request.method} is not allowed for {request.url.path}.",
    }
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_allowed(request))
    return reply(word, texts.get(word, str(error.detail)), headers)


def _allowed(request: Request) -> list[str]:
    """The methods of all routes of the path that says most of the one of a request: one without parameters, if any."""
    found = [route for route in iter_route_contexts(request.app.routes) if route.path_regex.match(request.url.path)]
    nearest = min((route.path or "" for route in found), key=lambda path: path.count("{"), default="")
    methods = {method for route in found if route.path == nearest for method in route.methods or ()}
    return [method for method in _METHODS if method in methods]


def _of_nobody(_request: Request, _error: Exception) -> Response:
    # Whoever left in the middle of a body reads no answer, and it is nobody's mistake.
    return Response(status_code=CLIENT_LEFT)


def install(app: FastAPI, identify: Identify) -> None:
    """Render every error of ``app`` in the one shape.

    What is wrong with a request is told only to those whose credentials are good, except for routes that need none.
    """

    async def of_validation(request: Request, error: Exception) -> JSONResponse:
        if not is_public(request.scope.get("route")):
            try:
                await identify(request)
            except CatalogError as refused:
                return _of_ours(request, refused)
        return _of_validation(request, error)

    app.add_exception_handler(CatalogError, _of_ours)
    app.add_exception_handler(RequestValidationError, of_validation)
    app.add_exception_handler(HTTPException, _of_framework)
    app.add_exception_handler(ClientDisconnect, _of_nobody)
