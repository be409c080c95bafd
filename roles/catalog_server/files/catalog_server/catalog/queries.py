# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every select on manifests, their tags and their segments. What a caller is shown is filtered by its audience."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    bindparam,
    delete,
    exists,
    false,
    func,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased, selectinload

from catalog_server.access import Audience, Caller
from catalog_server.database import upsert
from catalog_server.models.catalog import AudienceText, CatalogId, Manifest, ManifestSegment, ManifestTag
from catalog_server.models.transfers import Segment


def _manifests() -> Select[Manifest]:
    return select(Manifest).options(selectinload(Manifest.tag_rows))


# Made once: to put them together takes longer than to run them.
_BY_ID = _manifests().where(Manifest.id == bindparam("id")).execution_options(populate_existing=True)
_NEWEST_FIRST = _manifests().where(Manifest.catalog_id == bindparam("catalog_id")).order_by(Manifest.push_number.desc())
_NEWEST_OF_ARCHITECTURE = _NEWEST_FIRST.where(Manifest.architecture == bindparam("architecture"))


def manifest(session: Session, caller: Caller, manifest_id: str) -> Manifest | None:
    """One manifest by its id, as it is now, if it exists for the caller."""
    found = session.scalar(_BY_ID, {"id": manifest_id})
    return found if found is not None and _is_visible(found, caller) else None


def _is_visible(found: Manifest, caller: Caller) -> bool:
    return Audience.parse(found.audience).admits(caller)


def candidates(session: Session, caller: Caller, catalog_id: str, architecture: str | None) -> Sequence[Manifest]:
    """The versions of a catalog id that exist for the caller, the newest push first."""
    statement = _NEWEST_FIRST if architecture is None else _NEWEST_OF_ARCHITECTURE
    found = session.scalars(statement, {"catalog_id": catalog_id, "architecture": architecture})
    return [one for one in found if _is_visible(one, caller)]


def visible_to(session: Session, caller: Caller) -> ColumnElement[bool]:
    """What holds for the manifests that exist for this caller.

    There are few different audiences, so the one rule about them is applied to each, and not written again in SQL.
    """
    if caller.is_super_user:
        return true()
    return _is_own(session, caller, Manifest.audience_id)


def _is_own(
    session: Session, caller: Caller, column: InstrumentedAttribute[int] | InstrumentedAttribute[int | None]
) -> ColumnElement[bool]:
    """What holds where a column names an audience to which the caller belongs.

    Only those that the column names are looked at: each begin of an upload may make another audience, and no manifest
    may ever have it.
    """
    used = _audiences_in(column)
    rows = session.execute(select(AudienceText.id, AudienceText.text).join(used, used.c.id == AudienceText.id))
    own = [number for number, text in rows if Audience.parse(text).admits(caller)]
    # The sum keeps the database from an index on audiences: it would find, join and sort all that the caller may see,
    # where a page needs some of them, and they lie in order in another index. The numbers are written into the
    # statement, as databases bound the number of parameters.
    return (column + 0).in_(bindparam(None, own, expanding=True, literal_execute=True)) if own else false()


def _audiences_in(column: InstrumentedAttribute[int] | InstrumentedAttribute[int | None]) -> FromClause:
    """The different audiences that a column names, each found in the index behind the one before."""
    one = select(func.min(column).label("id")).cte("used", recursive=True)
    following = select(func.min(column)).where(column > one.c.id).scalar_subquery()
    return one.union_all(select(following).select_from(one).where(one.c.id.is_not(None)))


# Those below are for what the server does by itself: they look at everything, and nobody is shown what they return.


def at_address(session: Session, catalog_id: str, version: str, architecture: str) -> Manifest | None:
    """The manifest at an address, whoever may see it."""
    return session.scalar(
        _manifests().where(
            Manifest.catalog_id == catalog_id, Manifest.version == version, Manifest.architecture == architecture
        )
    )


def pushed_versions(session: Session, catalog_id: str, architecture: str) -> Sequence[tuple[str, str]]:
    """Version and id of all manifests of a catalog id and architecture, in the order of their pushes."""
    statement = (
        select(Manifest.version, Manifest.id)
        .where(Manifest.catalog_id == catalog_id, Manifest.architecture == architecture)
        .order_by(Manifest.push_number)
    )
    return [(row.version, row.id) for row in session.execute(statement)]


def tag(session: Session, catalog_id: str, architecture: str, name: str) -> ManifestTag | None:
    return session.get(ManifestTag, (catalog_id, architecture, name))


def tags_of(session: Session, manifest_id: str) -> Sequence[ManifestTag]:
    return session.scalars(select(ManifestTag).where(ManifestTag.manifest_id == manifest_id)).all()


def catalog_id(session: Session, name: str) -> CatalogId | None:
    return session.get(CatalogId, name)


def page_of_catalog_ids(session: Session, caller: Caller, after: str | None, limit: int) -> Sequence[CatalogId]:
    """The first ``limit`` catalog ids behind ``after`` that exist for the caller."""
    statement = select(CatalogId).where(_known_to(session, caller)).order_by(CatalogId.name).limit(limit)
    if after is not None:
        statement = statement.where(CatalogId.name > after)
    return session.scalars(statement).all()


def known_catalog_id(session: Session, caller: Caller, name: str) -> CatalogId | None:
    """One catalog id, as it is now, if it exists for the caller."""
    row = session.get(CatalogId, name, populate_existing=True)
    if row is None or caller.is_super_user or _admits(row.push_audience, caller):
        return row
    known = select(Manifest.id).where(Manifest.catalog_id == name).limit(1)
    if session.scalar(known.where(visible_to(session, caller))) is not None:
        return row
    is_free = row.push_audience is None and session.scalar(known) is None
    return row if is_free else None


def _admits(audience: AudienceText | None, caller: Caller) -> bool:
    return audience is not None and Audience.parse(audience.text).admits(caller)


def _known_to(session: Session, caller: Caller) -> ColumnElement[bool]:
    """What holds for catalog ids of which the caller sees a version or may push to, and for empty ones."""
    if caller.is_super_user:
        return true()
    visible = exists().where(Manifest.catalog_id == CatalogId.name, visible_to(session, caller))
    own = _is_own(session, caller, CatalogId.push_audience_id)
    empty = ~exists().where(Manifest.catalog_id == CatalogId.name)
    return visible | own | (empty & CatalogId.push_audience_id.is_(None))


def has_manifests(session: Session, name: str) -> bool:
    """Return True if a catalog id has a version, whoever may see it."""
    return session.scalar(select(Manifest.id).where(Manifest.catalog_id == name).limit(1)) is not None


def delete_catalog_id(session: Session, name: str) -> None:
    """The row of a catalog id without versions."""
    session.execute(delete(CatalogId).where(CatalogId.name == name))


def audiences_of(session: Session, name: str) -> set[str]:
    """The different audiences of all manifests of a catalog id."""
    statement = select(AudienceText.text).join(Manifest, Manifest.audience_id == AudienceText.id)
    return set(session.scalars(statement.where(Manifest.catalog_id == name).distinct()))


def has_version(session: Session, name: str, version: str) -> bool:
    """Return True if a catalog id has a version of that name, for any architecture."""
    statement = select(Manifest.id).where(Manifest.catalog_id == name, Manifest.version == version).limit(1)
    return session.scalar(statement) is not None


def has_tag(session: Session, name: str, tag_name: str) -> bool:
    """Return True if a catalog id has a tag of that name, for any architecture."""
    statement = select(ManifestTag.tag).where(ManifestTag.catalog_id == name, ManifestTag.tag == tag_name).limit(1)
    return session.scalar(statement) is not None


def audience_row(session: Session, text: str) -> AudienceText:
    """The row of an audience, which is made if there is none."""
    statement = select(AudienceText).where(AudienceText.text == text)
    found = session.scalar(statement)
    if found is None:
        session.execute(
            upsert(session, AudienceText).values(text=text).on_conflict_do_nothing(index_elements=[AudienceText.text])
        )
        found = session.scalars(statement).one()
    return found


def uses_shared_segments(session: Session, manifest_id: str) -> bool:
    """Return True if another manifest uses a segment of this one."""
    other = aliased(ManifestSegment)
    return bool(
        session.scalar(
            select(func.count())
            .select_from(ManifestSegment)
            .join(other, (other.pack == ManifestSegment.pack) & (other.sha256 == ManifestSegment.sha256))
            .where(ManifestSegment.manifest_id == manifest_id, other.manifest_id != manifest_id)
        )
    )


def move_own_segments(session: Session, manifest_id: str, audience_id: int) -> None:
    """Give the segments that only this manifest uses to another audience."""
    own = aliased(ManifestSegment)
    other = aliased(ManifestSegment)
    mine = select(own.pack, own.sha256).where(
        own.manifest_id == manifest_id,
        ~exists().where(other.pack == own.pack, other.sha256 == own.sha256, other.manifest_id != manifest_id),
    )
    session.execute(
        update(Segment)
        .where(tuple_(Segment.pack, Segment.sha256).in_(mine))
        .values(audience_id=audience_id)
        .execution_options(synchronize_session=False)
    )


def delete_manifest(session: Session, manifest_id: str) -> None:
    """The row, with its tags and its uses of segments."""
    session.execute(delete(Manifest).where(Manifest.id == manifest_id))
