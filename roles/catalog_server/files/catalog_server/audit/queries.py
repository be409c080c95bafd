# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every select on the audit log."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog_server.models.audit import AuditEntry


@dataclass(frozen=True)
class Filters:
    """What entries are narrowed to; None lets everything pass."""

    actor: str | None = None
    subject_kind: str | None = None
    subject_id: str | None = None
    action: str | None = None
    since: datetime.datetime | None = None


def page(session: Session, filters: Filters, before: int | None, limit: int) -> Sequence[AuditEntry]:
    """The newest ``limit`` entries from before the one with the number ``before``, the newest first."""
    statement = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    for name in ("actor", "subject_kind", "subject_id", "action"):
        value = getattr(filters, name)
        if value is not None:
            statement = statement.where(getattr(AuditEntry, name) == value)
    if filters.since is not None:
        statement = statement.where(AuditEntry.at >= filters.since)
    if before is not None:
        statement = statement.where(AuditEntry.id < before)
    return session.scalars(statement).all()
