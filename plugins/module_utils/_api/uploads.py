# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Uploads and signed URLs: what a pusher asks for, and what the metadata server answers."""

from __future__ import annotations

import dataclasses
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api.json_reader import JsonReader
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import (
    Json,
    Manifest,
    MinimumRequirements,
    manifests_from_json,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._base.signed_url import SignedUrl

# It becomes a part of the name of a clone.
_UPLOAD_ID = re.compile(r"[0-9a-f]{32}\Z")


def signed_url_from_json(data: t.Any) -> SignedUrl:
    """Read a signed URL."""
    reader = JsonReader(data, "signed URL")
    headers = reader.object("headers") or {}
    if not isinstance(headers, t.Mapping) or not all(isinstance(value, str) for value in headers.values()):
        raise reader.wrong("headers")
    return SignedUrl(reader.text("url"), float(reader.number("expires_in")), dict(headers))


@dataclass(frozen=True)
class UploadedSegment:
    """A segment that an upload has already; ``signed`` reads it."""

    sha256: str
    size: int
    signed: SignedUrl

    @classmethod
    def from_json(cls, data: t.Any) -> UploadedSegment:
        """Read what the server sent."""
        reader = JsonReader(data, "segment")
        return cls(sha256=reader.digest("sha256"), size=reader.number("size"), signed=signed_url_from_json(data))


@dataclass(frozen=True)
class UploadRequest:
    """What a pusher says when it begins."""

    catalog_id: str
    version: str
    architecture: str
    type: str
    name: str
    chunk_size: int
    description: str | None = None
    tags: tuple[str, ...] | None = None
    required_roles: tuple[str, ...] | None = None
    required_claims: tuple[str, ...] | None = None
    minimum_requirements: MinimumRequirements | None = None
    bases: tuple[str, ...] = ()
    storage: str | None = None
    force: bool = False
    expected_digest: str | None = None

    def to_json(self) -> Json:
        """Return the body of the request; what is not set is left out."""
        data = dataclasses.asdict(self)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in data.items()
            if value is not None
        }


@dataclass(frozen=True)
class Upload:
    """An open upload; ``revision`` names what its last begin asked for, and ``next`` a page of more segments."""

    id: str
    expires_at: float
    storage: str
    chunk_size: int
    revision: str
    bases: tuple[Manifest, ...]
    segments: tuple[UploadedSegment, ...]
    next: str | None = None

    @classmethod
    def from_json(cls, data: t.Any) -> Upload:
        """Read what the server sent."""
        reader = JsonReader(data, "upload")
        upload_id = reader.text("id")
        if not _UPLOAD_ID.match(upload_id):
            raise reader.wrong("id")
        return cls(
            id=upload_id,
            expires_at=reader.timestamp("expires_at"),
            storage=reader.text("storage", ""),
            chunk_size=reader.number("chunk_size"),
            revision=reader.text("revision"),
            bases=manifests_from_json(reader.list("bases")),
            segments=tuple(UploadedSegment.from_json(segment) for segment in reader.list("segments")),
            next=reader.optional_text("next"),
        )
