# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What storage has to learn of a change: written down in the transaction that makes it, so that no crash loses it.

``jobs/outbox.py`` then writes the ``state.json`` of the pack.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select, update

from catalog_server.models.catalog import SegmentedContent
from catalog_server.models.jobs import OutboxEntry
from catalog_server.models.storage import Pack
from catalog_server.unit_of_work import UnitOfWork

STATE = "state"
_NOTED = "outbox"


def manifests_changed(work: UnitOfWork, *manifest_ids: str) -> None:
    """Note that audience, tags, taint or revocation of these manifests have changed."""
    statement = select(SegmentedContent.pack).where(SegmentedContent.manifest_id.in_(manifest_ids))
    packs_changed(work, work.session.scalars(statement).all())


def packs_changed(work: UnitOfWork, packs: Iterable[str]) -> None:
    """Note that these packs have got a manifest, have lost theirs, or that it has changed."""
    # Once in each transaction is enough.
    noted: set[str] = work.session.info.setdefault(_NOTED, set())
    for pack in sorted(set(packs) - noted):
        noted.add(pack)
        work.session.execute(
            update(Pack)
            .where(Pack.id == pack)
            .values(state_number=Pack.state_number + 1)
            .execution_options(synchronize_session=False)
        )
        work.session.add(OutboxEntry(kind=STATE, pack=pack, created_at=work.now, due_at=work.now))
