# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Grants as JSON."""

from __future__ import annotations

import typing as t

from pydantic import ConfigDict, Field

from catalog_server.bodies import RequestBody, ResponseBody
from catalog_server.catalog.schemas import ManifestRecord, Timestamp
from catalog_server.models.identity import GrantUse
from catalog_server.models.transfers import Upload
from catalog_server.names import Architecture, CatalogId, RequiredRights, Version, VersionText
from catalog_server.transfers import grants


class PullGrantRequest(RequestBody):
    """A grant for a pull."""

    model_config = ConfigDict(extra="forbid")

    verb: t.Literal["pull"]
    """What the grant is for."""
    catalog_id: CatalogId
    """Catalog id to pull from."""
    version: VersionText | None = None
    """Version, tag or range; by default `latest`."""
    architecture: Architecture | None = None
    """Processor architecture; by default one manifest of each."""


class PushGrantRequest(RequestBody):
    """A grant for a push."""

    model_config = ConfigDict(extra="forbid")

    verb: t.Literal["push"]
    """What the grant is for."""
    catalog_id: CatalogId
    """Catalog id to push to."""
    version: Version
    """Version that the push makes."""
    architecture: Architecture | None = None
    """Processor architecture of the version; by default any."""
    bases: t.Annotated[list[VersionText], Field(max_length=grants.MAX_BASES)] | None = None
    """Versions, tags or ranges whose stored data the new version may share; by default the newest that it can."""
    required_roles: RequiredRights | None = None
    """Roles that the version will require; by default those of the existing version."""
    required_claims: RequiredRights | None = None
    """Claims that the version will require; by default those of the existing version."""


GrantRequest = t.Annotated[PullGrantRequest | PushGrantRequest, Field(discriminator="verb")]


class RenewedGrant(ResponseBody):
    """A grant, and the id under which it can be taken back."""

    grant: str
    """The grant, for the header `Authorization: Bearer`."""
    id: str
    """Id of the grant and of its renewals."""
    expires_at: int
    """When it expires, in seconds since 1970."""
    expires_in: int
    """For how many seconds it is valid, counted from this answer."""

    @classmethod
    def renewed(cls, minted: grants.Minted) -> RenewedGrant:
        return cls(
            grant=minted.token,
            id=minted.grant.jti,
            expires_at=minted.grant.expires_at,
            expires_in=minted.expires_in,
        )


class MintedGrant(RenewedGrant):
    """A grant, what it is about, and the bases that a push may refer to."""

    manifests: list[ManifestRecord]
    """Those that a pull has found, or that are there already at the version of a push."""
    bases: list[ManifestRecord]
    """Those whose stored data a push may share."""

    @classmethod
    def of(cls, minted: grants.Minted) -> MintedGrant:
        return cls(
            grant=minted.token,
            id=minted.grant.jti,
            expires_at=minted.grant.expires_at,
            expires_in=minted.expires_in,
            manifests=[ManifestRecord.of(manifest) for manifest in minted.manifests],
            bases=[ManifestRecord.of(manifest) for manifest in minted.bases],
        )


class GrantInUse(ResponseBody):
    """A grant by which a manifest was read."""

    id: str
    """Id of the grant."""
    manifest_id: str
    """Id of the manifest that was read."""
    used_at: Timestamp
    """When it was first read."""

    @classmethod
    def of(cls, use: GrantUse) -> GrantInUse:
        return cls(id=use.jti, manifest_id=use.manifest_id, used_at=use.used_at)


class OpenUpload(ResponseBody):
    """An upload that was neither committed nor aborted, and is not too old."""

    id: str
    """Id of the upload."""
    catalog_id: str
    """Catalog id that is pushed to."""
    version: str
    """Version that is pushed."""
    architecture: str
    """Processor architecture of the version."""
    created_at: Timestamp
    """When it was begun."""
    expires_at: Timestamp
    """When it ends if it is not committed."""

    @classmethod
    def of(cls, upload: Upload) -> OpenUpload:
        return cls(**{name: getattr(upload, name) for name in cls.model_fields})


class Transfers(ResponseBody):
    """The transfers of a user that are going on."""

    pulls: list[GrantInUse]
    """Grants that have read something, the newest first."""
    uploads: list[OpenUpload]
    """Open uploads, the newest first."""

    @classmethod
    def of(cls, found: grants.InUse) -> Transfers:
        return cls(
            pulls=[GrantInUse.of(use) for use in found.pulls],
            uploads=[OpenUpload.of(upload) for upload in found.uploads],
        )


class Empty(RequestBody):
    """An empty object."""

    model_config = ConfigDict(extra="forbid")
