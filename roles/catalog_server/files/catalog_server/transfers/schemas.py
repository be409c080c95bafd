# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What transfers look like in JSON."""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import MAX_SEGMENT_BYTES
from pydantic import BaseModel, Field

from catalog_server.catalog.schemas import Description, ManifestRecord, RequirementsEdit, Text, Texts, Timestamp
from catalog_server.texts import Line, RequestBody, Wanted

Address = t.Annotated[Wanted, Field(max_length=300)]
ManifestId = t.Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Sha256 = t.Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Revision = t.Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
PackId = t.Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]

URLS_OF_A_PULL = 500
URLS_OF_AN_UPLOAD = 64
MAX_BASES = 50


class BeginUpload(RequestBody):
    """What a pusher says when it begins. What it leaves out keeps its value if a version is replaced."""

    catalog_id: Address
    version: Address
    architecture: Address
    type: t.Literal["pvm", "macvm"]
    name: t.Annotated[Line, Field(min_length=1, max_length=255)]
    chunk_size: int
    description: Description | None = None
    tags: Texts | None = None
    required_roles: Texts | None = None
    required_claims: Texts | None = None
    minimum_requirements: RequirementsEdit | None = None
    bases: t.Annotated[list[ManifestId], Field(max_length=MAX_BASES)] = []
    storage: Text | None = None
    force: bool = False
    expected_digest: Sha256 | None = None


class StoredSegment(BaseModel):
    """A segment that an upload has already, and a URL that reads it."""

    sha256: str
    size: int
    url: str
    headers: dict[str, str]
    expires_at: int
    expires_in: int


class UploadRecord(BaseModel):
    """An open upload."""

    id: str
    expires_at: int
    storage: str
    chunk_size: int
    revision: str
    bases: list[ManifestRecord]
    segments: list[StoredSegment]


class NewSegment(RequestBody):
    """A segment that is about to be stored."""

    sha256: Sha256
    size: t.Annotated[int, Field(gt=0, le=MAX_SEGMENT_BYTES)]


class NewSegments(RequestBody):
    """Segments that are about to be stored."""

    segments: t.Annotated[list[NewSegment], Field(max_length=URLS_OF_AN_UPLOAD)]


class StoreUrl(BaseModel):
    """A URL that stores one segment."""

    sha256: str
    url: str
    headers: dict[str, str]
    expires_at: int
    expires_in: int


class StoreUrls(BaseModel):
    """URLs that store segments."""

    urls: list[StoreUrl]


class FreedSpace(BaseModel):
    """What a deleted manifest alone used, and when the garbage collection may remove it."""

    freed_bytes: int
    freed_after: Timestamp


class WantedSegment(RequestBody):
    """A segment as a locator names it."""

    pack: PackId
    sha256: Sha256


class WantedSegments(RequestBody):
    """Segments that are about to be read; ``digest`` is that of the content that is meant."""

    digest: Sha256 | None = None
    segments: t.Annotated[list[WantedSegment], Field(max_length=URLS_OF_A_PULL)]


class ReadUrl(BaseModel):
    """A URL that reads one segment."""

    pack: str
    sha256: str
    url: str
    headers: dict[str, str]
    expires_at: int
    expires_in: int


class ReadUrls(BaseModel):
    """URLs that read segments."""

    urls: list[ReadUrl]
