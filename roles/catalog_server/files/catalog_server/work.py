# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The unit of work: one transaction, one caller, one moment, and the audit entries of what it changes.

A handler opens it with what it needs of the caller, does one thing, and builds its answer inside. When the block ends,
everything is committed; only then does the answer leave. Handlers are plain functions on threads, so nothing here
waits on the event loop.
"""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._storage.local import LocalStorage
from fastapi import Depends, Request
from sqlalchemy.orm import Session

from catalog_server.database import Database
from catalog_server.identity import access
from catalog_server.identity.access import Caller, Needs
from catalog_server.identity.authentication import Credentials, authenticate
from catalog_server.identity.passwords import Passwords
from catalog_server.keys import Keys
from catalog_server.models.audit import AuditEntry
from catalog_server.settings import Settings


def utc_now() -> datetime.datetime:
    """This moment."""
    return datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True)
class House:
    """What all requests of one process share."""

    settings: Settings
    database: Database
    keys: Keys
    passwords: Passwords
    storages: t.Mapping[str, LocalStorage]
    clock: Callable[[], datetime.datetime] = utc_now


@dataclass
class Work:
    """What a service function gets to work with."""

    house: House
    session: Session
    now: datetime.datetime
    caller: Caller
    request_id: str | None = None

    @property
    def settings(self) -> Settings:
        return self.house.settings

    def record(self, action: str, subject_kind: str, subject_id: str, **details: t.Any) -> None:
        """Write into the audit log, in this very transaction, what is being changed; never a secret."""
        self.session.add(
            AuditEntry(
                at=self.now,
                actor_id=self.caller.user_id,
                actor=self.caller.username,
                credential=self.caller.credential,
                request_id=self.request_id,
                action=action,
                subject_kind=subject_kind,
                subject_id=subject_id,
                details=details,
            )
        )

    def in_seconds(self, seconds: float) -> datetime.datetime:
        """The moment that lies so far ahead."""
        return self.now + datetime.timedelta(seconds=seconds)


@dataclass(frozen=True)
class Desk:
    """Where one request gets its units of work."""

    house: House
    credentials: Credentials = field(repr=False)
    request_id: str | None
    # Of the API as the client sees it, with its prefix and without a slash at the end
    base_url: str

    @contextmanager
    def reading(self, needs: Needs) -> Iterator[Work]:
        """A unit that changes nothing."""
        now = self.house.clock()
        with self.house.database.reading() as session:
            yield self._work(session, now, needs)

    @contextmanager
    def writing(self, needs: Needs) -> Iterator[Work]:
        """A unit whose changes are committed when the block ends without an exception.

        Whoever has no right to write is sent away before the lock is taken, which all writers share; then the rights
        are read again, in the transaction that rests on them.
        """
        with self.reading(needs):
            pass
        now = self.house.clock()
        with self.house.database.writing() as session:
            yield self._work(session, now, needs)

    def _work(self, session: Session, now: datetime.datetime, needs: Needs) -> Work:
        caller = access.check(authenticate(session, self.house.keys, self.credentials, now), needs)
        return Work(self.house, session, now, caller, self.request_id)


@contextmanager
def command_work(house: House) -> Iterator[Work]:
    """A unit that changes something, for the administrator at the command line."""
    with house.database.writing() as session:
        yield Work(house, session, house.clock(), access.COMMAND)


async def desk(request: Request) -> Desk:
    """The desk of a request; no I/O happens here."""
    house: House = request.app.state.house
    base = house.settings.public_url or str(request.base_url).rstrip("/")
    return Desk(
        house=house,
        credentials=Credentials(request.headers.get("authorization"), request.headers.get("x-api-key")),
        request_id=request.scope.get("request_id"),
        base_url=f"{base}/api/v1",
    )


AtDesk = t.Annotated[Desk, Depends(desk)]
