# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors of the server: one word each, one status for each word, one shape.

``{"message": what happened, "code": the status, "error": the word}``

Services raise them by what happened and know no status; the table below does. Errors of the rooms that the server
shares with the modules (addresses, packs, storages) are translated here and nowhere else.
"""

from __future__ import annotations

import logging
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import ApiError
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import (
    CatalogError,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import PackError
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import StorageError
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

STATUSES = {
    "bad_request": 400,
    "invalid_index": 400,
    "unauthenticated": 401,
    "invalid_credentials": 401,
    "token_expired": 401,
    "grant_expired": 401,
    "grant_revoked": 401,
    "forbidden": 403,
    "grant_scope": 403,
    "catalog_id_denied": 403,
    "not_found": 404,
    "unknown_manifest": 404,
    "unknown_upload": 404,
    "unknown_segment": 404,
    "method_not_allowed": 405,
    "tainted": 409,
    "revoked": 409,
    "version_exists": 409,
    "replaced": 409,
    "name_taken": 409,
    "tag_immutable": 409,
    "last_administrator": 409,
    "user_exists": 409,
    "internal_role": 409,
    "catalog_id_in_use": 409,
    "missing_segment": 409,
    "shared_segments": 409,
    "upload_changed": 409,
    "upload_closed": 409,
    "upload_expired": 410,
    "payload_too_large": 413,
    "quota_exceeded": 413,
    "locked_out": 429,
    "internal_error": 500,
    "unavailable": 503,
}

# What else can come out of the framework, as the word that says it best
_WORDS = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "payload_too_large"}
_MOST_PROBLEMS = 5
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

_log = logging.getLogger("catalog_server.errors")


class ServerError(CatalogError):
    """Something was asked of the server and not done; ``code`` is a word of the table."""

    def __init__(
        self, message: str, *, details: t.Mapping[str, t.Any] | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message, None, details)
        self.retry_after = retry_after


class BadRequest(ServerError):
    """The request cannot be understood, or asks for what does not exist."""

    code = "bad_request"


class InvalidIndex(ServerError):
    """The index of a commit is not what the format allows, or not what was announced."""

    code = "invalid_index"


class Unauthenticated(ServerError):
    """Nobody knows who asks."""

    code = "unauthenticated"


class InvalidCredentials(Unauthenticated):
    """A wrong user, password or API key."""

    code = "invalid_credentials"


class TokenExpired(Unauthenticated):
    """A login token, or an API key, whose time is over."""

    code = "token_expired"


class GrantExpired(Unauthenticated):
    """A grant whose time is over."""

    code = "grant_expired"


class GrantRevoked(Unauthenticated):
    """A grant that was taken back."""

    code = "grant_revoked"


class Forbidden(ServerError):
    """Who asks is known, and has not the right."""

    code = "forbidden"


class GrantScope(Forbidden):
    """A grant is used for something else than it was made for."""

    code = "grant_scope"


class CatalogIdDenied(Forbidden):
    """Who asks may not push to that catalog id, or move its tags."""

    code = "catalog_id_denied"


class NotFound(ServerError):
    """It does not exist, or the caller may not see it; both look the same."""

    code = "not_found"


class UnknownManifest(NotFound):
    """No such manifest, for this caller."""

    code = "unknown_manifest"

    @classmethod
    def of(cls, manifest_id: str) -> UnknownManifest:
        return cls(f"There is no manifest {manifest_id}, or you may not see it.")


class UnknownUpload(NotFound):
    """No such upload of this caller."""

    code = "unknown_upload"


class UnknownSegment(NotFound):
    """No such segment that this caller may use here."""

    code = "unknown_segment"


class Conflict(ServerError):
    """It contradicts what is there already."""

    code = "version_exists"


class Revoked(Conflict):
    """It must not be pulled any more."""

    code = "revoked"


class VersionExists(Conflict):
    """The version is there with another content."""

    code = "version_exists"


class Replaced(Conflict):
    """The version has other content now than the one that the caller means."""

    code = "replaced"

    @classmethod
    def of(cls, catalog_id: str, version: str) -> Replaced:
        return cls(f"Version {version!r} of catalog id {catalog_id!r} has been replaced by other content.")


class NameTaken(Conflict):
    """A version would have the name of a tag, or a tag that of a version."""

    code = "name_taken"


class TagImmutable(Conflict):
    """The tags of this catalog id stay where they were set first."""

    code = "tag_immutable"


class LastAdministrator(Conflict):
    """Nobody would be left who is enabled and has the role SUPER_USER."""

    code = "last_administrator"


class UserExists(Conflict):
    """Another user has that user name or mail address."""

    code = "user_exists"


class InternalRole(Conflict):
    """A role of the server's own cannot be deleted."""

    code = "internal_role"


class CatalogIdInUse(Conflict):
    """A catalog id that still has versions."""

    code = "catalog_id_in_use"


class MissingSegment(Conflict):
    """The index names a segment of this upload whose object is not there, or has another size."""

    code = "missing_segment"


class SharedSegments(Conflict):
    """The edit would open segments to more people than another manifest that uses them allows."""

    code = "shared_segments"


class UploadClosed(Conflict):
    """The upload was committed or aborted."""

    code = "upload_closed"


class UploadChanged(Conflict):
    """Since the begin that a commit names, another one has given the upload other fields."""

    code = "upload_changed"


class UploadExpired(ServerError):
    """The upload was not committed in time."""

    code = "upload_expired"


class QuotaExceeded(ServerError):
    """The versions of a catalog id take, or would take, more room than they may."""

    code = "quota_exceeded"


class LockedOut(ServerError):
    """Too many wrong passwords."""

    code = "locked_out"


class Unavailable(ServerError):
    """The database or a storage does not answer."""

    code = "unavailable"


def word_of(error: CatalogError) -> str:
    """The word for an error, ours or one of a shared room."""
    if isinstance(error, (ServerError, ApiError)) and error.code in STATUSES:
        return error.code
    if isinstance(error, PackError):
        return InvalidIndex.code
    if isinstance(error, StorageError):
        return Unavailable.code
    return "internal_error"


class ErrorBody(BaseModel):
    """The one shape of an error."""

    message: str
    code: int
    error: str


# Of every route, in its description
RESPONSES: dict[int | str, dict[str, t.Any]] = {"4XX": {"model": ErrorBody}, "5XX": {"model": ErrorBody}}


# Of the routes that need no credentials, in their description
PUBLIC: dict[str, t.Any] = {"security": []}

# Raises Unauthenticated unless the credentials of a request are good.
Identify = t.Callable[[Request], t.Awaitable[None]]


def reply(word: str, message: str, headers: t.Mapping[str, str] | None = None) -> JSONResponse:
    """An error as a response."""
    extra = dict(headers or {})
    if STATUSES[word] == 401:
        extra.setdefault("WWW-Authenticate", "Bearer")
    body = ErrorBody(message=message, code=STATUSES[word], error=word)
    return JSONResponse(body.model_dump(), status_code=body.code, headers=extra)


def _of_ours(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, CatalogError):
        raise error
    word = word_of(error)
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
    """The methods of all routes that have the path of a request."""
    scopes = [{**request.scope, "method": method} for method in _METHODS]
    routes = request.app.router.routes
    return [scope["method"] for scope in scopes if any(route.matches(scope)[0] is Match.FULL for route in routes)]


def _of_nobody(_request: Request, _error: Exception) -> Response:
    # Whoever left in the middle of a body reads no answer, and it is nobody's mistake.
    return Response(status_code=400)


def install(app: FastAPI, identify: Identify) -> None:
    """Render every error of ``app`` in the one shape.

    What is wrong with a request is told only to those whose credentials are good, except for routes that need none.
    """

    async def of_validation(request: Request, error: Exception) -> JSONResponse:
        if getattr(request.scope.get("route"), "openapi_extra", None) != PUBLIC:
            try:
                await identify(request)
            except CatalogError as refused:
                return _of_ours(request, refused)
        return _of_validation(request, error)

    app.add_exception_handler(CatalogError, _of_ours)
    app.add_exception_handler(RequestValidationError, of_validation)
    app.add_exception_handler(HTTPException, _of_framework)
    app.add_exception_handler(ClientDisconnect, _of_nobody)
