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
from catalog_server.errors import InvalidCredentials, LockedOut, TokenExpired, Unavailable
from catalog_server.identity import lockouts, queries, refusals, tokens
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
    username: str | None
    stored: str | None = field(repr=False)

    def refused(self, reason: str) -> InvalidCredentials:
        """Return the error that says no more than that; the reason is for the log."""
        return InvalidCredentials(_WRONG, details=refusals.why(reason, self.user_id, self.username))


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
    source = Source(PASSWORD, standing.session_number, standing.epoch, version=proof.version, catalog=standing.catalog)
    return _token(services, standing, source, proof.at)


async def proved(services: Services, attempt: Attempt) -> Proof:
    """Check the password of the user with that id, user name or mail address.

    Attempts for one name from one network are made one after the other: each is counted as a wrong one until it turns
    out to be right, and right ones must not lock each other out.

    :raises InvalidCredentials: unknown user or wrong password, or a user that is disabled
    :raises LockedOut: too many of these before
    """
    try:
        return await _proved(services, attempt)
    except (InvalidCredentials, LockedOut) as refused:
        services.refusals.add(refused, refusals.LOGIN, attempt.address, attempt.request_id, services.clock())
        raise


async def _proved(services: Services, attempt: Attempt) -> Proof:
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
        user = queries.user_called(session, attempt.name)
        try:
            claim = lockouts.claim(session, services.settings, attempt.subject, services.clock())
        except LockedOut as error:
            why = refusals.why("locked_out", user.id, user.username) if user else refusals.why("locked_out")
            raise LockedOut(error.message, details=why, retry_after=error.retry_after) from None
        if user is None:
            return _Claimed(claim, None, None, None)
        return _Claimed(claim, user.id, user.username, user.password_hash)

    try:
        return services.database.write(unit)
    except LockedOut:
        # What is refused is rolled back, so this is written by itself.
        _bring_back(services, attempt.subject)
        raise


def _bring_back(services: Services, subject: lockouts.Subject) -> None:
    now = services.clock()
    with services.database.reading() as session:
        was_ahead = lockouts.was_ahead(session, subject, now)
    if was_ahead:
        services.database.write(lambda session: lockouts.bring_back(session, subject, now))


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
                "user.lock_out",
                "user" if claimed.user_id is not None else "login",
                claimed.user_id or "unknown",
                failures=claimed.claim.failures,
                address=attempt.address,
                user=claimed.username,
            )
        )
    raise claimed.refused(_reason(claimed))


def _reason(claimed: _Claimed) -> str:
    if claimed.user_id is None:
        return "unknown_user"
    return "wrong_password" if claimed.stored is not None else "no_password"


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
        raise claimed.refused("wrong_password")
    standing, version = found
    if standing.disabled:
        raise claimed.refused("disabled")
    return Proof(standing, version, now)


def with_api_key(services: Services, encoded: str, address: str, request_id: str | None) -> Token:
    """A token for the user of an API key; it does not outlive the key.

    :raises InvalidCredentials, TokenExpired: the key is not good, or not any more
    """
    now = services.clock()
    try:
        with services.database.reading() as session:
            standing, source = check_api_key(session, encoded, now)
    except (InvalidCredentials, TokenExpired) as refused:
        services.refusals.add(refused, refusals.API_KEY, address, request_id, now)
        raise
    services.behind.key_uses.add(source.id, now)
    return _token(services, standing, source, now)


def _token(services: Services, standing: Standing, source: Source, now: datetime.datetime) -> Token:
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
