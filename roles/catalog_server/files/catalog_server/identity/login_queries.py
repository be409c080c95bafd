# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every statement on failed logins, and on where users have logged in from."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from sqlalchemy import case, delete, select, update
from sqlalchemy.orm import Session

from catalog_server.database import upsert
from catalog_server.models.identity import LoginFailure, LoginOrigin


def login_failure(session: Session, subject: str) -> LoginFailure | None:
    return session.get(LoginFailure, subject)


def forget_login_failures(session: Session, before: datetime.datetime) -> None:
    """Those that are too old to count."""
    session.execute(delete(LoginFailure).where(LoginFailure.last_at < before))


def forget_login_failures_of(session: Session, subjects: Sequence[str]) -> None:
    session.execute(delete(LoginFailure).where(LoginFailure.subject.in_(subjects)))


def forget_login_failures_of_name(session: Session, subject: str) -> None:
    """Those of a name, and of it from each network."""
    session.execute(delete(LoginFailure).where(LoginFailure.subject.startswith(subject, autoescape=True)))


def uncount_login_failure(session: Session, subject: str) -> None:
    session.execute(
        update(LoginFailure)
        .where(LoginFailure.subject == subject, LoginFailure.failures > 0)
        .values(failures=LoginFailure.failures - 1)
        .execution_options(synchronize_session=False)
    )


def has_later_login_failure(session: Session, subjects: Sequence[str], now: datetime.datetime) -> bool:
    """Return True if one of them is of a time that is still to come."""
    statement = select(LoginFailure.subject).where(LoginFailure.subject.in_(subjects), LoginFailure.last_at > now)
    return session.scalar(statement.limit(1)) is not None


def bring_back_login_failures(session: Session, subjects: Sequence[str], now: datetime.datetime) -> None:
    """Those of a time that is still to come are of now."""
    session.execute(
        update(LoginFailure)
        .where(LoginFailure.subject.in_(subjects), LoginFailure.last_at > now)
        .values(last_at=now)
        .execution_options(synchronize_session=False)
    )


def is_login_origin(session: Session, subject: str) -> bool:
    """Return True if somebody has logged in under that name and from that network."""
    return session.scalar(select(LoginOrigin.subject).where(LoginOrigin.subject == subject)) is not None


def remember_login_origin(session: Session, subject: str, now: datetime.datetime) -> None:
    insert = upsert(session, LoginOrigin).values(subject=subject, last_at=now)
    session.execute(
        insert.on_conflict_do_update(index_elements=[LoginOrigin.subject], set_={"last_at": insert.excluded.last_at})
    )


def count_login_failure(
    session: Session, subject: str, now: datetime.datetime, limit: int
) -> tuple[int, datetime.datetime]:
    """Count one more; return how many there are in a row and when the last of the first ``limit`` was."""
    insert = upsert(session, LoginFailure).values(subject=subject, failures=1, last_at=now)
    statement = insert.on_conflict_do_update(
        index_elements=[LoginFailure.subject],
        set_={
            "failures": LoginFailure.failures + 1,
            "last_at": case((LoginFailure.failures < limit, insert.excluded.last_at), else_=LoginFailure.last_at),
        },
    ).returning(LoginFailure.failures, LoginFailure.last_at)
    row = session.execute(statement).one()
    return row.failures, row.last_at
