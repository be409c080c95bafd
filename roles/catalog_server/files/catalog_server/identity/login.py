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
from functools import partial

from sqlalchemy.orm import Session

from catalog_server.access import PASSWORD, Caller, Source
from catalog_server.errors import InvalidCredentials, Unavailable
from catalog_server.identity import lockouts, queries, tokens
from catalog_server.identity.authentication import check_api_key
from catalog_server.identity.standing import Standing, standing_of
from catalog_server.unit_of_work import Services, UnitOfWork

_WRONG = "The user name or the password is wrong."
_NOBODY = Caller(None, "", frozenset(), frozenset(), "login")


@dataclass(frozen=True)
class Token:
    """A login token."""

    email: str
    token: str = field(repr=False)
    expires_at: int


@dataclass(frozen=True)
class Attempt:
    """A name and a password, and where they come from."""

    name: str
    password: str = field(repr=False)
    address: str
    request_id: str | None = None

    @property
    def subject(self) -> lockouts.Subject:
        """What the attempt is counted under."""
        return lockouts.subject_of(self.name, self.address)


@dataclass(frozen=True)
class _Claimed:
    """An attempt that has been counted, and whom it is about."""

    claim: lockouts.Claim
    user_id: str | None
    stored: str | None = field(repr=False)


@dataclass(frozen=True)
class Proof:
    """That somebody knew the password of a user, the one of that version, at that time."""

    standing: Standing
    version: int
    at: datetime.datetime


async def with_password(services: Services, attempt: Attempt) -> Token:
    """A token for the user with that id, user name or mail address.

    :raises InvalidCredentials, LockedOut: as ``proved``
    """
    proof = await proved(services, attempt)
    standing = proof.standing
    source = Source(PASSWORD, proof.at.timestamp(), standing.epoch, version=proof.version, catalog=standing.catalog)
    return _token(services, standing, source, proof.at)


async def proved(services: Services, attempt: Attempt) -> Proof:
    """Check the password of the user with that id, user name or mail address.

    Attempts for one name from one network are made one after the other: each is counted as a wrong one until it turns
    out to be right, and right ones must not lock each other out.

    :raises InvalidCredentials: unknown user or wrong password
    :raises LockedOut: too many of these before
    """
    async with services.login_turns.of(attempt.subject.origin):
        claimed = await services.pools.writes.run(partial(_claim, services, attempt))
        try:
            matches, rehashed = await services.pools.logins.run(
                partial(_check, services, attempt.password, claimed.stored), first=claimed.claim.is_known
            )
        except Unavailable:
            await services.pools.writes.run(partial(_withdraw, services, attempt, claimed))
            raise
        finish = _succeed if matches else _fail
        return await services.pools.writes.run(partial(finish, services, attempt, claimed, rehashed))


def _claim(services: Services, attempt: Attempt) -> _Claimed:
    def unit(session: Session) -> _Claimed:
        claim = lockouts.claim(session, services.settings, attempt.subject, services.clock())
        user = queries.user_called(session, attempt.name)
        return _Claimed(claim, user.id if user else None, user.password_hash if user else None)

    return services.database.write(unit)


def _check(services: Services, password: str, stored: str | None) -> tuple[bool, str | None]:
    if not services.passwords.matches(password, stored) or stored is None:
        return False, None
    return True, services.passwords.rehashed(password, stored)


def _withdraw(services: Services, attempt: Attempt, claimed: _Claimed) -> None:
    services.database.write(
        lambda session: lockouts.withdraw(session, attempt.subject, claimed.claim.is_known),
    )


def _fail(services: Services, attempt: Attempt, claimed: _Claimed, _rehashed: str | None) -> Proof:
    if claimed.claim.failures == services.settings.login_attempts:
        now = services.clock()
        services.database.write(
            lambda session: UnitOfWork(services, session, now, _NOBODY, attempt.request_id).record(
                "user.lock_out", "login", attempt.subject.name, failures=claimed.claim.failures, address=attempt.address
            )
        )
    raise InvalidCredentials(_WRONG)


def _succeed(services: Services, attempt: Attempt, claimed: _Claimed, rehashed: str | None) -> Proof:
    now = services.clock()

    def unit(session: Session) -> tuple[Standing, int] | None:
        user = queries.user(session, claimed.user_id or "")
        standing = standing_of(session, claimed.user_id or "")
        if user is None or standing is None or user.password_hash != claimed.stored:
            return None
        lockouts.succeed(session, attempt.subject, now)
        if rehashed is not None:
            queries.set_password_hash(session, user.id, user.password_hash or "", rehashed)
        return standing, user.password_version

    found = services.database.write(unit)
    if found is None:
        # Deleted, or given another password, while this one was checked
        raise InvalidCredentials(_WRONG)
    standing, version = found
    return Proof(standing, version, now)


def with_api_key(services: Services, encoded: str) -> Token:
    """A token for the user of an API key; it does not outlive the key.

    :raises InvalidCredentials: the key is not valid
    """
    now = services.clock()
    with services.database.reading() as session:
        standing, source = check_api_key(session, encoded, now)
    return _token(services, standing, source, now)


def _token(services: Services, standing: Standing, source: Source, now: datetime.datetime) -> Token:
    if standing.disabled:
        raise InvalidCredentials(_WRONG)
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
