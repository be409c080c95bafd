# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much the versions of a catalog id may take in storage."""

from __future__ import annotations

from dataclasses import dataclass

from catalog_server.catalog import queries as catalog_queries
from catalog_server.errors import QuotaExceeded
from catalog_server.transfers import queries
from catalog_server.unit_of_work import UnitOfWork

_WHAT_TO_DO = "delete versions that nobody needs, or have the quota raised."


@dataclass(frozen=True)
class Quota:
    """The most bytes that the versions of a catalog id may take, and what they take now."""

    catalog_id: str
    limit: int
    used: int


def quota_of(work: UnitOfWork, catalog_id: str) -> Quota | None:
    """Returns the quota of a catalog id, or None if it has none."""
    row = catalog_queries.catalog_id(work.session, catalog_id)
    if row is None or row.quota_bytes is None:
        return None
    return Quota(catalog_id, row.quota_bytes, queries.bytes_of(work.session, catalog_id))


def require_room(work: UnitOfWork, catalog_id: str) -> None:
    """Check at the begin of a push that something is left for it.

    :raises QuotaExceeded: nothing is
    """
    quota = quota_of(work, catalog_id)
    if quota is not None and quota.used >= quota.limit:
        raise QuotaExceeded(
            f"The versions of the catalog id {catalog_id!r} take {quota.used} bytes in storage, and its quota is "
            f"{quota.limit}, so nothing more can be pushed: {_WHAT_TO_DO}"
        )


def require_kept(work: UnitOfWork, before: Quota | None) -> None:
    """Check in the transaction of a commit that the new version, which is written, does not take too much.

    The lock of the catalog id is held since ``before`` was read, so no other commit has taken anything meanwhile.

    :raises QuotaExceeded: it does
    """
    if before is None:
        return
    used = queries.bytes_of(work.session, before.catalog_id)
    if used > before.limit:
        raise QuotaExceeded(
            f"The versions of the catalog id {before.catalog_id!r} take {before.used} bytes in storage, this one would "
            f"add {max(0, used - before.used)}, and its quota is {before.limit}: {_WHAT_TO_DO}"
        )
