# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a database holds before anybody uses it: the catalog's own id, the stock roles and claims, the storage."""

from __future__ import annotations

import uuid

from sqlalchemy import select

from catalog_server.access import CLAIMS, ROLES
from catalog_server.database import Lock
from catalog_server.models.catalog import Catalog
from catalog_server.models.identity import Claim, Role
from catalog_server.models.storage import Storage
from catalog_server.storages.embedded import KIND
from catalog_server.unit_of_work import UnitOfWork

# Of two servers that start at once, the second one sees what the first one has added.
SEED_LOCK = Lock("seed")


def seed(work: UnitOfWork) -> None:
    """Add what is missing, holding ``SEED_LOCK``; doing it again changes nothing."""
    session = work.session
    if session.scalar(select(Catalog)) is None:
        session.add(Catalog(uuid=str(uuid.uuid4()), created_at=work.now))
    known = {claim.name: claim for claim in session.scalars(select(Claim))}
    for name in CLAIMS:
        if name not in known:
            known[name] = Claim(name=name, internal=True)
            session.add(known[name])
    roles = set(session.scalars(select(Role.name)))
    for name, claims in ROLES.items():
        # An administrator may have taken claims from a role: only a role that is not there gets them.
        if name not in roles:
            session.add(Role(name=name, internal=True, claims=[known[claim] for claim in claims]))
    if session.get(Storage, work.settings.storage_name) is None:
        session.add(
            Storage(
                name=work.settings.storage_name, kind=KIND, prefix=work.settings.storage_prefix, created_at=work.now
            )
        )
