# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The catalog itself, manifests and tags."""

from __future__ import annotations

import datetime

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from catalog_server.models.base import Base, LongId, Moment, Name, ShortId, new_long_id


class Catalog(Base):
    """The one row that says which catalog this is."""

    __tablename__ = "catalog"

    uuid: Mapped[str] = mapped_column(String(36), primary_key=True)
    created_at: Mapped[datetime.datetime] = mapped_column(Moment)


class Manifest(Base):
    """The record of one version for one architecture."""

    __tablename__ = "manifests"
    __table_args__ = (UniqueConstraint("catalog_id", "architecture", "version"),)

    id: Mapped[str] = mapped_column(LongId, primary_key=True, default=new_long_id)
    catalog_id: Mapped[str] = mapped_column(Name)
    version: Mapped[str] = mapped_column(Name)
    architecture: Mapped[str] = mapped_column(String(16))
    type: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(Text, default="")
    # The required roles and claims, as identity/access.py writes them; the segments carry theirs the same way.
    audience: Mapped[str] = mapped_column(Text, index=True)
    minimum_cpu: Mapped[int] = mapped_column(default=0)
    minimum_memory_mb: Mapped[int] = mapped_column(BigInteger, default=0)
    minimum_disk_mb: Mapped[int] = mapped_column(BigInteger, default=0)

    format: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(LongId)
    chunk_size: Mapped[int]
    chunks: Mapped[int] = mapped_column(BigInteger)
    files: Mapped[int] = mapped_column(BigInteger)
    logical_bytes: Mapped[int] = mapped_column(BigInteger)
    data_bytes: Mapped[int] = mapped_column(BigInteger)
    stored_bytes: Mapped[int] = mapped_column(BigInteger)
    storage: Mapped[str] = mapped_column(Name, ForeignKey("storages.name"))
    # The upload that it was, and the last parts of the keys of its index there.
    pack: Mapped[str] = mapped_column(ShortId, ForeignKey("uploads.id"), index=True)
    listing_object: Mapped[str] = mapped_column(String(80))
    locator_object: Mapped[str] = mapped_column(String(80))

    tainted: Mapped[bool] = mapped_column(default=False)
    tainted_by: Mapped[str | None] = mapped_column(Name)
    tainted_at: Mapped[datetime.datetime | None] = mapped_column(Moment)
    untainted_by: Mapped[str | None] = mapped_column(Name)
    revoked: Mapped[bool] = mapped_column(default=False)
    revoked_by: Mapped[str | None] = mapped_column(Name)
    revoked_at: Mapped[datetime.datetime | None] = mapped_column(Moment)

    download_count: Mapped[int] = mapped_column(BigInteger, default=0)
    last_downloaded_at: Mapped[datetime.datetime | None] = mapped_column(Moment)
    last_downloaded_user: Mapped[str | None] = mapped_column(Name)
    created_at: Mapped[datetime.datetime] = mapped_column(Moment)
    # When its content was pushed last: what the tag "latest" follows.
    pushed_at: Mapped[datetime.datetime] = mapped_column(Moment)
    updated_at: Mapped[datetime.datetime] = mapped_column(Moment)
    created_by: Mapped[str] = mapped_column(Name)

    tag_rows: Mapped[list[ManifestTag]] = relationship(
        lazy="raise", order_by="ManifestTag.tag", viewonly=True, back_populates="manifest"
    )

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the tags; they must have been loaded."""
        return tuple(row.tag for row in self.tag_rows)


class ManifestTag(Base):
    """A tag is at one version of a catalog id and architecture, or nowhere."""

    __tablename__ = "manifest_tags"

    catalog_id: Mapped[str] = mapped_column(Name, primary_key=True)
    architecture: Mapped[str] = mapped_column(String(16), primary_key=True)
    tag: Mapped[str] = mapped_column(Name, primary_key=True)
    manifest_id: Mapped[str] = mapped_column(LongId, ForeignKey("manifests.id", ondelete="CASCADE"), index=True)

    manifest: Mapped[Manifest] = relationship(lazy="raise", viewonly=True, back_populates="tag_rows")


class ManifestSegment(Base):
    """A manifest uses a segment: its locator places at least one chunk there."""

    __tablename__ = "manifest_segments"
    __table_args__ = (
        ForeignKeyConstraint(["pack", "sha256"], ["segments.pack", "segments.sha256"]),
        Index("ix_manifest_segments_segment", "pack", "sha256"),
    )

    manifest_id: Mapped[str] = mapped_column(LongId, ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True)
    pack: Mapped[str] = mapped_column(ShortId, primary_key=True)
    sha256: Mapped[str] = mapped_column(LongId, primary_key=True)
