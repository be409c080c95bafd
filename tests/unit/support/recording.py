# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A metadata server that plays a recording: each request must come as recorded, in that order."""

from __future__ import annotations

import collections
import hashlib
import json
import typing as t
import urllib.parse
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._base.transport import Request, Response

# Not https, as the storage of these tests is not: what was asked by https is never answered by http URLs.
BASE_URL = "http://catalog.example.com"
ANY = object()
ANY_BYTES = object()


@dataclass
class Call:
    """One request that must come, and what it gets."""

    method: str
    path: str
    answer: t.Union[CatalogError, t.Callable[[Request], Response]]
    query: dict[str, str] = field(default_factory=dict)
    body: t.Any = None
    headers: dict[str, t.Optional[str]] = field(default_factory=dict)


class Recording:
    """Give ``send`` to what is tested; ``finished`` says that everything recorded has come."""

    def __init__(self) -> None:
        self._calls: collections.deque[Call] = collections.deque()
        self.requests: list[Request] = []

    def expect(
        self,
        method: str,
        path: str,
        *,
        status: int = 200,
        reply: t.Any = None,
        raw: t.Optional[bytes] = None,
        content_type: str = "application/json",
        reply_headers: t.Optional[dict[str, str]] = None,
        error: t.Optional[CatalogError] = None,
        query: t.Optional[dict[str, str]] = None,
        body: t.Any = None,
        headers: t.Optional[dict[str, t.Optional[str]]] = None,
    ) -> Recording:
        """Record a request and its answer; ``headers`` that are None must not be sent.

        ``reply`` may be a function that makes it from the request.
        """
        names = {"content-type": content_type, **(reply_headers or {})}

        def answer(request: Request) -> Response:
            found = reply(request) if callable(reply) else reply
            data = raw if raw is not None else (b"" if status == 204 else json.dumps(found).encode())
            return Response(status, names, data)

        self._calls.append(Call(method, path, error or answer, query or {}, body, headers or {}))
        return self

    def expect_bytes(self, path: str, data: bytes, digest: t.Optional[str] = None) -> Recording:
        """Record a download."""
        digest = digest or hashlib.sha256(data).hexdigest()
        return self.expect(
            "GET", path, raw=data, content_type="application/octet-stream", reply_headers={"x-content-sha256": digest}
        )

    def send(self, request: Request) -> Response:
        """What is handed to ``Http``."""
        self.requests.append(request)
        assert self._calls, f"unexpected {request.method} {request.url}"
        call = self._calls.popleft()
        parts = urllib.parse.urlsplit(request.url)
        assert (request.method, f"{parts.scheme}://{parts.netloc}", parts.path) == (
            call.method,
            BASE_URL,
            f"/api/v1/{call.path}",
        )
        assert dict(urllib.parse.parse_qsl(parts.query, strict_parsing=bool(parts.query))) == call.query
        if isinstance(call.body, bytes):
            assert request.body == call.body
        elif call.body not in (ANY, ANY_BYTES):
            assert (json.loads(request.body) if request.body else None) == call.body
        if request.body is not None:
            wanted = "application/json"
            if isinstance(call.body, bytes) or call.body is ANY_BYTES:
                wanted = "application/octet-stream"
            assert request.headers["Content-Type"] == wanted
        for name, value in call.headers.items():
            assert request.headers.get(name) == value, name
        if isinstance(call.answer, CatalogError):
            raise call.answer
        return call.answer(request)

    def finished(self, said: t.Any = None) -> None:
        """Everything that was recorded has come; ``said`` is what a module says that has ended before."""
        assert not self._calls, f"missing {self._calls[0].method} {self._calls[0].path}: {said}"


def refusal(word: str, status: int, message: str = "No.") -> dict[str, t.Any]:
    """Arguments of ``expect`` for an error of the server."""
    return {
        "status": status,
        "reply": {"message": message, "code": status, "error": word},
        "reply_headers": {"x-request-id": "r-1"},
    }


def manifest(**fields: t.Any) -> dict[str, t.Any]:
    """A manifest as the server sends it."""
    return {
        "id": "a1" * 32,
        "catalog_id": "macos-15",
        "version": "1.4",
        "architecture": "arm64",
        "type": "macvm",
        "name": "macOS 15.macvm",
        "description": "",
        "tags": ["latest"],
        "required_roles": [],
        "required_claims": [],
        "minimum_requirements": {"cpu": 0, "memory_mb": 0, "disk_mb": 0},
        "format": "segmented",
        "digest": "d1" * 32,
        "chunk_size": 1 << 20,
        "chunks": 3,
        "files": 2,
        "logical_bytes": 3 << 20,
        "data_bytes": 2 << 20,
        "stored_bytes": 1 << 20,
        "storage": "local",
        "tainted": False,
        "tainted_by": None,
        "tainted_at": None,
        "untainted_by": None,
        "revoked": False,
        "revoked_by": None,
        "revoked_at": None,
        "download_count": 7,
        "last_downloaded_at": None,
        "last_downloaded_user": None,
        "created_at": "2026-11-23T10:00:00Z",
        "updated_at": "2026-11-23T10:00:00Z",
        "created_by": "root",
        **fields,
    }
