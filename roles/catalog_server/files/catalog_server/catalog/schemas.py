# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Manifests as JSON."""

from __future__ import annotations

import datetime
import typing as t

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from catalog_server.access import Audience
from catalog_server.models.catalog import Manifest
from catalog_server.texts import Line, RequestBody
from catalog_server.texts import Text as LongText

MAX_DESCRIPTION = 10_000
MAX_LIST = 100


def _rfc3339(moment: datetime.datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


Timestamp = t.Annotated[datetime.datetime, PlainSerializer(_rfc3339)]
Text = t.Annotated[Line, Field(max_length=200)]
Texts = t.Annotated[list[Text], Field(max_length=MAX_LIST)]
Labels = t.Annotated[dict[Text, Text], Field(max_length=MAX_LIST)]
Description = t.Annotated[LongText, Field(max_length=MAX_DESCRIPTION)]


class MinimumRequirements(BaseModel):
    """What a host must offer; 0 demands nothing."""

    cpu: int = 0
    memory_mb: int = 0
    disk_mb: int = 0


class ManifestRecord(BaseModel):
    """The metadata record of one version for one architecture."""

    id: str
    catalog_id: str
    version: str
    architecture: str
    type: str
    name: str
    description: str
    release_notes: str
    labels: dict[str, str]
    tags: list[str]
    required_roles: list[str]
    required_claims: list[str]
    minimum_requirements: MinimumRequirements
    requires: dict[str, t.Any]
    parent: dict[str, t.Any] | None
    superseded_by: str | None
    provenance: dict[str, t.Any] | None
    format: str
    digest: str
    chunk_size: int
    chunks: int
    files: int
    logical_bytes: int
    data_bytes: int
    stored_bytes: int
    storage: str
    tainted: bool
    tainted_by: str | None
    tainted_at: Timestamp | None
    untainted_by: str | None
    revoked: bool
    revoked_by: str | None
    revoked_at: Timestamp | None
    download_count: int
    last_downloaded_at: Timestamp | None
    last_downloaded_user: str | None
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str

    @classmethod
    def of(cls, manifest: Manifest) -> ManifestRecord:
        """The record of a manifest whose tags were loaded."""
        audience, content = Audience.parse(manifest.audience), manifest.segmented
        return cls(
            **{name: getattr(manifest, name) for name in _OF_MANIFEST},
            **{name: getattr(content, name) for name in _OF_CONTENT},
            tags=list(manifest.tags),
            required_roles=list(audience.roles),
            required_claims=list(audience.claims),
            minimum_requirements=MinimumRequirements(
                cpu=manifest.minimum_cpu, memory_mb=manifest.minimum_memory_mb, disk_mb=manifest.minimum_disk_mb
            ),
        )


_OF_CONTENT = (
    "digest",
    "chunk_size",
    "chunks",
    "files",
    "logical_bytes",
    "data_bytes",
    "stored_bytes",
    "storage",
)
_OF_MANIFEST = ManifestRecord.model_fields.keys() - {
    *_OF_CONTENT,
    "tags",
    "required_roles",
    "required_claims",
    "minimum_requirements",
}


class ManifestPage(BaseModel):
    """Some manifests, and where to go on."""

    manifests: list[ManifestRecord]
    next: str | None


class Resolved(BaseModel):
    """What a version, tag or range means, one manifest at most for each architecture."""

    manifests: list[ManifestRecord]


Amount = t.Annotated[int, Field(ge=0, le=1 << 40)]


class RequirementsEdit(RequestBody):
    """What is not named stays."""

    model_config = ConfigDict(extra="forbid")

    cpu: t.Annotated[int, Field(ge=0, le=65536)] | None = None
    memory_mb: Amount | None = None
    disk_mb: Amount | None = None


class ManifestEdit(RequestBody):
    """What is not named, or null, stays."""

    model_config = ConfigDict(extra="forbid")

    description: Description | None = None
    release_notes: Description | None = None
    labels: Labels | None = None
    superseded_by: Text | None = None
    tags: Texts | None = None
    required_roles: Texts | None = None
    required_claims: Texts | None = None
    minimum_requirements: RequirementsEdit | None = None


class Reason(RequestBody):
    """Why; it is kept in the audit log."""

    model_config = ConfigDict(extra="forbid")

    reason: t.Annotated[LongText, Field(max_length=1000)] | None = None
