# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every select on what the retention of a catalog id looks at. Nobody is shown what these return."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from sqlalchemy import exists, func, select, union
from sqlalchemy.orm import Session, aliased, selectinload

from catalog_server.catalog.retention import Version
from catalog_server.models.catalog import CatalogId, Manifest, ManifestSegment
from catalog_server.models.identity import DeniedGrant, GrantUse
from catalog_server.models.transfers import OPEN, Segment, Upload, UploadBase


def ruled(session: Session) -> Sequence[CatalogId]:
    """The catalog ids that have a retention."""
    return session.scalars(select(CatalogId).where(CatalogId.retention.is_not(None)).order_by(CatalogId.name)).all()


def versions(session: Session, catalog_id: str) -> list[Version]:
    """All versions of a catalog id, the newest push first."""
    statement = select(Manifest).where(Manifest.catalog_id == catalog_id).options(selectinload(Manifest.tag_rows))
    return [
        Version(
            id=found.id,
            version=found.version,
            architecture=found.architecture,
            pushed_at=found.pushed_at,
            is_pullable=not found.tainted and not found.revoked,
            tags=found.tags,
            superseded_by=found.superseded_by,
        )
        for found in session.scalars(statement.order_by(Manifest.push_number.desc()))
    ]


def in_use(session: Session, catalog_id: str, now: datetime.datetime) -> set[str]:
    """Ids of what an open upload replaces or builds on, or a grant that may still be good has read."""
    is_open = (Upload.state == OPEN, Upload.expires_at > now)
    replaced = (
        select(Manifest.id)
        .join(
            Upload,
            (Upload.catalog_id == Manifest.catalog_id)
            & (Upload.version == Manifest.version)
            & (Upload.architecture == Manifest.architecture),
        )
        .where(Manifest.catalog_id == catalog_id, *is_open)
    )
    bases = (
        select(Manifest.id)
        .join(UploadBase, UploadBase.manifest_id == Manifest.id)
        .join(Upload, Upload.id == UploadBase.upload_id)
        .where(Manifest.catalog_id == catalog_id, *is_open)
    )
    read = (
        select(Manifest.id)
        .join(GrantUse, GrantUse.manifest_id == Manifest.id)
        .where(
            Manifest.catalog_id == catalog_id,
            GrantUse.forget_at > now,
            ~exists().where(DeniedGrant.jti == GrantUse.jti),
        )
    )
    return set(session.scalars(union(replaced, bases, read)))


def parents(session: Session, catalog_id: str) -> set[str]:
    """Ids of the versions from which a version of another catalog id was made."""
    child = aliased(Manifest)
    statement = (
        select(Manifest.id)
        .join(
            child,
            (child.parent["catalog_id"].as_string() == Manifest.catalog_id)
            & (child.parent["version"].as_string() == Manifest.version)
            & (child.parent["architecture"].as_string() == Manifest.architecture),
        )
        .where(Manifest.catalog_id == catalog_id, child.catalog_id != catalog_id, child.parent.is_not(None))
    )
    return set(session.scalars(statement))


def bytes_only_of(session: Session, manifest_ids: Sequence[str]) -> int:
    """What the segments take that only these manifests use."""
    other = aliased(ManifestSegment)
    mine = (
        select(ManifestSegment.pack, ManifestSegment.sha256, Segment.size)
        .join(Segment, (Segment.pack == ManifestSegment.pack) & (Segment.sha256 == ManifestSegment.sha256))
        .where(
            ManifestSegment.manifest_id.in_(manifest_ids),
            ~exists().where(
                other.pack == ManifestSegment.pack,
                other.sha256 == ManifestSegment.sha256,
                other.manifest_id.not_in(manifest_ids),
            ),
        )
        .distinct()
        .subquery()
    )
    return int(session.scalar(select(func.coalesce(func.sum(mine.c.size), 0))) or 0)
