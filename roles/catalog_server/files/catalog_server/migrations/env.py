# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs migrations on the connection that ``schema.migrate`` hands over, each in a transaction of its own.

A migration that older releases can work with names the oldest of their revisions as ``compatible_from``. Without it,
they refuse the database.
"""

from __future__ import annotations

import typing as t

from alembic import context
from alembic.migration import MigrationContext, MigrationInfo
from sqlalchemy import delete, insert

from catalog_server.models import Base
from catalog_server.models.catalog import SchemaInfo


def note_compatibility(
    ctx: MigrationContext, step: MigrationInfo, heads: t.Collection[t.Any], run_args: t.Mapping[str, t.Any]
) -> None:
    """Write into the database, in the transaction of the migration, who can work with it from now on."""
    script = context.script.get_revision(step.up_revision_id or "")
    if ctx.connection is None or script is None or not step.is_upgrade:
        return
    oldest = getattr(script.module, "compatible_from", script.revision)
    ctx.connection.execute(delete(SchemaInfo))
    ctx.connection.execute(insert(SchemaInfo).values(compatible_from=oldest))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transaction_per_migration=True,
    render_as_batch=True,
    compare_type=True,
    on_version_apply=note_compatibility,
)
with context.begin_transaction():
    context.run_migrations()
