# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is done behind a transaction, and by the clock: the outbox, and the leases of jobs."""

from __future__ import annotations

import datetime
import typing as t

from sqlalchemy import JSON, BigInteger, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from catalog_server.models.base import Base, Name, ShortId, Timestamp


class OutboxEntry(Base):
    """Something in storage that does not say any more what the database says: it was written with the change."""

    __tablename__ = "outbox"

    # SQLite counts by itself only in a plain INTEGER.
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    # What is to be written: "state", the state.json of a pack.
    kind: Mapped[str] = mapped_column(String(32))
    pack: Mapped[str] = mapped_column(ShortId, index=True)
    created_at: Mapped[datetime.datetime] = mapped_column(Timestamp)
    attempts: Mapped[int] = mapped_column(default=0)
    # Not tried again before.
    due_at: Mapped[datetime.datetime] = mapped_column(Timestamp, index=True)


class Job(Base):
    """A job: who runs it now, when it ran last and how that ended, and where it goes on."""

    __tablename__ = "jobs"

    name: Mapped[str] = mapped_column(Name, primary_key=True)
    # The process that runs it, until when it is believed to.
    owner: Mapped[str | None] = mapped_column(String(100))
    leased_until: Mapped[datetime.datetime | None] = mapped_column(Timestamp)
    # When somebody asked for a run; one that began since has answered it.
    requested_at: Mapped[datetime.datetime | None] = mapped_column(Timestamp)
    started_at: Mapped[datetime.datetime | None] = mapped_column(Timestamp)
    finished_at: Mapped[datetime.datetime | None] = mapped_column(Timestamp)
    # When the last run ended that succeeded
    succeeded_at: Mapped[datetime.datetime | None] = mapped_column(Timestamp)
    # Of the last run that ended: null if it succeeded.
    error: Mapped[str | None] = mapped_column(Text)
    result: Mapped[dict[str, t.Any]] = mapped_column(JSON, default=dict)
    # What a run that was interrupted has done, so that the next one resumes.
    progress: Mapped[dict[str, t.Any]] = mapped_column(JSON, default=dict)
