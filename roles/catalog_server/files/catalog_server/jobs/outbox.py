# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The outbox: ``state.json`` beside the ``manifest.json`` of a pack, written behind every change of what it says.

``manifest.json`` says what was pushed, ``state.json`` what has become of it. Whoever rebuilds a lost database from
storage takes the narrower of the two, and nothing that is marked as deleted.
"""

from __future__ import annotations

import datetime
import json
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import StorageError
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session, selectinload

from catalog_server.catalog.outbox import STATE
from catalog_server.errors import Unavailable
from catalog_server.jobs.runner import Run
from catalog_server.models.catalog import Manifest, SegmentedContent
from catalog_server.models.jobs import OutboxEntry
from catalog_server.models.storage import GONE, Pack
from catalog_server.transfers import packs
from catalog_server.unit_of_work import Services

STATE_FORMAT = 1
_AT_ONCE = 100
_LOOKS = 5
_FIRST_PAUSE_SECONDS = 5
_LONGEST_PAUSE_SECONDS = 3600


def has_work(services: Services) -> bool:
    """Returns True if something is due."""
    with services.database.reading() as session:
        return session.scalar(_due(services).limit(1)) is not None


def work(run: Run) -> None:
    """Write everything that is due. What cannot be written now is tried again later."""
    services = run.services
    while True:
        with services.database.reading() as session:
            pack_ids = session.scalars(_due(services).limit(_AT_ONCE)).all()
        if not pack_ids:
            return
        for pack_id in pack_ids:
            run.add("written" if _written(services, pack_id) else "postponed")
        run.checkpoint()


def _due(services: Services) -> t.Any:
    now = services.clock()
    # One that is due later than any pause was written by a clock that was wrong.
    latest = now + datetime.timedelta(seconds=_LONGEST_PAUSE_SECONDS)
    return (
        select(OutboxEntry.pack)
        .where(OutboxEntry.kind == STATE, (OutboxEntry.due_at <= now) | (OutboxEntry.due_at > latest))
        .group_by(OutboxEntry.pack)
        .order_by(func.min(OutboxEntry.id))
    )


def _written(services: Services, pack_id: str) -> bool:
    with services.database.reading() as session:
        last = session.scalar(select(func.max(OutboxEntry.id)).where(OutboxEntry.pack == pack_id)) or 0
    mine = (OutboxEntry.pack == pack_id) & (OutboxEntry.id <= last)
    try:
        write_state(services, pack_id)
    except (StorageError, Unavailable):
        _postpone(services, pack_id)
        return False
    services.database.write(lambda session: session.execute(delete(OutboxEntry).where(mine)))
    return True


def _postpone(services: Services, pack_id: str) -> None:
    with services.database.reading() as session:
        attempts = session.scalar(select(func.max(OutboxEntry.attempts)).where(OutboxEntry.pack == pack_id)) or 0
    seconds = min(_FIRST_PAUSE_SECONDS * 2 ** min(attempts, 16), _LONGEST_PAUSE_SECONDS)
    due_at = services.clock() + datetime.timedelta(seconds=seconds)
    services.database.write(
        lambda session: session.execute(
            update(OutboxEntry).where(OutboxEntry.pack == pack_id).values(attempts=attempts + 1, due_at=due_at)
        )
    )


@dataclass(frozen=True)
class _State:
    """What is to be written of a pack; no text if the pack is gone."""

    storage: str
    number: int
    text: bytes | None


def write_state(services: Services, pack_id: str) -> None:
    """Write the ``state.json`` of a pack, and look whether it is still right behind that.

    :raises Unavailable: it changes all the time
    """
    found = _state(services, pack_id)
    for _look in range(_LOOKS):
        if found is None:
            return
        objects = packs.pack_of(services, found.storage, pack_id)
        with services.storages.own(found.storage):
            if found.text is None:
                objects.remove([packs.STATE])
            else:
                objects.put(packs.STATE, found.text)
        before, found = found, _state(services, pack_id)
        if found == before:
            return
    raise Unavailable(f"The state of the pack {pack_id} changes all the time.")


def _state(services: Services, pack_id: str) -> _State | None:
    with services.database.reading() as session:
        pack = session.get(Pack, pack_id)
        if pack is None:
            return None
        if pack.state == GONE:
            return _State(pack.storage, pack.state_number, None)
        data = {"state_format": STATE_FORMAT, "sequence": pack.state_number, **_said(session, pack)}
        return _State(pack.storage, pack.state_number, json.dumps(data, indent=1, sort_keys=True).encode())


def _said(session: Session, pack: Pack) -> dict[str, t.Any]:
    statement = select(Manifest).options(selectinload(Manifest.tag_rows)).join(SegmentedContent)
    manifest = session.scalar(statement.where(SegmentedContent.pack == pack.id))
    if manifest is None:
        # It was deleted, or its content is elsewhere since it was replaced.
        gone_at = pack.condemned_at
        return {"deleted_at": gone_at.isoformat() if gone_at is not None else None}
    return {
        "manifest_id": manifest.id,
        "catalog_id": manifest.catalog_id,
        "version": manifest.version,
        "architecture": manifest.architecture,
        "digest": manifest.digest,
        "audience": json.loads(manifest.audience),
        "tags": sorted(manifest.tags),
        "tainted": manifest.tainted,
        "revoked": manifest.revoked,
        "deleted_at": None,
    }
