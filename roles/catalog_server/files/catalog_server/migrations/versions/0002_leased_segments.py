# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a base used before it was replaced, for the open uploads that refer to it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SHORT_ID = sa.String(32)
LONG_ID = sa.String(64)


def upgrade() -> None:
    op.create_table(
        "leased_segments",
        sa.Column("upload_id", SHORT_ID, nullable=False),
        sa.Column("manifest_id", LONG_ID, nullable=False),
        sa.Column("pack", SHORT_ID, nullable=False),
        sa.Column("sha256", LONG_ID, nullable=False),
        sa.PrimaryKeyConstraint("upload_id", "manifest_id", "pack", "sha256", name="pk_leased_segments"),
        sa.ForeignKeyConstraint(["upload_id"], ["uploads.id"], name="fk_leased_segments_upload_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["pack", "sha256"], ["segments.pack", "segments.sha256"], name="fk_leased_segments_pack_sha256"
        ),
    )
    op.create_index("ix_leased_segments_segment", "leased_segments", ["pack", "sha256"])
