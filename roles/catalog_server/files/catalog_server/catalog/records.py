# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Selects for routes that show manifests and change nothing.

They read columns: objects with their relationships take several times as long to make. What a caller is shown is
filtered by its audience, as in ``queries.py``.
"""

from __future__ import annotations

import typing as t
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Row, Select, bindparam, exists, select, true, tuple_
from sqlalchemy.orm import Session

from catalog_server.access import Audience, Caller
from catalog_server.catalog.queries import visible_to
from catalog_server.database import NAMES_BETWEEN, JoinedNames
from catalog_server.models.catalog import AudienceText, Manifest, ManifestTag, SegmentedContent
from catalog_server.models.storage import Pack

# Those of a manifest, of its content and of its audience, by their names, and its tags as one text.
Columns = Row[*tuple[t.Any, ...]]

# The order of a listing; together the three are unique.
_ORDER = (Manifest.catalog_id, Manifest.version, Manifest.architecture)
_ADDRESS = ("catalog_id", "version", "architecture")
_CONTENT = ("digest", "chunk_size", "chunks", "files", "logical_bytes", "data_bytes", "stored_bytes")
_TAGS = (
    select(JoinedNames(ManifestTag.tag))
    .where(ManifestTag.manifest_id == Manifest.id)
    .correlate(Manifest)
    .scalar_subquery()
)
# Made once: to put them together takes longer than to run them.
_RECORDS: Select[*tuple[t.Any, ...]] = (
    select(
        *Manifest.__table__.columns,
        *(SegmentedContent.__table__.columns[name] for name in _CONTENT),
        Pack.storage,
        AudienceText.text.label("audience"),
        _TAGS.label("tags"),
    )
    .join(AudienceText, AudienceText.id == Manifest.audience_id)
    .outerjoin(SegmentedContent, SegmentedContent.manifest_id == Manifest.id)
    .outerjoin(Pack, Pack.id == SegmentedContent.pack)
)
_BY_ID = _RECORDS.where(Manifest.id == bindparam("id"))
_BRIEF = (
    select(
        *(Manifest.__table__.columns[name] for name in ("id", *_ADDRESS, "tainted", "revoked")),
        SegmentedContent.digest,
        AudienceText.text.label("audience"),
    )
    .join(AudienceText, AudienceText.id == Manifest.audience_id)
    .outerjoin(SegmentedContent, SegmentedContent.manifest_id == Manifest.id)
    .where(Manifest.id == bindparam("id"))
)


def columns_of(found: Manifest | Columns) -> dict[str, t.Any]:
    """Return the columns of a manifest, however it was read, with its tags as a list in their order."""
    if isinstance(found, Manifest):
        content = {name: getattr(found.segmented, name) for name in (*_CONTENT, "storage")}
        own = {name: getattr(found, name) for name in Manifest.__table__.columns.keys()}
        return {**own, **content, "audience": found.audience, "tags": list(found.tags)}
    columns = found._asdict()
    columns["tags"] = sorted(columns["tags"].split(NAMES_BETWEEN)) if columns["tags"] else []
    return columns


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


@dataclass(frozen=True)
class Brief:
    """What decides whether a manifest may be pulled, and with which content."""

    id: str
    catalog_id: str
    version: str
    architecture: str
    tainted: bool
    revoked: bool
    digest: str | None


def brief(session: Session, caller: Caller, manifest_id: str) -> Brief | None:
    """Return the little that every request of a pull asks, None if there is no such manifest for the caller."""
    row = session.connection().execute(_BRIEF, {"id": manifest_id}).first()
    if row is None or not Audience.parse(row.audience).admits(caller):
        return None
    return Brief(row.id, row.catalog_id, row.version, row.architecture, row.tainted, row.revoked, row.digest)


def one(session: Session, caller: Caller, manifest_id: str) -> Columns | None:
    """Return the columns of a manifest, None if there is none for the caller."""
    row = session.connection().execute(_BY_ID, {"id": manifest_id}).first()
    return row if row is not None and Audience.parse(row.audience).admits(caller) else None


def page(
    session: Session, caller: Caller, filters: Filters, after: tuple[str, str, str] | None, limit: int
) -> Sequence[Columns]:
    """Return the columns of the first ``limit`` manifests behind the address ``after``."""
    statement = _RECORDS.where(_conditions(filters), visible_to(session, caller)).order_by(*_ORDER).limit(limit)
    if after is not None:
        statement = statement.where(tuple_(*_ORDER) > after)
    return session.execute(statement).all()


def _conditions(filters: Filters) -> ColumnElement[bool]:
    condition: ColumnElement[bool] = true()
    for name in ("catalog_id", "version", "architecture", "type"):
        value = getattr(filters, name)
        if value is not None:
            condition &= getattr(Manifest, name) == value
    for flag, wanted in ((Manifest.tainted, filters.tainted), (Manifest.revoked, filters.revoked)):
        if wanted is not None:
            # Without a parameter: else SQLite does not see that a partial index has all of them.
            condition &= flag if wanted else ~flag
    if filters.tag is not None:
        condition &= exists().where(ManifestTag.manifest_id == Manifest.id, ManifestTag.tag == filters.tag)
    return condition
