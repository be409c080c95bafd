# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""If the clock of this machine can be right.

A clock that jumps by a year makes everything old at once. So the database knows the latest time that was plausible, and
what deletes by the clock asks here first. Other times in the database, such as those of the audit log, prove nothing:
a wrong clock may have written them.
"""

from __future__ import annotations

import datetime

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from catalog_server.errors import ImplausibleClock
from catalog_server.models.catalog import Catalog
from catalog_server.unit_of_work import Services, UnitOfWork

# A server that was off for longer than this has to be told that its clock is right.
MOST_AHEAD = datetime.timedelta(days=7)
# The clocks of replicas differ. It is less than signed URLs live: what was let go is not collected before they end.
MOST_BEHIND = datetime.timedelta(minutes=5)
_NOTED_EVERY = datetime.timedelta(minutes=10)


def problem(noted_at: datetime.datetime | None, now: datetime.datetime) -> str | None:
    """Returns why the clock cannot be right, None if it can be."""
    if noted_at is None or noted_at - MOST_BEHIND <= now <= noted_at + MOST_AHEAD:
        return None
    return (
        f"The clock says {now:%Y-%m-%d %H:%M} UTC, and the database was last in use at {noted_at:%Y-%m-%d %H:%M} UTC, "
        "so nothing is deleted. If the clock is wrong, set it. If it is right, run catalog-server clock accept."
    )


def noted_at(session: Session) -> datetime.datetime | None:
    """Returns the latest time that was plausible, None if none was noted yet."""
    return session.scalar(select(Catalog.clock_noted_at))


def require_plausible(session: Session, now: datetime.datetime) -> None:
    """Check, before something is deleted by the clock, that it can be right.

    :raises ImplausibleClock: it cannot
    """
    found = problem(noted_at(session), now)
    if found is not None:
        raise ImplausibleClock(found)


def note(services: Services) -> None:
    """Note the time, unless it is implausible, or was noted a moment ago."""
    now = services.clock()
    with services.database.reading() as session:
        before = noted_at(session)
    if problem(before, now) is not None or (before is not None and now < before + _NOTED_EVERY):
        return
    is_later = or_(Catalog.clock_noted_at.is_(None), Catalog.clock_noted_at < now)
    services.database.write(lambda session: session.execute(update(Catalog).where(is_later).values(clock_noted_at=now)))


def accept(work: UnitOfWork) -> None:
    """Take the time that the clock says now for right, whatever was noted before."""
    before = noted_at(work.session)
    work.session.execute(update(Catalog).values(clock_noted_at=work.now))
    work.record("clock.accept", "catalog", "catalog", before=before.isoformat() if before is not None else None)
