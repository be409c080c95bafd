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

TIMESTAMP = sa.DateTime(timezone=True)
SHORT_ID = sa.String(32)
LONG_ID = sa.String(64)
NAME = sa.String(150)
# SQLite counts by itself only in a plain INTEGER.
COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "audiences",
        sa.Column("id", COUNTER, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audiences")),
        sa.UniqueConstraint("text", name=op.f("uq_audiences_text")),
    )
    op.create_table(
        "audit",
        sa.Column("id", COUNTER, nullable=False),
        sa.Column("at", TIMESTAMP, nullable=False),
        sa.Column("actor_id", SHORT_ID, nullable=True),
        sa.Column("actor", NAME, nullable=False),
        sa.Column("credential", sa.String(length=16), nullable=False),
        sa.Column("request_id", sa.String(length=36), nullable=True),
        sa.Column("action", LONG_ID, nullable=False),
        sa.Column("subject_kind", SHORT_ID, nullable=False),
        sa.Column("subject_id", NAME, nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_at"), "audit", ["at"], unique=False)
    op.create_index("ix_audit_subject", "audit", ["subject_kind", "subject_id"], unique=False)
    op.create_table(
        "catalog",
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("gc_enabled", sa.Boolean(), nullable=False),
        sa.Column("clock_noted_at", TIMESTAMP, nullable=True),
        sa.Column("signing_key", SHORT_ID, nullable=True),
        sa.Column("created_at", TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_catalog")),
    )
    op.create_table(
        "claims",
        sa.Column("name", NAME, nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=False),
        sa.Column("internal", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_claims")),
    )
    op.create_table(
        "denied_grants",
        sa.Column("jti", sa.String(length=65), nullable=False),
        sa.Column("denied_at", TIMESTAMP, nullable=False),
        sa.Column("forget_at", TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint("jti", name=op.f("pk_denied_grants")),
    )
    op.create_index(op.f("ix_denied_grants_forget_at"), "denied_grants", ["forget_at"], unique=False)
    op.create_table(
        "grant_uses",
        sa.Column("jti", sa.String(length=65), nullable=False),
        sa.Column("manifest_id", LONG_ID, nullable=False),
        sa.Column("used_at", TIMESTAMP, nullable=False),
        sa.Column("forget_at", TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint("jti", "manifest_id", name=op.f("pk_grant_uses")),
    )
    op.create_index(op.f("ix_grant_uses_forget_at"), "grant_uses", ["forget_at"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("name", NAME, nullable=False),
        sa.Column("owner", sa.String(length=100), nullable=True),
        sa.Column("leased_until", TIMESTAMP, nullable=True),
        sa.Column("requested_at", TIMESTAMP, nullable=True),
        sa.Column("started_at", TIMESTAMP, nullable=True),
        sa.Column("finished_at", TIMESTAMP, nullable=True),
        sa.Column("succeeded_at", TIMESTAMP, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_jobs")),
    )
    op.create_table(
        "login_failures",
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_at", TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_login_failures")),
    )
    op.create_index(op.f("ix_login_failures_last_at"), "login_failures", ["last_at"], unique=False)
    op.create_table(
        "login_origins",
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("last_at", TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_login_origins")),
    )
    op.create_index(op.f("ix_login_origins_last_at"), "login_origins", ["last_at"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("id", COUNTER, nullable=False),
        sa.Column("kind", SHORT_ID, nullable=False),
        sa.Column("pack", SHORT_ID, nullable=False),
        sa.Column("created_at", TIMESTAMP, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_index(op.f("ix_outbox_due_at"), "outbox", ["due_at"], unique=False)
    op.create_index(op.f("ix_outbox_pack"), "outbox", ["pack"], unique=False)
    op.create_table(
        "roles",
        sa.Column("name", NAME, nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=False),
        sa.Column("internal", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_roles")),
    )
    op.create_table(
        "schema_info",
        sa.Column("compatible_from", SHORT_ID, nullable=False),
        sa.PrimaryKeyConstraint("compatible_from", name=op.f("pk_schema_info")),
    )
    op.create_table(
        "storages",
        sa.Column("name", NAME, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("prefix", sa.String(length=255), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", TIMESTAMP, nullable=False),
        sa.Column("marked_at", TIMESTAMP, nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_storages")),
    )
    op.create_table(
        "users",
        sa.Column("id", SHORT_ID, nullable=False),
        sa.Column("username", NAME, nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("password_hash", sa.String(length=255), nullable=True),
        sa.Column("password_version", sa.Integer(), nullable=False),
        sa.Column("password_ceiling", sa.JSON(), nullable=True),
        sa.Column("session_number", sa.Integer(), nullable=False),
        sa.Column("grant_number", sa.Integer(), nullable=False),
        sa.Column("sessions_valid_after", TIMESTAMP, nullable=True),
        sa.Column("grants_valid_after", TIMESTAMP, nullable=True),
        sa.Column("disabled_at", TIMESTAMP, nullable=True),
        sa.Column("created_at", TIMESTAMP, nullable=False),
        sa.Column("updated_at", TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
        sa.UniqueConstraint("username", name=op.f("uq_users_username")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", SHORT_ID, nullable=False),
        sa.Column("key", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("secret_sha256", LONG_ID, nullable=False),
        sa.Column("user_id", SHORT_ID, nullable=False),
        sa.Column("created_at", TIMESTAMP, nullable=False),
        sa.Column("ceiling", sa.JSON(), nullable=True),
        sa.Column("expires_at", TIMESTAMP, nullable=True),
        sa.Column("last_used_at", TIMESTAMP, nullable=True),
        sa.Column("revoked_at", TIMESTAMP, nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_api_keys_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("key", name=op.f("uq_api_keys_key")),
    )
    op.create_index(op.f("ix_api_keys_user_id"), "api_keys", ["user_id"], unique=False)
    op.create_table(
        "catalog_ids",
        sa.Column("name", NAME, nullable=False),
        sa.Column("push_audience_id", COUNTER, nullable=True),
        sa.Column("tag_audience_id", COUNTER, nullable=True),
        sa.Column("native_only", sa.Boolean(), nullable=False),
        sa.Column("immutable_tags", sa.Boolean(), nullable=False),
        sa.Column("retention", sa.JSON(), nullable=True),
        sa.Column("retention_set_at", TIMESTAMP, nullable=True),
        sa.Column("quota_bytes", sa.BigInteger(), nullable=True),
        sa.Column("last_push_number", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIMESTAMP, nullable=False),
        sa.Column("created_by", NAME, nullable=False),
        sa.ForeignKeyConstraint(["push_audience_id"], ["audiences.id"], name=op.f("fk_catalog_ids_push_audience_id")),
        sa.ForeignKeyConstraint(["tag_audience_id"], ["audiences.id"], name=op.f("fk_catalog_ids_tag_audience_id")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_catalog_ids")),
    )
    op.create_index(op.f("ix_catalog_ids_push_audience_id"), "catalog_ids", ["push_audience_id"], unique=False)
    op.create_table(
        "packs",
        sa.Column("id", SHORT_ID, nullable=False),
        sa.Column("storage", NAME, nullable=False),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("user_id", SHORT_ID, nullable=True),
        sa.Column("created_at", TIMESTAMP, nullable=False),
        sa.Column("condemned_at", TIMESTAMP, nullable=True),
        sa.Column("tidy_after", TIMESTAMP, nullable=True),
        sa.Column("state_number", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["storage"], ["storages.name"], name=op.f("fk_packs_storage")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_packs_user_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_packs")),
    )
    op.create_index("ix_packs_state", "packs", ["state", "condemned_at"], unique=False)
    op.create_index("ix_packs_storage", "packs", ["storage"], unique=False)
    op.create_index(op.f("ix_packs_tidy_after"), "packs", ["tidy_after"], unique=False)
    op.create_table(
        "role_claims",
        sa.Column("role", NAME, nullable=False),
        sa.Column("claim", NAME, nullable=False),
        sa.ForeignKeyConstraint(["claim"], ["claims.name"], name=op.f("fk_role_claims_claim"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["role"], ["roles.name"], name=op.f("fk_role_claims_role"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("role", "claim", name=op.f("pk_role_claims")),
    )
    op.create_table(
        "user_claims",
        sa.Column("user_id", SHORT_ID, nullable=False),
        sa.Column("claim", NAME, nullable=False),
        sa.ForeignKeyConstraint(["claim"], ["claims.name"], name=op.f("fk_user_claims_claim"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_user_claims_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "claim", name=op.f("pk_user_claims")),
    )
    op.create_table(
        "user_roles",
        sa.Column("user_id", SHORT_ID, nullable=False),
        sa.Column("role", NAME, nullable=False),
        sa.ForeignKeyConstraint(["role"], ["roles.name"], name=op.f("fk_user_roles_role"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_user_roles_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "role", name=op.f("pk_user_roles")),
    )
    op.create_table(
        "manifests",
        sa.Column("id", LONG_ID, nullable=False),
        sa.Column("catalog_id", NAME, nullable=False),
        sa.Column("version", NAME, nullable=False),
        sa.Column("architecture", sa.String(length=16), nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("release_notes", sa.Text(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("audience_id", COUNTER, nullable=False),
        sa.Column("minimum_cpu", sa.Integer(), nullable=False),
        sa.Column("minimum_memory_mb", sa.BigInteger(), nullable=False),
        sa.Column("minimum_disk_mb", sa.BigInteger(), nullable=False),
        sa.Column("requires", sa.JSON(), nullable=False),
        sa.Column("parent", sa.JSON(), nullable=True),
        sa.Column("superseded_by", NAME, nullable=True),
        sa.Column("provenance", sa.JSON(), nullable=True),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("tainted", sa.Boolean(), nullable=False),
        sa.Column("tainted_by", NAME, nullable=True),
        sa.Column("tainted_at", TIMESTAMP, nullable=True),
        sa.Column("untainted_by", NAME, nullable=True),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.Column("revoked_by", NAME, nullable=True),
        sa.Column("revoked_at", TIMESTAMP, nullable=True),
        sa.Column("download_count", sa.BigInteger(), nullable=False),
        sa.Column("last_downloaded_at", TIMESTAMP, nullable=True),
        sa.Column("last_downloaded_user", NAME, nullable=True),
        sa.Column("created_at", TIMESTAMP, nullable=False),
        sa.Column("push_number", sa.BigInteger(), nullable=False),
        sa.Column("pushed_at", TIMESTAMP, nullable=False),
        sa.Column("updated_at", TIMESTAMP, nullable=False),
        sa.Column("created_by", NAME, nullable=False),
        sa.ForeignKeyConstraint(["audience_id"], ["audiences.id"], name=op.f("fk_manifests_audience_id")),
        sa.ForeignKeyConstraint(["catalog_id"], ["catalog_ids.name"], name=op.f("fk_manifests_catalog_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_manifests")),
        sa.UniqueConstraint(
            "catalog_id", "architecture", "version", name=op.f("uq_manifests_catalog_id_architecture_version")
        ),
    )
    op.create_index(op.f("ix_manifests_audience_id"), "manifests", ["audience_id"], unique=False)
    op.create_index(
        "ix_manifests_order", "manifests", ["catalog_id", "version", "architecture", "audience_id"], unique=False
    )
    op.create_index(
        "ix_manifests_push_number", "manifests", ["catalog_id", "architecture", "push_number"], unique=False
    )
    op.create_index(
        "ix_manifests_parent",
        "manifests",
        ["id"],
        unique=False,
        sqlite_where=sa.text("parent IS NOT NULL"),
        postgresql_where=sa.text("parent IS NOT NULL"),
    )
    op.create_index(
        "ix_manifests_revoked",
        "manifests",
        ["catalog_id", "version", "architecture"],
        unique=False,
        sqlite_where=sa.text("revoked = 1"),
        postgresql_where=sa.text("revoked"),
    )
    op.create_index(
        "ix_manifests_tainted",
        "manifests",
        ["catalog_id", "version", "architecture"],
        unique=False,
        sqlite_where=sa.text("tainted = 1"),
        postgresql_where=sa.text("tainted"),
    )
    op.create_table(
        "segments",
        sa.Column("pack", SHORT_ID, nullable=False),
        sa.Column("sha256", LONG_ID, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("audience_id", COUNTER, nullable=False),
        sa.Column("proved", sa.Boolean(), nullable=False),
        sa.Column("condemned_at", TIMESTAMP, nullable=True),
        sa.Column("created_at", TIMESTAMP, nullable=False),
        sa.ForeignKeyConstraint(["audience_id"], ["audiences.id"], name=op.f("fk_segments_audience_id")),
        sa.ForeignKeyConstraint(["pack"], ["packs.id"], name=op.f("fk_segments_pack")),
        sa.PrimaryKeyConstraint("pack", "sha256", name=op.f("pk_segments")),
    )
    op.create_index(op.f("ix_segments_condemned_at"), "segments", ["condemned_at"], unique=False)
    op.create_table(
        "uploads",
        sa.Column("id", SHORT_ID, nullable=False),
        sa.Column("user_id", SHORT_ID, nullable=True),
        sa.Column("catalog_id", NAME, nullable=False),
        sa.Column("version", NAME, nullable=False),
        sa.Column("architecture", sa.String(length=16), nullable=False),
        sa.Column("chunk_size", sa.Integer(), nullable=False),
        sa.Column("fields", sa.JSON(), nullable=False),
        sa.Column("audience_id", COUNTER, nullable=False),
        sa.Column("force", sa.Boolean(), nullable=False),
        sa.Column("expected_digest", LONG_ID, nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", TIMESTAMP, nullable=False),
        sa.Column("expires_at", TIMESTAMP, nullable=False),
        sa.Column("closed_at", TIMESTAMP, nullable=True),
        sa.ForeignKeyConstraint(["audience_id"], ["audiences.id"], name=op.f("fk_uploads_audience_id")),
        sa.ForeignKeyConstraint(["id"], ["packs.id"], name=op.f("fk_uploads_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_uploads_user_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    op.create_index("ix_uploads_state_expires_at", "uploads", ["state", "expires_at"], unique=False)
    op.create_index(
        "uq_uploads_open",
        "uploads",
        ["user_id", "catalog_id", "version", "architecture"],
        unique=True,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "leased_segments",
        sa.Column("upload_id", SHORT_ID, nullable=False),
        sa.Column("manifest_id", LONG_ID, nullable=False),
        sa.Column("pack", SHORT_ID, nullable=False),
        sa.Column("sha256", LONG_ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["pack", "sha256"], ["segments.pack", "segments.sha256"], name=op.f("fk_leased_segments_pack_sha256")
        ),
        sa.ForeignKeyConstraint(
            ["upload_id"], ["uploads.id"], name=op.f("fk_leased_segments_upload_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("upload_id", "manifest_id", "pack", "sha256", name=op.f("pk_leased_segments")),
    )
    op.create_index("ix_leased_segments_segment", "leased_segments", ["pack", "sha256"], unique=False)
    op.create_table(
        "deltas",
        sa.Column("pack", SHORT_ID, nullable=False),
        sa.Column("sha256", LONG_ID, nullable=False),
        sa.Column("manifest_id", LONG_ID, nullable=False),
        sa.Column("base_manifest_id", LONG_ID, nullable=False),
        sa.Column("base_digest", LONG_ID, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("patch_bytes", sa.BigInteger(), nullable=False),
        sa.Column("chunk_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["manifests.id"], name=op.f("fk_deltas_manifest_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["pack"], ["packs.id"], name=op.f("fk_deltas_pack")),
        sa.PrimaryKeyConstraint("pack", "sha256", name=op.f("pk_deltas")),
    )
    op.create_index(op.f("ix_deltas_base_manifest_id"), "deltas", ["base_manifest_id"], unique=False)
    op.create_index(op.f("ix_deltas_manifest_id"), "deltas", ["manifest_id"], unique=False)
    op.create_table(
        "manifest_segments",
        sa.Column("manifest_id", LONG_ID, nullable=False),
        sa.Column("pack", SHORT_ID, nullable=False),
        sa.Column("sha256", LONG_ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["manifests.id"], name=op.f("fk_manifest_segments_manifest_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["pack", "sha256"], ["segments.pack", "segments.sha256"], name=op.f("fk_manifest_segments_pack_sha256")
        ),
        sa.PrimaryKeyConstraint("manifest_id", "pack", "sha256", name=op.f("pk_manifest_segments")),
    )
    op.create_index("ix_manifest_segments_segment", "manifest_segments", ["pack", "sha256"], unique=False)
    op.create_table(
        "manifest_tags",
        sa.Column("catalog_id", NAME, nullable=False),
        sa.Column("architecture", sa.String(length=16), nullable=False),
        sa.Column("tag", NAME, nullable=False),
        sa.Column("manifest_id", LONG_ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["manifests.id"], name=op.f("fk_manifest_tags_manifest_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("catalog_id", "architecture", "tag", name=op.f("pk_manifest_tags")),
    )
    op.create_index(op.f("ix_manifest_tags_manifest_id"), "manifest_tags", ["manifest_id"], unique=False)
    op.create_table(
        "pdpack_contents",
        sa.Column("manifest_id", LONG_ID, nullable=False),
        sa.Column("pack", SHORT_ID, nullable=True),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("pack_filename", sa.String(length=255), nullable=False),
        sa.Column("metadata_filename", sa.String(length=255), nullable=False),
        sa.Column("checksum", sa.String(length=128), nullable=True),
        sa.Column("compressed", sa.Boolean(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("record", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["manifests.id"], name=op.f("fk_pdpack_contents_manifest_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["pack"], ["packs.id"], name=op.f("fk_pdpack_contents_pack")),
        sa.PrimaryKeyConstraint("manifest_id", name=op.f("pk_pdpack_contents")),
    )
    op.create_index(op.f("ix_pdpack_contents_pack"), "pdpack_contents", ["pack"], unique=False)
    op.create_table(
        "segmented_contents",
        sa.Column("manifest_id", LONG_ID, nullable=False),
        sa.Column("digest", LONG_ID, nullable=False),
        sa.Column("chunk_size", sa.Integer(), nullable=False),
        sa.Column("chunks", sa.BigInteger(), nullable=False),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("logical_bytes", sa.BigInteger(), nullable=False),
        sa.Column("data_bytes", sa.BigInteger(), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.Column("index_bytes", sa.BigInteger(), nullable=False),
        sa.Column("pack", SHORT_ID, nullable=False),
        sa.Column("listing_object", sa.String(length=80), nullable=False),
        sa.Column("locator_object", sa.String(length=80), nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["manifests.id"], name=op.f("fk_segmented_contents_manifest_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["pack"], ["packs.id"], name=op.f("fk_segmented_contents_pack")),
        sa.PrimaryKeyConstraint("manifest_id", name=op.f("pk_segmented_contents")),
    )
    op.create_index(op.f("ix_segmented_contents_digest"), "segmented_contents", ["digest"], unique=False)
    op.create_index(op.f("ix_segmented_contents_pack"), "segmented_contents", ["pack"], unique=False)
    op.create_table(
        "upload_bases",
        sa.Column("upload_id", SHORT_ID, nullable=False),
        sa.Column("manifest_id", LONG_ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["upload_id"], ["uploads.id"], name=op.f("fk_upload_bases_upload_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("upload_id", "manifest_id", name=op.f("pk_upload_bases")),
    )
    op.create_index(op.f("ix_upload_bases_manifest_id"), "upload_bases", ["manifest_id"], unique=False)
    op.create_table(
        "patch_objects",
        sa.Column("pack", SHORT_ID, nullable=False),
        sa.Column("delta", LONG_ID, nullable=False),
        sa.Column("sha256", LONG_ID, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["pack", "delta"],
            ["deltas.pack", "deltas.sha256"],
            name=op.f("fk_patch_objects_pack_delta"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("pack", "delta", "sha256", name=op.f("pk_patch_objects")),
    )
