# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Grants as JSON."""

from __future__ import annotations

import typing as t

from pydantic import BaseModel, ConfigDict, Field

from catalog_server.catalog.schemas import ManifestRecord, Texts, Timestamp
from catalog_server.models.identity import GrantUse
from catalog_server.models.transfers import Upload
from catalog_server.texts import RequestBody
from catalog_server.transfers import grants
from catalog_server.transfers.schemas import Address


class PullGrantRequest(RequestBody):
    """For a pull: a version, tag or range; ``latest`` if nothing is said."""

    model_config = ConfigDict(extra="forbid")

    verb: t.Literal["pull"]
    catalog_id: Address
    version: Address | None = None
    architecture: Address | None = None


class PushGrantRequest(RequestBody):
    """For a push: the version that it makes, what that will require, and the versions that it may refer to."""

    model_config = ConfigDict(extra="forbid")

    verb: t.Literal["push"]
    catalog_id: Address
    version: Address
    architecture: Address | None = None
    bases: t.Annotated[list[Address], Field(max_length=grants.MAX_BASES)] | None = None
    required_roles: Texts | None = None
    required_claims: Texts | None = None


GrantRequest = t.Annotated[PullGrantRequest | PushGrantRequest, Field(discriminator="verb")]


class RenewedGrant(BaseModel):
    """A grant, and the id under which it can be taken back."""

    grant: str
    id: str
    expires_at: int
    expires_in: int

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
    bases: list[ManifestRecord]

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


class GrantInUse(BaseModel):
    """A grant by which a manifest was read."""

    id: str
    manifest_id: str
    used_at: Timestamp

    @classmethod
    def of(cls, use: GrantUse) -> GrantInUse:
        return cls(id=use.jti, manifest_id=use.manifest_id, used_at=use.used_at)


class OpenUpload(BaseModel):
    """An upload that was neither committed nor aborted, and is not too old."""

    id: str
    catalog_id: str
    version: str
    architecture: str
    created_at: Timestamp
    expires_at: Timestamp

    @classmethod
    def of(cls, upload: Upload) -> OpenUpload:
        return cls(**{name: getattr(upload, name) for name in cls.model_fields})


class Transfers(BaseModel):
    """What is known of the grants of a user: those that read something, and its open uploads; the newest first."""

    pulls: list[GrantInUse]
    uploads: list[OpenUpload]

    @classmethod
    def of(cls, found: grants.InUse) -> Transfers:
        return cls(
            pulls=[GrantInUse.of(use) for use in found.pulls],
            uploads=[OpenUpload.of(upload) for upload in found.uploads],
        )


class Empty(RequestBody):
    """Nothing."""

    model_config = ConfigDict(extra="forbid")
