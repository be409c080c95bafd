# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logging in: a password or an API key for a token, and being locked out after too many wrong passwords.

A user that does not exist is treated like one whose password is wrong: the same answer, after the same work, and the
same lockout.
"""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from catalog_server.errors import InvalidCredentials, LockedOut
from catalog_server.identity import queries, tokens
from catalog_server.identity.access import Caller
from catalog_server.identity.authentication import api_key_of
from catalog_server.models.identity import LoginFailure, User
from catalog_server.work import House, Work

_NOBODY = Caller(None, "", frozenset(), frozenset(), "login")


@dataclass(frozen=True)
class Token:
    """A login token."""

    email: str
    token: str = field(repr=False)
    expires_at: int


def with_password(house: House, name: str, password: str, request_id: str | None) -> Token:
    """A token for the user with that id, user name or mail address.

    :raises InvalidCredentials: unknown user or wrong password
    :raises LockedOut: too many of these before
    """
    # Everything from the look at the failures to their count happens in a turn, so that no more passwords than
    # there are turns can be tried beside the count.
    with house.passwords.turn():
        now = house.clock()
        with house.database.reading() as session:
            user = queries.user_called(session, name)
            subject = _subject(user, name)
            _check_not_locked(house, session, subject, now)
            failed_before = queries.login_failure(session, subject) is not None
        stored = user.password_hash if user else None
        if not house.passwords.matches(password, stored) or user is None:
            _count_failure(house, subject, now, request_id)
            raise InvalidCredentials("The user name or the password is wrong.")
    if failed_before:
        with house.database.writing() as session:
            queries.forget_login_failures(session, subject, now - _window(house))
    return _token(house, user.id, now)


def with_api_key(house: House, encoded: str) -> Token:
    """A token for the user of an API key; it does not outlive the key.

    :raises InvalidCredentials: the key is not valid
    """
    now = house.clock()
    with house.database.reading() as session:
        key = api_key_of(session, encoded, now)
    return _token(house, key.user_id, now, key.expires_at)


def _token(house: House, user_id: str, now: datetime.datetime, at_most: datetime.datetime | None = None) -> Token:
    with house.database.reading() as session:
        user = queries.user(session, user_id)
        if user is None:
            raise InvalidCredentials("The user name or the password is wrong.")
        rights = queries.rights(session, user.id)
    expires = now + datetime.timedelta(seconds=house.settings.token_seconds)
    expires_at = int(min(expires, at_most or expires).timestamp())
    shown = {
        "email": user.email,
        "username": user.name or user.username,
        "roles": sorted(rights.roles),
        "claims": sorted(rights.claims),
    }
    token = tokens.encode_login(house.keys, tokens.Login(user.id, user.password_version), shown, expires_at)
    return Token(user.email, token, expires_at)


def _subject(user: User | None, name: str) -> str:
    if user is not None:
        return f"user:{user.id}"
    return f"name:{hashlib.sha256(name.strip().lower().encode()).hexdigest()}"


def _window(house: House) -> datetime.timedelta:
    return datetime.timedelta(seconds=house.settings.lockout_seconds)


def _check_not_locked(house: House, session: Session, subject: str, now: datetime.datetime) -> None:
    failure = queries.login_failure(session, subject)
    if failure is None or failure.failures < house.settings.login_attempts:
        return
    left = (failure.last_at + _window(house) - now).total_seconds()
    if left > 0:
        raise LockedOut("Too many wrong passwords: try again later.", retry_after=int(left) + 1)


def _count_failure(house: House, subject: str, now: datetime.datetime, request_id: str | None) -> None:
    with house.database.writing() as session:
        queries.forget_login_failures(session, None, now - _window(house))
        failure = queries.login_failure(session, subject)
        if failure is None:
            failure = LoginFailure(subject=subject, failures=0, last_at=now)
            session.add(failure)
        failure.failures += 1
        failure.last_at = now
        if failure.failures == house.settings.login_attempts:
            Work(house, session, now, _NOBODY, request_id).record(
                "user.lock_out", "login", subject, failures=failure.failures
            )
