# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lockouts: too many wrong passwords in a row for one name, known or not.

An attempt is counted before its password is checked, so that no more of them can be made at once than one after the
other, and none while the database cannot be written.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence

from sqlalchemy.orm import Session

from catalog_server.errors import LockedOut
from catalog_server.identity import queries
from catalog_server.settings import Settings


def subject_of(name: str) -> str:
    """Return what the attempts for a user name or mail address are counted under, whether or not there is such a user.

    The domain does not count, as the mail address of a user is NAME@localhost if nobody set another one.
    """
    return hashlib.sha256(name.strip().lower().partition("@")[0].encode(errors="replace")).hexdigest()


def claim(session: Session, settings: Settings, subject: str, now: datetime.datetime) -> int:
    """Count one more attempt; return how many in a row there are.

    :raises LockedOut: there were too many wrong ones before
    """
    window = datetime.timedelta(seconds=settings.lockout_seconds)
    queries.forget_login_failures(session, [], now - window)
    failures, last_at = queries.count_login_failure(session, subject, now, settings.login_attempts)
    if failures > settings.login_attempts:
        # A clock that went back must not make it longer.
        left = (min(last_at, now) + window - now).total_seconds()
        raise LockedOut("Too many wrong passwords: try again later.", retry_after=max(1, int(left) + 1))
    return failures


def forgive(session: Session, settings: Settings, subjects: Sequence[str], now: datetime.datetime) -> None:
    """Forget the attempts for these subjects, and all that are too old to count."""
    queries.forget_login_failures(session, subjects, now - datetime.timedelta(seconds=settings.lockout_seconds))
