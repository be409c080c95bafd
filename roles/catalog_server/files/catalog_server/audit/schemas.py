# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The audit log as JSON."""

from __future__ import annotations

import typing as t

from catalog_server.bodies import ResponseBody
from catalog_server.catalog.schemas import Timestamp
from catalog_server.models.audit import AuditEntry


class AuditRecord(ResponseBody):
    """One change: when, by whom, and of what. It never holds a secret."""

    id: int
    """Number of the entry; later entries have higher ones."""
    at: Timestamp
    """When the change was made."""
    actor_id: str | None
    """Id of the user who made it; null if that was the administrator at the command line, or nobody known."""
    actor: str
    """User name of whoever made it, `catalog-server` for the command line, and empty if it is not known."""
    credential: str
    """How the actor proved who it is: `token`, `api_key`, `grant`, `command`, or `login` for an attempt to log in."""
    request_id: str | None
    """The `X-Request-Id` of the request; null if there was none."""
    action: str
    """What was done, as a word such as `manifest.taint`."""
    subject_kind: str
    """Kind of what was changed, such as `manifest` or `user`."""
    subject_id: str
    """Id of what was changed."""
    details: dict[str, t.Any]
    """What else is known of the change, such as the values before and after it."""

    @classmethod
    def of(cls, entry: AuditEntry) -> AuditRecord:
        return cls(**{name: getattr(entry, name) for name in cls.model_fields})


class AuditPage(ResponseBody):
    """Some entries of the audit log, and where the older ones begin."""

    entries: list[AuditRecord]
    """The entries of this page, the newest first."""
    next: str | None
    """Cursor of the next page; null on the last one."""
