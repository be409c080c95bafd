# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Uploads, segments and deltas."""

from __future__ import annotations

import datetime
import typing as t

from sqlalchemy import JSON, BigInteger, ForeignKey, ForeignKeyConstraint, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from catalog_server.models.base import Base, LongId, Name, ShortId, Timestamp
from catalog_server.models.catalog import AudienceText
from catalog_server.models.storage import Pack

OPEN = "open"
COMMITTED = "committed"
ABORTED = "aborted"


class Upload(Base):
    """A push, from its begin to its end. It may be forgotten some time after that; its pack stays."""

    __tablename__ = "uploads"
    __table_args__ = (
        # Of one user, one upload for an address is open.
        Index(
            "uq_uploads_open",
            "user_id",
            "catalog_id",
            "version",
            "architecture",
            unique=True,
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
        Index("ix_uploads_state_expires_at", "state", "expires_at"),
    )

    # That of its pack.
    id: Mapped[str] = mapped_column(ShortId, ForeignKey("packs.id"), primary_key=True)
    # Null once the user is deleted.
    user_id: Mapped[str | None] = mapped_column(ShortId, ForeignKey("users.id", ondelete="SET NULL"))
    catalog_id: Mapped[str] = mapped_column(Name)
    version: Mapped[str] = mapped_column(Name)
    architecture: Mapped[str] = mapped_column(String(16))
    chunk_size: Mapped[int]
    # What else the manifest shall say, as the pusher sent it and the server checked it.
    fields: Mapped[dict[str, t.Any]] = mapped_column(JSON)
    audience_id: Mapped[int] = mapped_column(ForeignKey("audiences.id"))
    force: Mapped[bool] = mapped_column(default=False)
    expected_digest: Mapped[str | None] = mapped_column(LongId)
    state: Mapped[str] = mapped_column(String(16), default=OPEN)
    created_at: Mapped[datetime.datetime] = mapped_column(Timestamp)
    expires_at: Mapped[datetime.datetime] = mapped_column(Timestamp)
    closed_at: Mapped[datetime.datetime | None] = mapped_column(Timestamp)

    pack: Mapped[Pack] = relationship(lazy="joined", innerjoin=True)
    audience_text: Mapped[AudienceText] = relationship(lazy="joined", innerjoin=True)

    @property
    def storage(self) -> str:
        """Name of the storage that its segments go to."""
        return self.pack.storage

    @property
    def audience(self) -> str:
        """The required roles and claims of what it will become, as ``access.py`` writes them."""
        return self.audience_text.text


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
    """An object of encoded chunks that a manifest uses, or has used."""

    __tablename__ = "segments"
    __table_args__ = (Index(None, "condemned_at"),)

    pack: Mapped[str] = mapped_column(ShortId, ForeignKey("packs.id"), primary_key=True)
    sha256: Mapped[str] = mapped_column(LongId, primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    # Whoever may read a manifest that uses it: a signed URL opens all of it.
    audience_id: Mapped[int] = mapped_column(ForeignKey("audiences.id"))
    # The storage itself has seen that the bytes have this SHA-256.
    proved: Mapped[bool] = mapped_column(default=False)
    # When the last that kept it let it go; no commit may refer to it any more.
    condemned_at: Mapped[datetime.datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime.datetime] = mapped_column(Timestamp)


class Delta(Base):
    """An object that turns the content with ``base_digest`` into that of a manifest. Nothing is lost with it."""

    __tablename__ = "deltas"

    # That of the index of its manifest.
    pack: Mapped[str] = mapped_column(ShortId, ForeignKey("packs.id"), primary_key=True)
    sha256: Mapped[str] = mapped_column(LongId, primary_key=True)
    manifest_id: Mapped[str] = mapped_column(LongId, ForeignKey("manifests.id", ondelete="CASCADE"), index=True)
    # Not a key: the base may be deleted.
    base_manifest_id: Mapped[str] = mapped_column(LongId, index=True)
    base_digest: Mapped[str] = mapped_column(LongId)
    size: Mapped[int] = mapped_column(BigInteger)
    # Bytes of all its patches, and of the chunks that it adds.
    patch_bytes: Mapped[int] = mapped_column(BigInteger)
    chunk_bytes: Mapped[int] = mapped_column(BigInteger)


class PatchObject(Base):
    """An object of patches of a delta."""

    __tablename__ = "patch_objects"
    __table_args__ = (ForeignKeyConstraint(["pack", "delta"], ["deltas.pack", "deltas.sha256"], ondelete="CASCADE"),)

    pack: Mapped[str] = mapped_column(ShortId, primary_key=True)
    # The SHA-256 of the delta, and its own.
    delta: Mapped[str] = mapped_column(LongId, primary_key=True)
    sha256: Mapped[str] = mapped_column(LongId, primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
