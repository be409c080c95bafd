# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What schemathesis is told about a server of the tests: values that exist there, which no schema knows.

schemathesis loads this file by ``SCHEMATHESIS_HOOKS`` into its own process. ``test_api_fuzzing.py`` writes the values.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import typing as t
from pathlib import Path

import schemathesis
from schemathesis import AuthContext, Case, GenerationMode, HookContext
from schemathesis.core import NOT_SET
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.core.transport import Response
from schemathesis.openapi.checks import RejectedPositiveData

Json = dict[str, t.Any]

VALUES = "MACFLEET_TEST_FUZZING_VALUES"
# Of so many requests that could name something that exists, one does not.
_UNKNOWN_EVERY = 6
# What these do to a thing cannot be undone: each takes one that nothing else uses.
_SPOILS = {
    "delete_manifest",
    "revoke_manifest",
    "taint_manifest",
    "delete_user",
    "edit_user",
    "log_out_user",
    "delete_role",
    "put_role",
    "delete_catalog_id",
    "put_catalog_id",
    "revoke_api_key",
    "revoke_grant",
    "abort_upload",
}


class Values:
    """What exists on the server, by the name of the parameter."""

    def __init__(self, path: Path) -> None:
        self._values: dict[str, list[t.Any]] = json.loads(path.read_text(encoding="utf-8"))
        self._turns: dict[str, int] = {}

    def one(self, name: str, *, spoils: bool = False) -> t.Any:
        """The next value of that name, one after the other; the first half is for those who spoil."""
        values = self._values[name]
        middle = (len(values) + 1) // 2
        chosen = values[:middle] if spoils or middle == len(values) else values[middle:]
        turn = self._turns.get(f"{name} {spoils}", 0)
        self._turns[f"{name} {spoils}"] = turn + 1
        return chosen[turn % len(chosen)]

    def has(self, name: str) -> bool:
        return bool(self._values.get(name))


@functools.cache
def known() -> Values:
    """The values of this run."""
    return Values(Path(os.environ[VALUES]))


@schemathesis.auth()
class Login:
    """The token of the caller; only a grant can be renewed, so that route gets one."""

    def get(self, case: Case, context: AuthContext) -> str | None:
        return str(known().one("token")) if known().has("token") else None

    def set(self, case: Case, token: str, context: AuthContext) -> None:
        wants_grant = case.operation.definition.raw.get("operationId") == "renew_grant"
        case.headers["Authorization"] = f"Bearer {known().one('grant') if wants_grant else token}"


_numbers = itertools.count()


@schemathesis.hook
def map_case(context: HookContext, case: Case) -> Case:
    """Put what exists in place of what was made up, in requests that are to succeed."""
    meta = case.meta
    if meta is None or meta.generation.mode is not GenerationMode.POSITIVE:
        return case
    name = str(case.operation.definition.raw.get("operationId"))
    case.body = _whole(case.body)
    _fill_body(name, case)
    _fill_query(name, case)
    if next(_numbers) % _UNKNOWN_EVERY:
        for parameter in case.path_parameters:
            if known().has(parameter):
                case.path_parameters[parameter] = known().one(parameter, spoils=name in _SPOILS)
        if name in ("read_object", "head_object", "store_object") and known().has(name):
            path, query = known().one(name)
            case.path_parameters.update(path)
            case.query.update(query)
        if name == "store_object":
            case.body = b""
    return case


def _whole(part: t.Any) -> t.Any:
    """A body with 1 in place of 1.0: to a schema both are whole numbers, to the server only the first."""
    if isinstance(part, dict):
        return {name: _whole(value) for name, value in part.items()}
    if isinstance(part, list):
        return [_whole(value) for value in part]
    return int(part) if isinstance(part, float) and part.is_integer() else part


def _fill_query(name: str, case: Case) -> None:
    """Only the server makes cursors, and knows the revision of an upload."""
    if "cursor" in case.query:
        cursor = f"cursor of {name}"
        if known().has(cursor):
            case.query["cursor"] = known().one(cursor)
        else:
            del case.query["cursor"]


def _fill_body(name: str, case: Case) -> None:
    body = case.body
    if not isinstance(body, dict):
        if name == "commit_upload":
            path, query, index = known().one(name)
            case.path_parameters.update(path)
            case.query.update(query)
            case.body = bytes.fromhex(index)
        return
    password = body.get("password")
    if name in ("add_user", "edit_user") and isinstance(password, str) and len(set(password)) < 5:
        # A schema cannot say how many characters are different.
        body["password"] = password[:200] + "abcde"
    if name in ("begin_upload", "make_grant"):
        body.pop("storage", None)
        if known().has("catalog_id of a version"):
            body["catalog_id"] = known().one("catalog_id of a version")
    if name == "make_read_urls":
        manifest_id, segments, digest = known().one(name)
        case.path_parameters["manifest_id"] = manifest_id
        body.update(segments=segments, digest=digest)


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: Case, response: Response) -> bool:
    """Return False for what schemathesis takes for wrong and is not.

    Null is as good as no body where there may be none: the schema says so. What was wrong with a request may have been
    an id, in whose place a step before has put one that exists. Whether a range lies within an object, only the object
    tells. A body that is too long is refused as that, before anybody looks at what is in it.
    """
    body = case.operation.definition.raw.get("requestBody", {})
    has_no_body = (case.body is None or case.body is NOT_SET) and not body.get("required")
    is_accepted = isinstance(failure, AcceptedNegativeData)
    is_outside = isinstance(failure, RejectedPositiveData) and response.status_code == 416
    is_too_long = is_accepted and response.status_code == 413
    return not ((has_no_body and is_accepted) or is_outside or is_too_long)
