# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The catalog itself, its catalog ids, audiences, manifests with their content, and tags."""

from __future__ import annotations

import datetime
import typing as t

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from catalog_server.models.base import Base, LongId, Name, ShortId, Timestamp, new_long_id
from catalog_server.models.storage import Pack


class Catalog(Base):
    """The one row that says which catalog this is; a restore raises ``epoch``, which ends all credentials."""

    __tablename__ = "catalog"

    uuid: Mapped[str] = mapped_column(String(36), primary_key=True)
    epoch: Mapped[int] = mapped_column(BigInteger, default=1)
    # A restore sets it to false: what the database does not know of then may be all that is left of a pack.
    gc_enabled: Mapped[bool] = mapped_column(default=True)
    # The latest time at which the clock was plausible: see ``clock.py``.
    clock_noted_at: Mapped[datetime.datetime | None] = mapped_column(Timestamp)
    # The key that the last server to start, or to change its key, signs with; null: none has started yet.
    signing_key: Mapped[str | None] = mapped_column(ShortId)
    created_at: Mapped[datetime.datetime] = mapped_column(Timestamp)


class SchemaInfo(Base):
    """The one row that says which releases can work with these tables: those that know this revision."""

    __tablename__ = "schema_info"

    compatible_from: Mapped[str] = mapped_column(String(32), primary_key=True)


class AudienceText(Base):
    """The required roles and claims that manifests, segments or catalog ids have, as ``access.py`` writes them."""

    __tablename__ = "audiences"

    # SQLite counts by itself only in a plain INTEGER.
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    text: Mapped[str] = mapped_column(Text, unique=True)


class CatalogId(Base):
    """A name under which versions are pushed, and who may do that."""

    __tablename__ = "catalog_ids"

    name: Mapped[str] = mapped_column(Name, primary_key=True)
    # Who may push to it and move its tags; null: whoever may push at all, and sees everything that is there.
    push_audience_id: Mapped[int | None] = mapped_column(ForeignKey("audiences.id"), index=True)
    tag_audience_id: Mapped[int | None] = mapped_column(ForeignKey("audiences.id"))
    # Stock clients may not push to it.
    native_only: Mapped[bool] = mapped_column(default=False)
    # A tag stays at the version that got it first; ``latest`` moves.
    immutable_tags: Mapped[bool] = mapped_column(default=False)
    # What a clean-up keeps, by number and by age; null: everything.
    retention: Mapped[dict[str, t.Any] | None] = mapped_column(JSON(none_as_null=True))
    # When the retention was set: it deletes nothing before somebody could look at what it would delete.
    retention_set_at: Mapped[datetime.datetime | None] = mapped_column(Timestamp)
    # Most bytes that its segments may take in storage; null: no limit.
    quota_bytes: Mapped[int | None] = mapped_column(BigInteger)
    # The number of the last push: pushes are ordered by it, and not by a clock.
    last_push_number: Mapped[int] = mapped_column(BigInteger, default=0)
    created_at: Mapped[datetime.datetime] = mapped_column(Timestamp)
    created_by: Mapped[str] = mapped_column(Name)

    push_audience: Mapped[AudienceText | None] = relationship(foreign_keys=push_audience_id, lazy="joined")
    tag_audience: Mapped[AudienceText | None] = relationship(foreign_keys=tag_audience_id, lazy="joined")


class Manifest(Base):
    """The record of one version for one architecture: its address, metadata and state."""

    __tablename__ = "manifests"
    __table_args__ = (
        UniqueConstraint("catalog_id", "architecture", "version"),
        # The order of a listing, and what decides on who sees a row, which then is not looked at.
        Index("ix_manifests_order", "catalog_id", "version", "architecture", "audience_id"),
        Index("ix_manifests_push_number", "catalog_id", "architecture", "push_number"),
        # SQLite uses a partial index for conditions that are written in the same way, which is that of SQLAlchemy.
        Index(
            "ix_manifests_tainted",
            "catalog_id",
            "version",
            "architecture",
            sqlite_where=text("tainted = 1"),
            postgresql_where=text("tainted"),
        ),
        Index(
            "ix_manifests_revoked",
            "catalog_id",
            "version",
            "architecture",
            sqlite_where=text("revoked = 1"),
            postgresql_where=text("revoked"),
        ),
        Index(
            "ix_manifests_parent",
            "id",
            sqlite_where=text("parent IS NOT NULL"),
            postgresql_where=text("parent IS NOT NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(LongId, primary_key=True, default=new_long_id)
    catalog_id: Mapped[str] = mapped_column(Name, ForeignKey("catalog_ids.name"))
    version: Mapped[str] = mapped_column(Name)
    architecture: Mapped[str] = mapped_column(String(16))
    type: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(Text, default="")
    release_notes: Mapped[str] = mapped_column(Text, default="")
    labels: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    audience_id: Mapped[int] = mapped_column(ForeignKey("audiences.id"), index=True)
    minimum_cpu: Mapped[int] = mapped_column(default=0)
    minimum_memory_mb: Mapped[int] = mapped_column(BigInteger, default=0)
    minimum_disk_mb: Mapped[int] = mapped_column(BigInteger, default=0)
    # What a host must have: macOS, Parallels Desktop, chip.
    requires: Mapped[dict[str, t.Any]] = mapped_column(JSON, default=dict)
    # The manifest from whose virtual machine the image was made: address and digest.
    parent: Mapped[dict[str, t.Any] | None] = mapped_column(JSON(none_as_null=True))
    # The version to use in its place, and statements about how it was made.
    superseded_by: Mapped[str | None] = mapped_column(Name)
    provenance: Mapped[dict[str, t.Any] | None] = mapped_column(JSON(none_as_null=True))
    # Where its content is described: SEGMENTED or PDPACK.
    format: Mapped[str] = mapped_column(String(16))

    tainted: Mapped[bool] = mapped_column(default=False)
    tainted_by: Mapped[str | None] = mapped_column(Name)
    tainted_at: Mapped[datetime.datetime | None] = mapped_column(Timestamp)
    untainted_by: Mapped[str | None] = mapped_column(Name)
    revoked: Mapped[bool] = mapped_column(default=False)
    revoked_by: Mapped[str | None] = mapped_column(Name)
    revoked_at: Mapped[datetime.datetime | None] = mapped_column(Timestamp)

    download_count: Mapped[int] = mapped_column(BigInteger, default=0)
    last_downloaded_at: Mapped[datetime.datetime | None] = mapped_column(Timestamp)
    last_downloaded_user: Mapped[str | None] = mapped_column(Name)
    created_at: Mapped[datetime.datetime] = mapped_column(Timestamp)
    # The push that its content came with: what the tag "latest" follows.
    push_number: Mapped[int] = mapped_column(BigInteger)
    pushed_at: Mapped[datetime.datetime] = mapped_column(Timestamp)
    updated_at: Mapped[datetime.datetime] = mapped_column(Timestamp)
    created_by: Mapped[str] = mapped_column(Name)

    audience_text: Mapped[AudienceText] = relationship(lazy="joined", innerjoin=True)
    content: Mapped[SegmentedContent | None] = relationship(lazy="joined", back_populates="manifest")
    pdpack: Mapped[PdpackContent | None] = relationship(lazy="raise", viewonly=True)
    tag_rows: Mapped[list[ManifestTag]] = relationship(
        lazy="raise", order_by="ManifestTag.tag", viewonly=True, back_populates="manifest"
    )

    @property
    def audience(self) -> str:
        """The required roles and claims, as ``access.py`` writes them."""
        return self.audience_text.text

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the tags; they must have been loaded."""
        return tuple(row.tag for row in self.tag_rows)

    @property
    def segmented(self) -> SegmentedContent:
        """The content of a manifest whose format is SEGMENTED."""
        if self.content is None:
            raise LookupError(f"the manifest {self.id} has no segmented content")
        return self.content

    @property
    def digest(self) -> str | None:
        """The identity of the content; None where it has none."""
        return self.content.digest if self.content is not None else None


class SegmentedContent(Base):
    """The content of a manifest as a segmented pack: what its index says, and where that lies."""

    __tablename__ = "segmented_contents"

    manifest_id: Mapped[str] = mapped_column(LongId, ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True)
    digest: Mapped[str] = mapped_column(LongId, index=True)
    chunk_size: Mapped[int]
    chunks: Mapped[int] = mapped_column(BigInteger)
    files: Mapped[int] = mapped_column(BigInteger)
    logical_bytes: Mapped[int] = mapped_column(BigInteger)
    data_bytes: Mapped[int] = mapped_column(BigInteger)
    stored_bytes: Mapped[int] = mapped_column(BigInteger)
    # Bytes of listing and locator, as they are stored.
    index_bytes: Mapped[int] = mapped_column(BigInteger)
    # The pack that holds its index, and the last parts of the keys there.
    pack: Mapped[str] = mapped_column(ShortId, ForeignKey("packs.id"), index=True)
    listing_object: Mapped[str] = mapped_column(String(80))
    locator_object: Mapped[str] = mapped_column(String(80))

    manifest: Mapped[Manifest] = relationship(lazy="raise", back_populates="content")
    # Not an inner join, though each has one: inside of the outer join from a manifest, SQLite would read all of them.
    pack_row: Mapped[Pack] = relationship(lazy="joined", viewonly=True)

    @property
    def storage(self) -> str:
        """Name of the storage that holds its index."""
        return self.pack_row.storage


class PdpackContent(Base):
    """The content of a manifest as a stock client pushed it: one archive, and its metadata file."""

    __tablename__ = "pdpack_contents"

    manifest_id: Mapped[str] = mapped_column(LongId, ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True)
    # Null where only the client that pushed it knows the storage.
    pack: Mapped[str | None] = mapped_column(ShortId, ForeignKey("packs.id"), index=True)
    path: Mapped[str] = mapped_column(Text)
    pack_filename: Mapped[str] = mapped_column(String(255))
    metadata_filename: Mapped[str] = mapped_column(String(255))
    checksum: Mapped[str | None] = mapped_column(String(128))
    compressed: Mapped[bool] = mapped_column(default=False)
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    # Everything else of the record that a stock client sent, as it came.
    record: Mapped[dict[str, t.Any]] = mapped_column(JSON, default=dict)


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
