# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lockouts: too many wrong passwords in a row for one name, known or not, from one network.

An attempt is counted before its password is checked, so that no more of them can be made at once than one after the
other, and none while the database cannot be written.

Whoever guesses from many networks at once meets a second limit, that of the name. It does not hold for networks from
which somebody has logged in under that name before: nobody can lock out a user from everywhere.
"""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass

from sqlalchemy.orm import Session

from catalog_server.errors import LockedOut
from catalog_server.identity import login_queries as queries
from catalog_server.networks import network_of
from catalog_server.settings import Settings

# How many times the attempts of one network a name may be tried from all unknown ones
EVERYWHERE = 10
REMEMBERED = datetime.timedelta(days=90)
_IPV4_BITS = 24


@dataclass(frozen=True)
class Subject:
    """What attempts are counted under: a name, and a name from a network."""

    name: str
    origin: str


@dataclass(frozen=True)
class Claim:
    """An attempt that was counted: how many in a row there are, and if the subject has logged in before."""

    failures: int
    is_known: bool


def name_subject(name: str) -> str:
    """Return what the attempts for a user name or mail address are counted under, whether or not there is such a user.

    The domain does not count, as the mail address of a user is NAME@localhost if nobody set another one.
    """
    return hashlib.sha256(name.strip().lower().partition("@")[0].encode(errors="replace")).hexdigest()


def subject_of(name: str, address: str) -> Subject:
    """Return the subject of attempts for a name from an address."""
    subject = name_subject(name)
    network = hashlib.sha256(network_of(address, _IPV4_BITS).encode()).hexdigest()[:15]
    return Subject(subject, f"{subject}/{network}")


def claim(session: Session, settings: Settings, subject: Subject, now: datetime.datetime) -> Claim:
    """Count one more attempt.

    :raises LockedOut: there were too many wrong ones before
    """
    queries.forget_login_failures(session, now - datetime.timedelta(seconds=settings.lockout_seconds))
    is_known = queries.is_login_origin(session, subject.origin)
    failures = _count(session, settings, subject.origin, now, settings.login_attempts)
    if not is_known:
        _count(session, settings, subject.name, now, EVERYWHERE * settings.login_attempts)
    return Claim(failures, is_known)


def _count(session: Session, settings: Settings, subject: str, now: datetime.datetime, limit: int) -> int:
    failures, last_at = queries.count_login_failure(session, subject, now, limit)
    if failures > limit:
        # A clock that went back must not make it longer.
        left = (min(last_at, now) - now).total_seconds() + settings.lockout_seconds
        raise LockedOut("Too many wrong passwords: try again later.", retry_after=max(1, int(left) + 1))
    return failures


def was_ahead(session: Session, subject: Subject, now: datetime.datetime) -> bool:
    """Return True if attempts were counted by a clock that was ahead: the lockout would last until that time."""
    return queries.has_later_login_failure(session, [subject.name, subject.origin], now)


def bring_back(session: Session, subject: Subject, now: datetime.datetime) -> None:
    """Let a lockout that a clock began in the future begin now."""
    queries.bring_back_login_failures(session, [subject.name, subject.origin], now)


def withdraw(session: Session, subject: Subject, is_known: bool) -> None:
    """Take back an attempt whose password was not checked."""
    queries.uncount_login_failure(session, subject.origin)
    if not is_known:
        queries.uncount_login_failure(session, subject.name)


def succeed(session: Session, subject: Subject, now: datetime.datetime) -> None:
    """Forget the attempts of a subject that has logged in, and remember from where it did."""
    queries.forget_login_failures_of(session, [subject.name, subject.origin])
    queries.remember_login_origin(session, subject.origin, now)


def forgive(session: Session, name: str) -> None:
    """Forget the attempts for a name, from wherever they came."""
    queries.forget_login_failures_of_name(session, name_subject(name))
