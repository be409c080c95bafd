# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
SHORT_ID = sa.String(32)
LONG_ID = sa.String(64)
NAME = sa.String(150)


def _primary_key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=f"pk_{table}")


def _refers(table: str, column: str, target: str, ondelete: str | None = None) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], name=f"fk_{table}_{column}", ondelete=ondelete)


def upgrade() -> None:
    _identity()
    _storage()
    _catalog()
    _audit()


def _identity() -> None:
    op.create_table(
        "roles",
        sa.Column("name", NAME, nullable=False),
        sa.Column("description", sa.String(1000), nullable=False),
        sa.Column("internal", sa.Boolean(), nullable=False),
        _primary_key("roles", "name"),
    )
    op.create_table(
        "claims",
        sa.Column("name", NAME, nullable=False),
        sa.Column("description", sa.String(1000), nullable=False),
        sa.Column("internal", sa.Boolean(), nullable=False),
        _primary_key("claims", "name"),
    )
    op.create_table(
        "users",
        sa.Column("id", SHORT_ID, nullable=False),
        sa.Column("username", NAME, nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("password_hash", sa.String(255)),
        sa.Column("password_version", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        _primary_key("users", "id"),
        sa.UniqueConstraint("username", name="uq_users_username"),
        sa.UniqueConstraint("email", name="uq_users_email"),
    )
    _pairs("user_roles", ("user_id", SHORT_ID, "users.id"), ("role", NAME, "roles.name"))
    _pairs("user_claims", ("user_id", SHORT_ID, "users.id"), ("claim", NAME, "claims.name"))
    _pairs("role_claims", ("role", NAME, "roles.name"), ("claim", NAME, "claims.name"))
    op.create_table(
        "api_keys",
        sa.Column("id", SHORT_ID, nullable=False),
        sa.Column("key", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("secret_sha256", sa.String(64), nullable=False),
        sa.Column("user_id", SHORT_ID, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT),
        sa.Column("revoked_at", MOMENT),
        _primary_key("api_keys", "id"),
        sa.UniqueConstraint("key", name="uq_api_keys_key"),
        _refers("api_keys", "user_id", "users.id", ondelete="CASCADE"),
    )
    op.create_index("ix_api_keys_user_id", "api_keys", ["user_id"])
    op.create_table(
        "login_failures",
        sa.Column("subject", sa.String(80), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_at", MOMENT, nullable=False),
        _primary_key("login_failures", "subject"),
    )
    op.create_index("ix_login_failures_last_at", "login_failures", ["last_at"])
    op.create_table(
        "denied_grants",
        sa.Column("jti", sa.String(65), nullable=False),
        sa.Column("denied_at", MOMENT, nullable=False),
        sa.Column("forget_at", MOMENT, nullable=False),
        _primary_key("denied_grants", "jti"),
    )
    op.create_index("ix_denied_grants_forget_at", "denied_grants", ["forget_at"])
    op.create_table(
        "grant_uses",
        sa.Column("jti", sa.String(65), nullable=False),
        sa.Column("manifest_id", LONG_ID, nullable=False),
        sa.Column("forget_at", MOMENT, nullable=False),
        _primary_key("grant_uses", "jti", "manifest_id"),
    )
    op.create_index("ix_grant_uses_forget_at", "grant_uses", ["forget_at"])


def _pairs(table: str, *sides: tuple[str, sa.String, str]) -> None:
    op.create_table(
        table,
        *(sa.Column(column, kind, nullable=False) for column, kind, _target in sides),
        _primary_key(table, *(column for column, _kind, _target in sides)),
        *(_refers(table, column, target, ondelete="CASCADE") for column, _kind, target in sides),
    )


def _storage() -> None:
    op.create_table(
        "storages",
        sa.Column("name", NAME, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        _primary_key("storages", "name"),
    )
    op.create_table(
        "uploads",
        sa.Column("id", SHORT_ID, nullable=False),
        sa.Column("user_id", SHORT_ID),
        sa.Column("catalog_id", NAME, nullable=False),
        sa.Column("version", NAME, nullable=False),
        sa.Column("architecture", sa.String(16), nullable=False),
        sa.Column("chunk_size", sa.Integer(), nullable=False),
        sa.Column("fields", sa.JSON(), nullable=False),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("force", sa.Boolean(), nullable=False),
        sa.Column("expected_digest", LONG_ID),
        sa.Column("storage", NAME, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("closed_at", MOMENT),
        _primary_key("uploads", "id"),
        _refers("uploads", "user_id", "users.id", ondelete="SET NULL"),
        _refers("uploads", "storage", "storages.name"),
    )
    op.create_index("ix_uploads_address", "uploads", ["user_id", "catalog_id", "version", "architecture"])
    op.create_index("ix_uploads_state_expires_at", "uploads", ["state", "expires_at"])
    op.create_table(
        "upload_bases",
        sa.Column("upload_id", SHORT_ID, nullable=False),
        sa.Column("manifest_id", LONG_ID, nullable=False),
        _primary_key("upload_bases", "upload_id", "manifest_id"),
        _refers("upload_bases", "upload_id", "uploads.id", ondelete="CASCADE"),
    )
    op.create_index("ix_upload_bases_manifest_id", "upload_bases", ["manifest_id"])
    op.create_table(
        "segments",
        sa.Column("pack", SHORT_ID, nullable=False),
        sa.Column("sha256", LONG_ID, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("storage", NAME, nullable=False),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("proved", sa.Boolean(), nullable=False),
        sa.Column("condemned_at", MOMENT),
        sa.Column("created_at", MOMENT, nullable=False),
        _primary_key("segments", "pack", "sha256"),
        _refers("segments", "pack", "uploads.id"),
        _refers("segments", "storage", "storages.name"),
    )
    op.create_index("ix_segments_condemned_at", "segments", ["condemned_at"])


def _catalog() -> None:
    op.create_table(
        "catalog",
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        _primary_key("catalog", "uuid"),
    )
    op.create_table(
        "manifests",
        sa.Column("id", LONG_ID, nullable=False),
        sa.Column("catalog_id", NAME, nullable=False),
        sa.Column("version", NAME, nullable=False),
        sa.Column("architecture", sa.String(16), nullable=False),
        sa.Column("type", sa.String(16), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("minimum_cpu", sa.Integer(), nullable=False),
        sa.Column("minimum_memory_mb", sa.BigInteger(), nullable=False),
        sa.Column("minimum_disk_mb", sa.BigInteger(), nullable=False),
        sa.Column("format", sa.String(16), nullable=False),
        sa.Column("digest", LONG_ID, nullable=False),
        sa.Column("chunk_size", sa.Integer(), nullable=False),
        sa.Column("chunks", sa.BigInteger(), nullable=False),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("logical_bytes", sa.BigInteger(), nullable=False),
        sa.Column("data_bytes", sa.BigInteger(), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.Column("storage", NAME, nullable=False),
        sa.Column("pack", SHORT_ID, nullable=False),
        sa.Column("listing_object", sa.String(80), nullable=False),
        sa.Column("locator_object", sa.String(80), nullable=False),
        sa.Column("tainted", sa.Boolean(), nullable=False),
        sa.Column("tainted_by", NAME),
        sa.Column("tainted_at", MOMENT),
        sa.Column("untainted_by", NAME),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.Column("revoked_by", NAME),
        sa.Column("revoked_at", MOMENT),
        sa.Column("download_count", sa.BigInteger(), nullable=False),
        sa.Column("last_downloaded_at", MOMENT),
        sa.Column("last_downloaded_user", NAME),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("pushed_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("created_by", NAME, nullable=False),
        _primary_key("manifests", "id"),
        sa.UniqueConstraint(
            "catalog_id", "architecture", "version", name="uq_manifests_catalog_id_architecture_version"
        ),
        _refers("manifests", "storage", "storages.name"),
        _refers("manifests", "pack", "uploads.id"),
    )
    op.create_index("ix_manifests_audience", "manifests", ["audience"])
    op.create_index("ix_manifests_pack", "manifests", ["pack"])
    op.create_table(
        "manifest_tags",
        sa.Column("catalog_id", NAME, nullable=False),
        sa.Column("architecture", sa.String(16), nullable=False),
        sa.Column("tag", NAME, nullable=False),
        sa.Column("manifest_id", LONG_ID, nullable=False),
        _primary_key("manifest_tags", "catalog_id", "architecture", "tag"),
        _refers("manifest_tags", "manifest_id", "manifests.id", ondelete="CASCADE"),
    )
    op.create_index("ix_manifest_tags_manifest_id", "manifest_tags", ["manifest_id"])
    op.create_table(
        "manifest_segments",
        sa.Column("manifest_id", LONG_ID, nullable=False),
        sa.Column("pack", SHORT_ID, nullable=False),
        sa.Column("sha256", LONG_ID, nullable=False),
        _primary_key("manifest_segments", "manifest_id", "pack", "sha256"),
        _refers("manifest_segments", "manifest_id", "manifests.id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["pack", "sha256"], ["segments.pack", "segments.sha256"], name="fk_manifest_segments_pack_sha256"
        ),
    )
    op.create_index("ix_manifest_segments_segment", "manifest_segments", ["pack", "sha256"])


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("actor_id", SHORT_ID),
        sa.Column("actor", NAME, nullable=False),
        sa.Column("credential", sa.String(16), nullable=False),
        sa.Column("request_id", sa.String(36)),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject_kind", sa.String(32), nullable=False),
        sa.Column("subject_id", sa.String(150), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        _primary_key("audit", "id"),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("ix_audit_subject", "audit", ["subject_kind", "subject_id"])
