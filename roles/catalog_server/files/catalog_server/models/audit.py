# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What changed, when, and who did it."""

from __future__ import annotations

import datetime
import typing as t

from sqlalchemy import JSON, BigInteger, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from catalog_server.models.base import Base, Name, ShortId, Timestamp


class AuditEntry(Base):
    """One change. It outlives whoever made it and what it was made on, so it refers to nothing."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_subject", "subject_kind", "subject_id"),)

    # SQLite counts by itself only in a plain INTEGER.
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    at: Mapped[datetime.datetime] = mapped_column(Timestamp, index=True)
    # Null for the command line of the server.
    actor_id: Mapped[str | None] = mapped_column(ShortId)
    actor: Mapped[str] = mapped_column(Name)
    # How the actor proved who it is: token, api_key, grant, login, command
    credential: Mapped[str] = mapped_column(String(16))
    request_id: Mapped[str | None] = mapped_column(String(36))
    action: Mapped[str] = mapped_column(String(64))
    subject_kind: Mapped[str] = mapped_column(String(32))
    subject_id: Mapped[str] = mapped_column(String(150))
    details: Mapped[dict[str, t.Any]] = mapped_column(JSON)
