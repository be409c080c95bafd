# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When each API key was used last, kept behind the requests and to the minute."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import or_, update
from sqlalchemy.orm import Session

from catalog_server.behind import BehindWriter, Seldom
from catalog_server.database import Database
from catalog_server.models.identity import ApiKey

FRESH_SECONDS = 60.0


@dataclass(frozen=True)
class KeyUse:
    """That a request came with the API key of that id."""

    key_id: str
    at: datetime.datetime


class KeyUses:
    """Notes the uses of API keys, of each at most once in ``FRESH_SECONDS``."""

    def __init__(self, database: Database) -> None:
        self._seldom = Seldom(FRESH_SECONDS)
        self.writer = BehindWriter(database, "uses of API keys", write)

    def add(self, key_id: str, at: datetime.datetime) -> None:
        """Note a use; never waits."""
        if self._seldom.lets_through(key_id, at.timestamp()):
            self.writer.add(KeyUse(key_id, at))


def write(session: Session, items: Sequence[KeyUse]) -> None:
    """Write when keys were used last; an earlier time replaces no later one."""
    latest: dict[str, datetime.datetime] = {}
    for use in items:
        latest[use.key_id] = max(use.at, latest.get(use.key_id, use.at))
    # In the order of their ids, as ``downloads.py`` does.
    for key_id in sorted(latest):
        is_later = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < latest[key_id])
        session.execute(
            update(ApiKey)
            .where(ApiKey.id == key_id, is_later)
            .values(last_used_at=latest[key_id])
            .execution_options(synchronize_session=False)
        )
