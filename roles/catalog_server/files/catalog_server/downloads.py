# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The count of downloads, kept behind the requests: a thousand hosts that begin at once are few transactions.

A process that is killed may forget the downloads of its last moment. Nothing rests on the count.
"""

from __future__ import annotations

import datetime
import functools
import logging
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from catalog_server.database import Database, upsert
from catalog_server.models.catalog import Manifest
from catalog_server.models.identity import GrantUse

_MOST_WAITING = 10_000
_MOST_AT_ONCE = 500
_GATHER_SECONDS = 0.1

_log = logging.getLogger("catalog_server.downloads")


@dataclass(frozen=True)
class Download:
    """The first use of a grant for a manifest; ``forget_at`` is when the grant cannot be used any more."""

    jti: str
    manifest_id: str
    username: str
    at: datetime.datetime
    forget_at: datetime.datetime


class DownloadCounter:
    """Counts downloads in a thread of its own, between ``start`` and ``close``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: queue.Queue[Download | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="downloads", daemon=True)

    def start(self) -> None:
        """Begin to count what is added."""
        self._thread.start()

    def add(self, download: Download) -> None:
        """Count a download soon, once for each grant and manifest; never waits."""
        try:
            self._waiting.put_nowait(download)
        except queue.Full:
            _log.warning("a download is not counted", extra={"manifest": download.manifest_id})

    def close(self) -> None:
        """Count what was added, and end."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()

    def _run(self) -> None:
        is_over = False
        while not is_over:
            found = [self._waiting.get()]
            threading.Event().wait(_GATHER_SECONDS if found[0] is not None else 0)
            while len(found) < _MOST_AT_ONCE and not self._waiting.empty():
                found.append(self._waiting.get_nowait())
            is_over = None in found
            downloads = [one for one in found if one is not None]
            try:
                if downloads:
                    self._database.write(functools.partial(_count, downloads=downloads))
            except Exception:
                # Whatever it was, the next ones are counted again.
                _log.warning("downloads are not counted", exc_info=True, extra={"downloads": len(downloads)})


def _count(session: Session, downloads: Sequence[Download]) -> None:
    session.execute(delete(GrantUse).where(GrantUse.forget_at < downloads[-1].at))
    counts: dict[str, tuple[int, Download]] = {}
    for one in downloads:
        statement = (
            upsert(session, GrantUse)
            .values(jti=one.jti, manifest_id=one.manifest_id, used_at=one.at, forget_at=one.forget_at)
            .on_conflict_do_nothing(index_elements=[GrantUse.jti, GrantUse.manifest_id])
            .returning(GrantUse.jti)
        )
        if session.scalar(statement) is not None:
            counts[one.manifest_id] = (counts.get(one.manifest_id, (0, one))[0] + 1, one)
    # In the order of their ids: of two processes that count at once, none waits for the other's row.
    for manifest_id in sorted(counts):
        count, last = counts[manifest_id]
        session.execute(
            update(Manifest)
            .where(Manifest.id == manifest_id)
            .values(
                download_count=Manifest.download_count + count,
                last_downloaded_at=last.at,
                last_downloaded_user=last.username,
            )
        )
