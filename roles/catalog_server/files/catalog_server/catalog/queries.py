# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every select on manifests, their tags and their segments. What a caller is shown starts at ``visible_to``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, delete, exists, func, select, true, tuple_, update
from sqlalchemy.orm import Session, aliased, selectinload

from catalog_server.identity.access import Audience, Caller
from catalog_server.models.catalog import Manifest, ManifestSegment, ManifestTag
from catalog_server.models.storage import Segment

# The order of a listing; together the three are unique.
_ORDER = (Manifest.catalog_id, Manifest.version, Manifest.architecture)


@dataclass(frozen=True)
class Filters:
    """What a listing is narrowed to; None lets everything pass."""

    catalog_id: str | None = None
    version: str | None = None
    architecture: str | None = None
    tag: str | None = None
    type: str | None = None
    tainted: bool | None = None
    revoked: bool | None = None


def visible_to(session: Session, caller: Caller) -> Select[Manifest]:
    """The manifests that exist for this caller, with their tags.

    There are few different audiences, so the one rule about them is applied to each, and not written again in SQL.
    """
    statement = select(Manifest).options(selectinload(Manifest.tag_rows))
    if caller.is_super_user:
        return statement
    audiences = session.scalars(select(Manifest.audience).distinct())
    return statement.where(Manifest.audience.in_([text for text in audiences if Audience.parse(text).admits(caller)]))


def manifest(session: Session, caller: Caller, manifest_id: str) -> Manifest | None:
    """One manifest by its id, as it is now, if it exists for the caller."""
    statement = visible_to(session, caller).where(Manifest.id == manifest_id)
    return session.scalar(statement.execution_options(populate_existing=True))


def candidates(session: Session, caller: Caller, catalog_id: str, architecture: str | None) -> Sequence[Manifest]:
    """The versions of a catalog id, the newest push first."""
    statement = visible_to(session, caller).where(Manifest.catalog_id == catalog_id)
    if architecture is not None:
        statement = statement.where(Manifest.architecture == architecture)
    return session.scalars(statement.order_by(Manifest.pushed_at.desc(), Manifest.id)).all()


def page(
    session: Session, caller: Caller, filters: Filters, after: tuple[str, str, str] | None, limit: int
) -> Sequence[Manifest]:
    """The first ``limit`` manifests behind the address ``after``."""
    statement = visible_to(session, caller).where(_conditions(filters)).order_by(*_ORDER).limit(limit)
    if after is not None:
        statement = statement.where(tuple_(*_ORDER) > after)
    return session.scalars(statement).all()


def _conditions(filters: Filters) -> ColumnElement[bool]:
    condition: ColumnElement[bool] = true()
    for name in ("catalog_id", "version", "architecture", "type", "tainted", "revoked"):
        value = getattr(filters, name)
        if value is not None:
            condition &= getattr(Manifest, name) == value
    if filters.tag is not None:
        condition &= exists().where(ManifestTag.manifest_id == Manifest.id, ManifestTag.tag == filters.tag)
    return condition


# Those below are for what the server does by itself: they look at everything, and nobody is shown what they return.


def at_address(session: Session, catalog_id: str, version: str, architecture: str) -> Manifest | None:
    """The manifest at an address, whoever may see it."""
    return session.scalar(
        select(Manifest)
        .options(selectinload(Manifest.tag_rows))
        .where(Manifest.catalog_id == catalog_id, Manifest.version == version, Manifest.architecture == architecture)
    )


def pushed_versions(session: Session, catalog_id: str, architecture: str) -> Sequence[tuple[str, str]]:
    """Version and id of all manifests of a catalog id and architecture, in the order of their pushes."""
    statement = (
        select(Manifest.version, Manifest.id)
        .where(Manifest.catalog_id == catalog_id, Manifest.architecture == architecture)
        .order_by(Manifest.pushed_at, Manifest.id)
    )
    return [(row.version, row.id) for row in session.execute(statement)]


def tag(session: Session, catalog_id: str, architecture: str, name: str) -> ManifestTag | None:
    return session.get(ManifestTag, (catalog_id, architecture, name))


def tags_of(session: Session, manifest_id: str) -> Sequence[ManifestTag]:
    return session.scalars(select(ManifestTag).where(ManifestTag.manifest_id == manifest_id)).all()


def uses_shared_segments(session: Session, manifest_id: str) -> bool:
    """Whether another manifest uses a segment of this one."""
    other = aliased(ManifestSegment)
    return bool(
        session.scalar(
            select(func.count())
            .select_from(ManifestSegment)
            .join(other, (other.pack == ManifestSegment.pack) & (other.sha256 == ManifestSegment.sha256))
            .where(ManifestSegment.manifest_id == manifest_id, other.manifest_id != manifest_id)
        )
    )


def move_own_segments(session: Session, manifest_id: str, audience: str) -> None:
    """Give the segments that only this manifest uses to another audience."""
    own = exists().where(
        ManifestSegment.pack == Segment.pack,
        ManifestSegment.sha256 == Segment.sha256,
        ManifestSegment.manifest_id == manifest_id,
    )
    others = exists().where(
        ManifestSegment.pack == Segment.pack,
        ManifestSegment.sha256 == Segment.sha256,
        ManifestSegment.manifest_id != manifest_id,
    )
    session.execute(
        update(Segment).where(own, ~others).values(audience=audience).execution_options(synchronize_session=False)
    )


def delete_manifest(session: Session, manifest_id: str) -> None:
    """The row, with its tags and its uses of segments."""
    session.execute(delete(Manifest).where(Manifest.id == manifest_id))
