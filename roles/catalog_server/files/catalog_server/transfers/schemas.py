# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What transfers look like in JSON."""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import MAX_SEGMENT_BYTES
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.patches import MAX_PATCHES_BYTES
from pydantic import ConfigDict, Field

from catalog_server.bodies import RequestBody, ResponseBody
from catalog_server.catalog.schemas import BundleType, Description, ManifestRecord, RequirementsEdit, Text, Timestamp
from catalog_server.names import Architecture, CatalogId, RequiredRights, Tags, Version
from catalog_server.texts import InSchema, Line

ManifestId = t.Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Sha256 = t.Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Revision = t.Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
PackId = t.Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
# What ``chunks.is_chunk_size`` allows
ChunkSize = t.Annotated[int, InSchema(enum=[1 << power for power in range(16, 23)])]

URLS_OF_A_PULL = 500
URLS_OF_AN_UPLOAD = 64
MAX_BASES = 50
SEGMENTS_OF_A_PAGE = 1000


def _bundle(kind: str) -> dict[str, t.Any]:
    suffix = "".join(f"[{letter}{letter.upper()}]" for letter in kind)
    return {"properties": {"type": {"const": kind}, "name": {"pattern": rf"^[^/]*\.{suffix}$"}}}


class BeginUpload(RequestBody):
    """What a pusher says when it begins. What it leaves out keeps its value if a version is replaced."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [_bundle("pvm"), _bundle("macvm")]})

    catalog_id: CatalogId
    """Catalog id to push to. It becomes lower case, with `_` for special characters."""
    version: Version
    """Version that the push makes. It becomes lower case."""
    architecture: Architecture
    """Processor architecture of the virtual machine: `arm64` or `x86_64`, or another name of them."""
    type: BundleType
    """Kind of bundle: `macvm` is a macOS guest on Apple silicon, `pvm` any other guest."""
    name: t.Annotated[Line, Field(min_length=1, max_length=255)]
    """Name of the bundle's directory. Its suffix is the type."""
    chunk_size: ChunkSize
    """Size of the chunks of the content, in bytes: a power of two from 64 KiB to 4 MiB."""
    description: Description | None = None
    """What is in the image. It may have several lines."""
    tags: Tags | None = None
    """Tags to move to the new version. `latest` moves by itself."""
    required_roles: RequiredRights | None = None
    """Roles of which a user must have one to see the version; an empty list needs none."""
    required_claims: RequiredRights | None = None
    """Claims of which a user must have one to see the version; an empty list needs none."""
    minimum_requirements: RequirementsEdit | None = None
    """What a host must offer to run the virtual machine."""
    bases: t.Annotated[list[ManifestId], Field(max_length=MAX_BASES)] = []
    """Ids of manifests whose stored data the new version may share."""
    storage: Text | None = None
    """Name of the storage to push to; by default that of the server's settings."""
    force: bool = False
    """Whether to replace the version if it is there with other content."""
    expected_digest: Sha256 | None = None
    """Digest of the content, if it is known already: a version with other content is then refused at once."""


class SignedUrl(ResponseBody):
    """A URL that opens one object for a short time."""

    url: str
    """The URL. It is a secret while it is valid."""
    headers: dict[str, str]
    """Headers to send with it, and no other credentials."""
    expires_at: int
    """When it expires, in seconds since 1970."""
    expires_in: int
    """For how many seconds it is valid, counted from this answer."""


class StoredSegment(SignedUrl):
    """A segment that an upload has already, and a URL that reads it."""

    sha256: str
    """SHA-256 of the segment, in hexadecimal."""
    size: int
    """Size of the segment in bytes."""


class UploadRecord(ResponseBody):
    """An open upload."""

    id: str
    """Id of the upload, and of the pack that its segments belong to: 32 hexadecimal digits."""
    expires_at: int
    """When the upload ends if it is not committed, in seconds since 1970."""
    storage: str
    """Name of the storage that the segments are stored in."""
    chunk_size: int
    """Size of the chunks of the content, in bytes."""
    revision: str
    """What the commit must name: it identifies the fields and bases of the last begin."""
    bases: list[ManifestRecord]
    """Those of the bases whose stored data the new version may share."""
    segments: list[StoredSegment]
    """Segments that are stored already, ordered by SHA-256."""
    next: str | None
    """Cursor of more of these segments, for `GET /uploads/{upload_id}`; null if there are none."""


class NewSegment(RequestBody):
    """A segment that is about to be stored."""

    sha256: Sha256
    """SHA-256 of the segment, in hexadecimal."""
    size: t.Annotated[int, Field(gt=0, le=MAX_SEGMENT_BYTES)]
    """Size of the segment in bytes."""


class NewPatches(RequestBody):
    """An object of patches that is about to be stored."""

    sha256: Sha256
    """SHA-256 of the object, in hexadecimal."""
    size: t.Annotated[int, Field(gt=0, le=MAX_PATCHES_BYTES)]
    """Size of the object in bytes."""


class NewObjects(RequestBody):
    """Objects that are about to be stored."""

    segments: t.Annotated[list[NewSegment], Field(max_length=URLS_OF_AN_UPLOAD)] = []
    """The segments, each named by its SHA-256."""
    patches: t.Annotated[list[NewPatches], Field(max_length=URLS_OF_AN_UPLOAD)] = []
    """The objects of patches, each named by its SHA-256."""


class StoreUrl(SignedUrl):
    """A URL that stores one object, by a PUT of exactly its bytes."""

    sha256: str
    """SHA-256 of the object, in hexadecimal."""


class StoreUrls(ResponseBody):
    """URLs that store objects."""

    urls: list[StoreUrl]
    """One for each object, in the order of the request: segments, then patches."""


class FreedSpace(ResponseBody):
    """What becomes free by a deletion."""

    freed_bytes: int
    """Size of the stored data that nothing else uses, in bytes."""
    freed_after: Timestamp
    """From when on the server may remove it."""


class WantedSegment(RequestBody):
    """A segment as a locator names it."""

    pack: PackId
    """Id of the pack that the segment belongs to."""
    sha256: Sha256
    """SHA-256 of the segment, in hexadecimal."""


class WantedDelta(RequestBody):
    """A delta that leads to a manifest."""

    pack: PackId
    """Id of the pack that the delta belongs to."""
    sha256: Sha256
    """SHA-256 of the delta, in hexadecimal."""


class WantedPatches(RequestBody):
    """An object of patches of a delta that leads to a manifest."""

    pack: PackId
    """Id of the pack that the delta belongs to."""
    sha256: Sha256
    """SHA-256 of the object, in hexadecimal."""


class WantedObjects(RequestBody):
    """Objects that are about to be read."""

    digest: Sha256 | None = None
    """Digest of the content that is meant; if the version has other content now, the error is `replaced`."""
    segments: t.Annotated[list[WantedSegment], Field(max_length=URLS_OF_A_PULL)] = []
    """The segments, named as in the locator."""
    deltas: t.Annotated[list[WantedDelta], Field(max_length=URLS_OF_A_PULL)] = []
    """Deltas that lead to the manifest."""
    patches: t.Annotated[list[WantedPatches], Field(max_length=URLS_OF_A_PULL)] = []
    """Objects of patches, named as in these deltas."""


class ReadUrl(SignedUrl):
    """A URL that reads one object, or one range of its bytes."""

    pack: str
    """Id of the pack that the object belongs to."""
    sha256: str
    """SHA-256 of the object, in hexadecimal."""


class ReadUrls(ResponseBody):
    """URLs that read objects."""

    urls: list[ReadUrl]
    """One for each object, in the order of the request: segments, deltas, then patches."""


class DeltaRecord(ResponseBody):
    """A delta between the contents with two digests."""

    base_digest: str
    """Digest of the content that it starts from."""
    digest: str
    """Digest of the content that it leads to."""
    pack: str
    """Id of the pack that it belongs to."""
    sha256: str
    """SHA-256 of its object, in hexadecimal."""
    size: int
    """Size of its object in bytes."""
    patch_bytes: int
    """Bytes of all its patches."""
    chunk_bytes: int
    """Bytes that the chunks which it adds take in segments."""


class DeltaRecords(ResponseBody):
    """The deltas that lead to a manifest."""

    deltas: list[DeltaRecord]
    """Those that lead to it directly or one after another, those of the newest versions first."""
    index_bytes: int
    """Bytes of its listing and locator, which whoever follows deltas does not need."""
