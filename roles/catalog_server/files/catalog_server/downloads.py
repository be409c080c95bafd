# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The count of downloads, kept behind the requests: a thousand hosts that begin at once are few transactions."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import update
from sqlalchemy.orm import Session

from catalog_server.audit import notes
from catalog_server.audit.notes import Note
from catalog_server.database import upsert
from catalog_server.models.catalog import Manifest
from catalog_server.models.identity import GrantUse


@dataclass(frozen=True)
class Download:
    """The first use of a grant for a manifest; ``forget_at`` is when the grant cannot be used any more.

    ``note`` is what the audit log says of it, if it was the first use indeed.
    """

    jti: str
    manifest_id: str
    username: str
    at: datetime.datetime
    forget_at: datetime.datetime
    note: Note


def count(session: Session, items: Sequence[Download]) -> None:
    """Count downloads, once for each grant and manifest.

    Old uses are left to the housekeeping, which looks at first whether the clock can be right.
    """
    first_uses = _note_uses(session, items)
    notes.write(session, [one.note for one in first_uses])
    counts: dict[str, tuple[int, Download]] = {}
    for one in first_uses:
        counts[one.manifest_id] = (counts.get(one.manifest_id, (0, one))[0] + 1, one)
    # In the order of their ids: of two processes that count at once, none waits for the other's row.
    for manifest_id in sorted(counts):
        number, last = counts[manifest_id]
        session.execute(
            update(Manifest)
            .where(Manifest.id == manifest_id)
            .values(
                download_count=Manifest.download_count + number,
                last_downloaded_at=last.at,
                last_downloaded_user=last.username,
            )
        )


def _note_uses(session: Session, items: Sequence[Download]) -> list[Download]:
    """Remember the uses of grants; return those that were the first, for each grant and manifest."""
    first = {(one.jti, one.manifest_id): one for one in reversed(items)}
    rows = [
        {"jti": one.jti, "manifest_id": one.manifest_id, "used_at": one.at, "forget_at": one.forget_at}
        for one in first.values()
    ]
    statement = (
        upsert(session, GrantUse)
        .on_conflict_do_nothing(index_elements=[GrantUse.jti, GrantUse.manifest_id])
        .returning(GrantUse.jti, GrantUse.manifest_id)
    )
    return [first[jti, manifest_id] for jti, manifest_id in session.connection().execute(statement, rows)]
