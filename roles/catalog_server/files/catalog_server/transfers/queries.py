# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every statement on uploads, leases and segments, and on the uses and denials of grants."""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, and_, bindparam, delete, exists, func, insert, or_, select, tuple_, union, update
from sqlalchemy.orm import Session, aliased

from catalog_server.models.catalog import Manifest, ManifestSegment, SegmentedContent
from catalog_server.models.identity import DeniedGrant, GrantUse
from catalog_server.models.storage import Pack
from catalog_server.models.transfers import OPEN, Delta, LeasedSegment, Segment, Upload, UploadBase

SegmentName = tuple[str, str]
# SQLite takes 32766 parameters in a statement.
_PAIRS_AT_ONCE = 10_000


def upload(session: Session, upload_id: str) -> Upload | None:
    return session.get(Upload, upload_id)


def open_uploads(session: Session, user_id: str, catalog_id: str, version: str, architecture: str) -> Sequence[Upload]:
    """The uploads of a user for one address that are neither committed nor aborted, expired ones too; newest first."""
    statement = select(Upload).where(
        Upload.user_id == user_id,
        Upload.catalog_id == catalog_id,
        Upload.version == version,
        Upload.architecture == architecture,
        Upload.state == OPEN,
    )
    return session.scalars(statement.order_by(Upload.created_at.desc(), Upload.id)).all()


def bases_of(session: Session, upload_id: str) -> list[str]:
    """Ids of the manifests that an upload named as bases, whether or not they are still there."""
    statement = select(UploadBase.manifest_id).where(UploadBase.upload_id == upload_id)
    return list(session.scalars(statement.order_by(UploadBase.manifest_id)))


def reusable_segments(
    session: Session, upload_id: str, bases: Sequence[str], audience_id: int, storage: str, user_id: str | None
) -> dict[SegmentName, int]:
    """Sizes of the segments of these bases that an upload for that audience in that storage may refer to.

    The bases use them, or did when the upload leased them. They are for exactly that audience, not about to be deleted,
    and their bytes are proved or the pusher's own.
    """
    names = union(
        select(ManifestSegment.pack, ManifestSegment.sha256).where(ManifestSegment.manifest_id.in_(bases)),
        select(LeasedSegment.pack, LeasedSegment.sha256).where(
            LeasedSegment.upload_id == upload_id, LeasedSegment.manifest_id.in_(bases)
        ),
    ).subquery()
    statement = (
        select(Segment.pack, Segment.sha256, Segment.size)
        .join(names, and_(names.c.pack == Segment.pack, names.c.sha256 == Segment.sha256))
        .join(Pack, Pack.id == Segment.pack)
        .where(
            Segment.audience_id == audience_id,
            Pack.storage == storage,
            Segment.condemned_at.is_(None),
            or_(Segment.proved, Pack.user_id == user_id),
        )
    )
    return {(pack, sha256): size for pack, sha256, size in session.execute(statement)}


# Made once, as all hosts of a fleet ask them at the same time: to put them together takes longer than to run them.
_USE = select(GrantUse.jti).where(GrantUse.jti == bindparam("jti"), GrantUse.manifest_id == bindparam("manifest_id"))
_USED = (
    select(ManifestSegment.pack, ManifestSegment.sha256, Pack.storage)
    .join(Pack, Pack.id == ManifestSegment.pack)
    .where(
        ManifestSegment.manifest_id == bindparam("manifest_id"),
        tuple_(ManifestSegment.pack, ManifestSegment.sha256).in_(bindparam("wanted", expanding=True)),
    )
)


def segments_in(session: Session, pack: str) -> Sequence[str]:
    """SHA-256 of all segments of a pack that a manifest uses, of whichever."""
    return session.scalars(select(Segment.sha256).where(Segment.pack == pack)).all()


def manifest_of(session: Session, pack: str) -> Manifest | None:
    """The manifest whose index lies in a pack, unless it was replaced or deleted since."""
    statement = select(Manifest).join(SegmentedContent, SegmentedContent.manifest_id == Manifest.id)
    return session.scalar(statement.where(SegmentedContent.pack == pack))


def segments_of(session: Session, manifest_id: str) -> set[SegmentName]:
    """All segments that a manifest uses."""
    statement = select(ManifestSegment.pack, ManifestSegment.sha256).where(ManifestSegment.manifest_id == manifest_id)
    return {(row.pack, row.sha256) for row in session.execute(statement)}


def used_by(session: Session, manifest_id: str, wanted: Sequence[SegmentName]) -> dict[SegmentName, str]:
    """Those of the wanted segments that a manifest uses, and the storage of each."""
    found = session.connection().execute(_USED, {"manifest_id": manifest_id, "wanted": list(wanted)})
    return {(pack, sha256): storage for pack, sha256, storage in found}


def unused(session: Session, candidates: Iterable[SegmentName]) -> dict[SegmentName, int]:
    """Those of the candidates that no manifest uses and no upload has leased, and the size of each."""
    names = sorted(candidates)
    found: dict[SegmentName, int] = {}
    for start in range(0, len(names), _PAIRS_AT_ONCE):
        statement = select(Segment.pack, Segment.sha256, Segment.size).where(
            Segment.condemned_at.is_(None),
            tuple_(Segment.pack, Segment.sha256).in_(names[start : start + _PAIRS_AT_ONCE]),
            ~exists().where(ManifestSegment.pack == Segment.pack, ManifestSegment.sha256 == Segment.sha256),
            ~exists().where(LeasedSegment.pack == Segment.pack, LeasedSegment.sha256 == Segment.sha256),
        )
        found.update({(pack, sha256): size for pack, sha256, size in session.execute(statement)})
    return found


def grants_in_use(session: Session, user_id: str, now: datetime.datetime, limit: int) -> Sequence[GrantUse]:
    """The grants of a user by which something was read and that may still be good, the last use first."""
    statement = select(GrantUse).where(
        GrantUse.jti.startswith(f"{user_id}-", autoescape=True),
        GrantUse.forget_at > now,
        ~exists().where(DeniedGrant.jti == GrantUse.jti),
    )
    return session.scalars(statement.order_by(GrantUse.used_at.desc(), GrantUse.jti).limit(limit)).all()


def uploads_of(session: Session, user_id: str, now: datetime.datetime, limit: int) -> Sequence[Upload]:
    """The open uploads of a user, the newest first."""
    statement = select(Upload).where(Upload.user_id == user_id, Upload.state == OPEN, Upload.expires_at > now)
    return session.scalars(statement.order_by(Upload.created_at.desc(), Upload.id).limit(limit)).all()


def was_used(session: Session, jti: str, manifest_id: str) -> bool:
    """Return True if a manifest was read by a grant before."""
    return session.connection().execute(_USE, {"jti": jti, "manifest_id": manifest_id}).first() is not None


def is_denied(session: Session, jti: str) -> bool:
    """Return True if a grant was taken back."""
    return session.get(DeniedGrant, jti) is not None


# Those below write many rows at once, in the order in which they refer to one another.


def add_segments(session: Session, rows: Sequence[dict[str, t.Any]]) -> None:
    if rows:
        session.execute(insert(Segment), rows)


def set_uses(session: Session, manifest_id: str, names: Iterable[SegmentName]) -> None:
    """A manifest uses these segments, and no others."""
    session.execute(delete(ManifestSegment).where(ManifestSegment.manifest_id == manifest_id))
    rows = [{"manifest_id": manifest_id, "pack": pack, "sha256": sha256} for pack, sha256 in sorted(names)]
    if rows:
        session.execute(insert(ManifestSegment), rows)


def lease_uses(session: Session, manifest_id: str, now: datetime.datetime) -> None:
    """Write down what a manifest uses, for each open upload that has it as a base."""
    known = aliased(LeasedSegment)
    uses = (
        select(UploadBase.upload_id, UploadBase.manifest_id, ManifestSegment.pack, ManifestSegment.sha256)
        .join(Upload, Upload.id == UploadBase.upload_id)
        .join(ManifestSegment, ManifestSegment.manifest_id == UploadBase.manifest_id)
        .where(
            UploadBase.manifest_id == manifest_id,
            Upload.state == OPEN,
            Upload.expires_at > now,
            # An earlier replacement may have written it down already.
            ~exists().where(
                known.upload_id == UploadBase.upload_id,
                known.manifest_id == UploadBase.manifest_id,
                known.pack == ManifestSegment.pack,
                known.sha256 == ManifestSegment.sha256,
            ),
        )
    )
    session.execute(insert(LeasedSegment).from_select(["upload_id", "manifest_id", "pack", "sha256"], uses))


def end_leases(session: Session, now: datetime.datetime) -> list[SegmentName]:
    """Forget what was leased by uploads that are over, or have the base no more; the segments."""
    over = ~exists().where(
        UploadBase.upload_id == LeasedSegment.upload_id,
        UploadBase.manifest_id == LeasedSegment.manifest_id,
        Upload.id == LeasedSegment.upload_id,
        Upload.state == OPEN,
        Upload.expires_at > now,
    )
    ended = session.execute(select(LeasedSegment.pack, LeasedSegment.sha256).where(over).distinct())
    names = [(row.pack, row.sha256) for row in ended]
    if names:
        session.execute(delete(LeasedSegment).where(over).execution_options(synchronize_session=False))
    return names


def condemn(session: Session, names: Sequence[SegmentName], now: datetime.datetime) -> None:
    """Mark segments that nothing uses, so that nothing may use them any more."""
    for start in range(0, len(names), _PAIRS_AT_ONCE):
        pairs = names[start : start + _PAIRS_AT_ONCE]
        session.execute(
            update(Segment)
            .where(tuple_(Segment.pack, Segment.sha256).in_(pairs))
            .values(condemned_at=now)
            .execution_options(synchronize_session=False)
        )


def bytes_of(session: Session, catalog_id: str) -> int:
    """What the segments, deltas and patches of the versions of a catalog id take in storage, each counted once."""
    used = (
        select(Segment.pack, Segment.sha256, Segment.size)
        .join(ManifestSegment, (ManifestSegment.pack == Segment.pack) & (ManifestSegment.sha256 == Segment.sha256))
        .join(Manifest, Manifest.id == ManifestSegment.manifest_id)
        .where(Manifest.catalog_id == catalog_id)
        .distinct()
        .subquery()
    )
    segments = session.scalar(select(func.coalesce(func.sum(used.c.size), 0)))
    return int(segments or 0) + delta_bytes(session, Manifest.catalog_id == catalog_id)


def delta_bytes(session: Session, condition: ColumnElement[bool]) -> int:
    """What the deltas of the manifests that fulfil a condition take in storage, with their patches."""
    total = func.coalesce(func.sum(Delta.size + Delta.patch_bytes), 0)
    return int(session.scalar(select(total).join(Manifest, Manifest.id == Delta.manifest_id).where(condition)) or 0)
