# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors of the server: one word each, and one status for each word.

Services raise them by what happened and know no status; the table below does. Errors of the rooms that the server
shares with the modules (addresses, packs, storages) get their word here and nowhere else. How an error is answered is
in ``error_responses.py``.
"""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import ApiError
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import PackError
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import StorageError, StorageFull

# Each word: its status, and what happened
WORDS = {
    "bad_request": (400, "The request is malformed, or a value in it is not valid."),
    "invalid_index": (
        400,
        "The index of a commit breaks the format, is not what was announced, or names chunks that no segment has.",
    ),
    "unauthenticated": (401, "No credentials, or none that are valid here."),
    "invalid_credentials": (401, "A wrong user, password or API key."),
    "token_expired": (401, "A login token or an API key that has expired, or whose password was changed."),
    "grant_expired": (401, "A grant that has expired, or that is too old to be renewed."),
    "grant_revoked": (401, "A grant that was taken back, or whose user no longer exists."),
    "forbidden": (403, "The caller lacks a claim or a role, or the signature of a URL is wrong."),
    "grant_scope": (403, "A grant was used for something that it was not made for."),
    "catalog_id_denied": (403, "The caller may not push to that catalog id, change its versions or move its tags."),
    "not_found": (404, "No such route, object or grant."),
    "unknown_manifest": (404, "No such manifest, version, tag or match of a range, for this caller."),
    "unknown_upload": (404, "No such upload of this caller."),
    "unknown_segment": (404, "No such segment that this caller may use here."),
    "method_not_allowed": (405, "The route does not support that method."),
    "request_timeout": (408, "The head of the request did not arrive in time."),
    "tainted": (409, "The manifest must not be pulled for now."),
    "revoked": (409, "The manifest must never be pulled again."),
    "version_exists": (409, "The version exists with other content."),
    "replaced": (409, "The version has other content now than the digest, or the grant, was made for."),
    "name_taken": (409, "A version would have the name of a tag, or a tag that of a version."),
    "tag_immutable": (409, "The tags of this catalog id stay at the version that has them."),
    "last_administrator": (409, "No enabled user with the role `SUPER_USER` would be left."),
    "user_exists": (409, "Another user has that user name or mail address."),
    "internal_role": (409, "A role of the server's own cannot be deleted."),
    "catalog_id_in_use": (409, "A catalog ID that still has versions cannot be deleted."),
    "implausible_clock": (409, "The clock of the server has jumped, so nothing is deleted until somebody has looked."),
    "gc_disabled": (409, "Nothing is removed from storage since a restore, until an administrator has looked."),
    "missing_segment": (409, "A segment that the index names is not in storage, or has another size."),
    "shared_segments": (409, "The edit would open stored data to users who may not see another version that uses it."),
    "upload_changed": (
        409,
        "After the begin that the commit names, another begin changed the fields or bases of the upload.",
    ),
    "upload_closed": (409, "The upload was committed or aborted."),
    "upload_expired": (410, "The upload was not committed in time."),
    "payload_too_large": (413, "The body is longer than the route accepts."),
    "quota_exceeded": (413, "The versions of the catalog id take, or would take, more room than its quota."),
    "range_not_satisfiable": (416, "The object has none of the bytes that the header `Range` asks for."),
    "locked_out": (429, "Too many wrong passwords, or too many logins from one address."),
    "too_many_receivers": (429, "The same user sends as many objects and indexes as one user may at the same time."),
    "head_too_large": (431, "The head of the request is too large, or has too many fields."),
    "internal_error": (500, "A fault of the server; its log has the details, under the id of the request."),
    "being_received": (503, "The same object is being received from another connection."),
    "unavailable": (503, "The database or the storage is not available now, or too much is being received."),
    "insufficient_storage": (507, "A volume of the server would have less free space than it has to keep."),
}
# In the log, of a request whose client left before it had an answer; nginx calls it so, too.
CLIENT_LEFT = 499
STATUSES = {word: status for word, (status, _meaning) in WORDS.items()}


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


class ImplausibleClock(ServerError):
    """The clock of the server has jumped."""

    code = "implausible_clock"


class GcDisabled(Conflict):
    """After a restore, nothing is removed from storage until an administrator has looked."""

    code = "gc_disabled"


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


class BeingReceived(Unavailable):
    """The same object is being received from another connection."""

    code = "being_received"


class TooManyReceivers(ServerError):
    """A user sends as many objects and indexes at the same time as one user may."""

    code = "too_many_receivers"


class InsufficientStorage(ServerError):
    """A volume would have less free space than it must have."""

    code = "insufficient_storage"


def word_of(error: CatalogError) -> str:
    """The word for an error, ours or one of a shared room."""
    if isinstance(error, (ServerError, ApiError)) and error.code in STATUSES:
        return error.code
    if isinstance(error, PackError):
        return InvalidIndex.code
    if isinstance(error, StorageFull):
        return InsufficientStorage.code
    if isinstance(error, StorageError):
        return Unavailable.code
    return "internal_error"
