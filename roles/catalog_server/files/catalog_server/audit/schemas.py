# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The audit log as JSON."""

from __future__ import annotations

import typing as t

from pydantic import BaseModel

from catalog_server.catalog.schemas import Timestamp
from catalog_server.models.audit import AuditEntry


class AuditRecord(BaseModel):
    """One change: when, by whom, proved by what, in which request, and of what."""

    id: int
    at: Timestamp
    actor_id: str | None
    actor: str
    credential: str
    request_id: str | None
    action: str
    subject_kind: str
    subject_id: str
    details: dict[str, t.Any]

    @classmethod
    def of(cls, entry: AuditEntry) -> AuditRecord:
        return cls(**{name: getattr(entry, name) for name in cls.model_fields})


class AuditPage(BaseModel):
    """Some entries, the newest first, and where the older ones begin."""

    entries: list[AuditRecord]
    next: str | None
