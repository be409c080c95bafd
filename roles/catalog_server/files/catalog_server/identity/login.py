# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logging in: a password or an API key for a token, and being locked out after too many wrong passwords.

A user that does not exist is treated like one whose password is wrong: the same answer, after the same work, and the
same lockout.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from catalog_server.errors import InvalidCredentials
from catalog_server.identity import lockouts, queries, tokens
from catalog_server.identity.access import Caller
from catalog_server.identity.authentication import api_key_of
from catalog_server.unit_of_work import Services, UnitOfWork

_NOBODY = Caller(None, "", frozenset(), frozenset(), "login")


@dataclass(frozen=True)
class Token:
    """A login token."""

    email: str
    token: str = field(repr=False)
    expires_at: int


def with_password(services: Services, name: str, password: str, request_id: str | None) -> Token:
    """A token for the user with that id, user name or mail address.

    :raises InvalidCredentials: unknown user or wrong password
    :raises LockedOut: too many of these before
    """
    now = services.clock()
    subject = lockouts.subject_of(name)
    with services.passwords.turn():
        # Counted before it is checked: however many try at once, and whether or not the database can be written.
        attempts = services.database.write(lambda session: lockouts.claim(session, services.settings, subject, now))
        with services.database.reading() as session:
            user = queries.user_called(session, name)
        stored = user.password_hash if user else None
        if not services.passwords.matches(password, stored) or user is None:
            if attempts == services.settings.login_attempts:
                services.database.write(
                    lambda session: UnitOfWork(services, session, now, _NOBODY, request_id).record(
                        "user.lock_out", "login", subject, failures=attempts
                    )
                )
            raise InvalidCredentials("The user name or the password is wrong.")
    services.database.write(lambda session: lockouts.forgive(session, services.settings, [subject], now))
    return _token(services, user.id, now)


def with_api_key(services: Services, encoded: str) -> Token:
    """A token for the user of an API key; it does not outlive the key.

    :raises InvalidCredentials: the key is not valid
    """
    now = services.clock()
    with services.database.reading() as session:
        key = api_key_of(session, encoded, now)
    return _token(services, key.user_id, now, key.expires_at)


def _token(services: Services, user_id: str, now: datetime.datetime, at_most: datetime.datetime | None = None) -> Token:
    with services.database.reading() as session:
        user = queries.user(session, user_id)
        if user is None:
            raise InvalidCredentials("The user name or the password is wrong.")
        rights = queries.rights(session, user.id)
    expires = now + datetime.timedelta(seconds=services.settings.token_seconds)
    expires_at = int(min(expires, at_most or expires).timestamp())
    shown = {
        "email": user.email,
        "username": user.name or user.username,
        "roles": sorted(rights.roles),
        "claims": sorted(rights.claims),
    }
    token = tokens.encode_login(services.keys, tokens.Login(user.id, user.password_version), shown, expires_at)
    return Token(user.email, token, expires_at)
