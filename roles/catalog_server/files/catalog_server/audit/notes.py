# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Entries of the audit log as values, and those that are written behind the requests.

What is changed is recorded in the transaction that changes it. What changes nothing, such as a grant that is minted or
a login that is refused, is written a moment later: no request waits for it.
"""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import insert
from sqlalchemy.orm import Session

from catalog_server.models.audit import AuditEntry


@dataclass(frozen=True)
class Note:
    """What one entry says; see ``models/audit.py``."""

    at: datetime.datetime
    actor_id: str | None
    actor: str
    credential: str
    request_id: str | None
    action: str
    subject_kind: str
    subject_id: str
    details: t.Mapping[str, t.Any]

    def entry(self) -> AuditEntry:
        """Return it as a new row."""
        return AuditEntry(**vars(self))


def write(session: Session, items: Sequence[Note]) -> None:
    """Add entries to the audit log, in their order."""
    if items:
        session.connection().execute(insert(AuditEntry), [vars(note) for note in items])
