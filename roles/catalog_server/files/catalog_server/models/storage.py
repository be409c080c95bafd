# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Storages, uploads (which become packs) and segments."""

from __future__ import annotations

import datetime
import typing as t

from sqlalchemy import JSON, BigInteger, ForeignKey, ForeignKeyConstraint, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from catalog_server.models.base import Base, LongId, Moment, Name, ShortId, new_short_id

OPEN = "open"
COMMITTED = "committed"
ABORTED = "aborted"


class Storage(Base):
    """A named place for objects."""

    __tablename__ = "storages"

    name: Mapped[str] = mapped_column(Name, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime.datetime] = mapped_column(Moment)


class Upload(Base):
    """A push, from its begin on; once it is committed, the pack that its segments belong to."""

    __tablename__ = "uploads"
    __table_args__ = (
        Index("ix_uploads_address", "user_id", "catalog_id", "version", "architecture"),
        Index("ix_uploads_state_expires_at", "state", "expires_at"),
    )

    id: Mapped[str] = mapped_column(ShortId, primary_key=True, default=new_short_id)
    # Null once the user is deleted.
    user_id: Mapped[str | None] = mapped_column(ShortId, ForeignKey("users.id", ondelete="SET NULL"))
    catalog_id: Mapped[str] = mapped_column(Name)
    version: Mapped[str] = mapped_column(Name)
    architecture: Mapped[str] = mapped_column(String(16))
    chunk_size: Mapped[int]
    # What else the manifest shall say, as the pusher sent it and the server checked it.
    fields: Mapped[dict[str, t.Any]] = mapped_column(JSON)
    audience: Mapped[str] = mapped_column(Text)
    force: Mapped[bool] = mapped_column(default=False)
    expected_digest: Mapped[str | None] = mapped_column(LongId)
    storage: Mapped[str] = mapped_column(Name, ForeignKey("storages.name"))
    state: Mapped[str] = mapped_column(String(16), default=OPEN)
    created_at: Mapped[datetime.datetime] = mapped_column(Moment)
    expires_at: Mapped[datetime.datetime] = mapped_column(Moment)
    closed_at: Mapped[datetime.datetime | None] = mapped_column(Moment)


class UploadBase(Base):
    """A manifest that an upload may refer to. As long as the upload is open, it is a lease on its segments.

    Deleting the manifest leaves the row: the commit must know that a base is gone.
    """

    __tablename__ = "upload_bases"

    upload_id: Mapped[str] = mapped_column(ShortId, ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True)
    manifest_id: Mapped[str] = mapped_column(LongId, primary_key=True, index=True)


class LeasedSegment(Base):
    """A segment that a base of an open upload used until the base was replaced; the upload may still refer to it."""

    __tablename__ = "leased_segments"
    __table_args__ = (
        ForeignKeyConstraint(["pack", "sha256"], ["segments.pack", "segments.sha256"]),
        Index("ix_leased_segments_segment", "pack", "sha256"),
    )

    upload_id: Mapped[str] = mapped_column(ShortId, ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True)
    manifest_id: Mapped[str] = mapped_column(LongId, primary_key=True)
    pack: Mapped[str] = mapped_column(ShortId, primary_key=True)
    sha256: Mapped[str] = mapped_column(LongId, primary_key=True)


class Segment(Base):
    """An object of encoded chunks, stored by a committed upload."""

    __tablename__ = "segments"
    __table_args__ = (Index(None, "condemned_at"),)

    pack: Mapped[str] = mapped_column(ShortId, ForeignKey("uploads.id"), primary_key=True)
    sha256: Mapped[str] = mapped_column(LongId, primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    storage: Mapped[str] = mapped_column(Name, ForeignKey("storages.name"))
    # Whoever may read a manifest that uses it: a signed URL opens all of it.
    audience: Mapped[str] = mapped_column(Text)
    # The storage itself has seen that the bytes have this SHA-256.
    proved: Mapped[bool] = mapped_column(default=False)
    # Marked by the garbage collection; no commit may refer to it any more.
    condemned_at: Mapped[datetime.datetime | None] = mapped_column(Moment)
    created_at: Mapped[datetime.datetime] = mapped_column(Moment)
