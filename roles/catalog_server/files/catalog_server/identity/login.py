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

from catalog_server.access import PASSWORD, Caller, Source
from catalog_server.errors import InvalidCredentials
from catalog_server.identity import lockouts, queries, tokens
from catalog_server.identity.authentication import check_api_key
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
    with services.database.reading() as session:
        standing = queries.standing(session, user.id)
    if standing is None:
        raise InvalidCredentials("The user name or the password is wrong.")
    source = Source(PASSWORD, now.timestamp(), standing.epoch, version=user.password_version, catalog=standing.catalog)
    return _token(services, standing, source, now)


def with_api_key(services: Services, encoded: str) -> Token:
    """A token for the user of an API key; it does not outlive the key.

    :raises InvalidCredentials: the key is not valid
    """
    now = services.clock()
    with services.database.reading() as session:
        standing, source = check_api_key(session, encoded, now)
    return _token(services, standing, source, now)


def _token(services: Services, standing: queries.Standing, source: Source, now: datetime.datetime) -> Token:
    if standing.disabled:
        raise InvalidCredentials("The user name or the password is wrong.")
    expires = now + datetime.timedelta(seconds=services.settings.token_seconds)
    key_end = standing.key.expires_at if standing.key is not None else None
    expires_at = int(min(expires, key_end or expires).timestamp())
    shown = {
        "email": standing.email,
        "username": standing.name or standing.username,
        "roles": sorted(standing.rights.roles),
        "claims": sorted(standing.rights.claims),
    }
    token = tokens.encode_login(services.keys, tokens.Login(standing.user_id, source), shown, expires_at)
    return Token(standing.email, token, expires_at)
