# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Manifests as JSON."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.addresses import MAX_NAME_LENGTH
from pydantic import ConfigDict, Field, PlainSerializer, WithJsonSchema

from catalog_server.access import Audience
from catalog_server.bodies import RequestBody, ResponseBody
from catalog_server.catalog.records import Columns, columns_of
from catalog_server.models.catalog import Manifest
from catalog_server.names import MAX_LIST, RequiredRights, Tags
from catalog_server.texts import LINE_PATTERN, Line
from catalog_server.texts import Text as LongText

MAX_DESCRIPTION = 10_000


def _rfc3339(moment: datetime.datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


Timestamp = t.Annotated[
    datetime.datetime,
    PlainSerializer(_rfc3339),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
Text = t.Annotated[Line, Field(max_length=200)]
_TEXT_SCHEMA = {"type": "string", "maxLength": 200, "pattern": LINE_PATTERN}
Labels = t.Annotated[
    dict[Text, Text],
    Field(max_length=MAX_LIST),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": _TEXT_SCHEMA,
            "additionalProperties": _TEXT_SCHEMA,
            "maxProperties": MAX_LIST,
        }
    ),
]
Description = t.Annotated[LongText, Field(max_length=MAX_DESCRIPTION)]
BundleType = t.Literal["pvm", "macvm"]


class MinimumRequirements(ResponseBody):
    """What a host must offer; 0 demands nothing."""

    cpu: int = 0
    """Number of cores."""
    memory_mb: int = 0
    """Memory in MiB."""
    disk_mb: int = 0
    """Free disk space in MiB."""


class ManifestRecord(ResponseBody):
    """The metadata record of one version for one architecture."""

    id: str
    """Id of the manifest: 64 hexadecimal digits."""
    catalog_id: str
    """Catalog id, in lower case."""
    version: str
    """Version, in lower case."""
    architecture: t.Literal["arm64", "x86_64"]
    """Processor architecture of the virtual machine."""
    type: BundleType
    """Kind of bundle: `macvm` is a macOS guest on Apple silicon, `pvm` any other guest."""
    name: str
    """Name of the bundle's directory, with its suffix `.pvm` or `.macvm`."""
    description: str
    """What is in the image. It may have several lines, and may be empty."""
    release_notes: str
    """What changed since the version before. It may have several lines, and may be empty."""
    labels: dict[str, str]
    """Names and values that users gave the version; the server does not interpret them."""
    tags: list[str]
    """Tags that name this version, in lower case; each names one version of a catalog id and architecture."""
    required_roles: list[str]
    """Roles of which a user must have one to see this version; empty if none is needed."""
    required_claims: list[str]
    """Claims of which a user must have one to see this version; empty if none is needed."""
    minimum_requirements: MinimumRequirements
    """What a host must offer to run the virtual machine."""
    requires: dict[str, t.Any]
    """What else a host must offer, by name; empty if there is nothing else."""
    parent: dict[str, t.Any] | None
    """Address and digest of the version from whose virtual machine this one was made; null if it is not known."""
    superseded_by: str | None
    """Version that users should pull instead; null if there is none."""
    provenance: dict[str, t.Any] | None
    """How and by whom the image was built; null if it is not known."""
    format: str
    """Format of the pack: `segmented`."""
    digest: str
    """SHA-256 of the listing: the identity of the content, in hexadecimal."""
    chunk_size: int
    """Size of the chunks of the content, in bytes: a power of two from 64 KiB to 4 MiB."""
    chunks: int
    """Number of references to chunks, including holes."""
    files: int
    """Number of files in the bundle."""
    logical_bytes: int
    """Size of all files of the bundle, in bytes."""
    data_bytes: int
    """Size of the distinct chunks that are not holes, in bytes."""
    stored_bytes: int
    """Size of these chunks in storage, in bytes."""
    storage: str
    """Name of the storage that holds the content."""
    tainted: bool
    """Whether nobody can pull this version for now."""
    tainted_by: str | None
    """User name of whoever tainted it; null if it is not tainted."""
    tainted_at: Timestamp | None
    """When it was tainted; null if it is not tainted."""
    untainted_by: str | None
    """User name of whoever took the last taint back; null if nobody did since."""
    revoked: bool
    """Whether nobody can ever pull this version again."""
    revoked_by: str | None
    """User name of whoever revoked it; null if it is not revoked."""
    revoked_at: Timestamp | None
    """When it was revoked; null if it is not revoked."""
    download_count: int
    """Number of pulls: of grants for which at least one URL was issued."""
    last_downloaded_at: Timestamp | None
    """When it was last pulled; null if it never was."""
    last_downloaded_user: str | None
    """User name of whoever pulled it last; null if nobody did."""
    created_at: Timestamp
    """When this version was first pushed."""
    updated_at: Timestamp
    """When its record last changed."""
    created_by: str
    """User name of whoever pushed it."""

    @classmethod
    def of(cls, found: Manifest | Columns) -> ManifestRecord:
        """The record of a manifest, as ``records.py`` has read it, or as an object whose tags were loaded."""
        columns = columns_of(found)
        audience = Audience.parse(columns["audience"])
        return cls(
            **{name: columns[name] for name in _SAME},
            required_roles=list(audience.roles),
            required_claims=list(audience.claims),
            minimum_requirements=MinimumRequirements(
                cpu=columns["minimum_cpu"],
                memory_mb=columns["minimum_memory_mb"],
                disk_mb=columns["minimum_disk_mb"],
            ),
        )


# Fields that are columns of the same name
_SAME = ManifestRecord.model_fields.keys() - {"required_roles", "required_claims", "minimum_requirements"}


class ManifestPage(ResponseBody):
    """Some manifests, and where to go on."""

    manifests: list[ManifestRecord]
    """The manifests of this page, ordered by catalog id, version and architecture."""
    next: str | None
    """Cursor of the next page; null on the last one."""


class Resolved(ResponseBody):
    """What a version, tag or range means."""

    manifests: list[ManifestRecord]
    """The manifests that were found, one at most for each architecture."""


Amount = t.Annotated[int, Field(ge=0, le=1 << 40)]


class RequirementsEdit(RequestBody):
    """Minimum requirements to set; what is null or left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    cpu: t.Annotated[int, Field(ge=0, le=65536)] | None = None
    """Number of cores; 0 demands nothing."""
    memory_mb: Amount | None = None
    """Memory in MiB; 0 demands nothing."""
    disk_mb: Amount | None = None
    """Free disk space in MiB; 0 demands nothing."""


class ManifestEdit(RequestBody):
    """Fields of a manifest to set; what is null or left out stays as it is. Lists are replaced as a whole."""

    model_config = ConfigDict(extra="forbid")

    description: Description | None = None
    """What is in the image. It may have several lines."""
    release_notes: Description | None = None
    """What changed since the version before. It may have several lines."""
    labels: Labels | None = None
    """Names and values that the server does not interpret."""
    superseded_by: t.Annotated[Line, Field(max_length=MAX_NAME_LENGTH)] | None = None
    """Version that users should pull instead; an empty text takes it back."""
    tags: Tags | None = None
    """Tags that name this version. A tag moves here from the version that had it. `latest` moves by itself."""
    required_roles: RequiredRights | None = None
    """Roles of which a user must have one to see this version; an empty list needs none."""
    required_claims: RequiredRights | None = None
    """Claims of which a user must have one to see this version; an empty list needs none."""
    minimum_requirements: RequirementsEdit | None = None
    """What a host must offer to run the virtual machine."""


class Reason(RequestBody):
    """Why something is done."""

    model_config = ConfigDict(extra="forbid")

    reason: t.Annotated[LongText, Field(max_length=1000)] | None = None
    """One or more sentences, which the audit log keeps."""
