# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The unit of work: one transaction, one caller, one time, and the audit entries of what it changes.

A handler says what it needs of the caller, does one thing, and builds its answer inside. A unit that reads is a block.
One that writes is a callable, since it may have to run again (see ``database.py``); when it has returned, everything is
committed, and only then does the answer leave. Handlers are plain functions on threads, so nothing here waits on the
event loop.
"""

from __future__ import annotations

import datetime
import time
import typing as t
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fastapi import Depends, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from catalog_server import access, downloads
from catalog_server.access import Caller, Needs
from catalog_server.audit import notes
from catalog_server.audit.notes import Note
from catalog_server.behind import CLOSE_SECONDS, BehindWriter, Seldom
from catalog_server.database import Database, Lock
from catalog_server.downloads import Download
from catalog_server.errors import Unauthenticated
from catalog_server.identity import refusals
from catalog_server.identity.authentication import Credentials, authenticate
from catalog_server.identity.key_uses import KeyUses
from catalog_server.identity.passwords import Passwords
from catalog_server.identity.refusals import Refusals
from catalog_server.keys import KeyRing
from catalog_server.pools import Pools, Turns
from catalog_server.receivers import Receivers
from catalog_server.settings import LONGEST_URL_SECONDS, Settings
from catalog_server.storages.registry import Registry

Result = t.TypeVar("Result")


def utc_now() -> datetime.datetime:
    """The current time."""
    return datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True)
class Behind:
    """What is written behind the requests of one process, between ``start`` and ``close``."""

    downloads: BehindWriter[Download]
    notes: BehindWriter[Note]
    key_uses: KeyUses
    # Of users without a grant: who was given URLs of which manifest
    readers: Seldom

    @classmethod
    def of(cls, database: Database) -> Behind:
        """The writers of one process; they are not started yet."""
        return cls(
            downloads=BehindWriter(database, "downloads", downloads.count),
            notes=BehindWriter(database, "audit notes", notes.write),
            key_uses=KeyUses(database),
            # Whoever reads very many manifests is in the audit log with each of them.
            readers=Seldom(LONGEST_URL_SECONDS, beyond=True),
        )

    def writers(self) -> dict[str, BehindWriter[t.Any]]:
        """Return all writers, by what they write."""
        return {"downloads": self.downloads, "audit": self.notes, "key_uses": self.key_uses.writer}

    def start(self) -> None:
        """Begin to write."""
        for writer in self.writers().values():
            writer.start()

    def close(self) -> None:
        """Write what was added, and end; see ``BehindWriter.close``."""
        until = time.monotonic() + CLOSE_SECONDS
        for writer in self.writers().values():
            writer.end()
        for writer in self.writers().values():
            writer.close(until - time.monotonic())


@dataclass(frozen=True)
class Services:
    """What all requests of one process share."""

    settings: Settings
    database: Database
    keys: KeyRing
    passwords: Passwords
    storages: Registry
    pools: Pools
    login_turns: Turns
    behind: Behind
    refusals: Refusals
    receivers: Receivers
    clock: Callable[[], datetime.datetime] = utc_now


@dataclass
class UnitOfWork:
    """What a service function gets to work with."""

    services: Services
    session: Session
    now: datetime.datetime
    caller: Caller
    request_id: str | None = None

    @property
    def settings(self) -> Settings:
        return self.services.settings

    def record(self, action: str, subject_kind: str, subject_id: str, **details: t.Any) -> None:
        """Write into the audit log, in this very transaction, what is being changed; never a secret."""
        self.session.add(self.note(action, subject_kind, subject_id, **details).entry())

    def note(self, action: str, subject_kind: str, subject_id: str, **details: t.Any) -> Note:
        """Return what the audit log says when this caller does something; never a secret."""
        return Note(
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

    def in_seconds(self, seconds: float) -> datetime.datetime:
        """The time that lies so far ahead."""
        return self.now + datetime.timedelta(seconds=seconds)


@dataclass(frozen=True)
class RequestContext:
    """Where one request gets its units of work."""

    services: Services
    credentials: Credentials = field(repr=False)
    request_id: str | None
    # Of the API as the client sees it, with its prefix and without a slash at the end
    base_url: str
    # Where it comes from
    address: str = ""
    # What the log line of the request says beside.
    logged: dict[str, t.Any] = field(default_factory=dict, repr=False)

    @property
    def pools(self) -> Pools:
        return self.services.pools

    @contextmanager
    def reading(self, needs: Needs) -> Iterator[UnitOfWork]:
        """A unit that changes nothing."""
        now = self.services.clock()
        with self.services.database.reading() as session:
            yield self._work(session, now, needs)

    def write(
        self,
        needs: Needs,
        unit: Callable[[UnitOfWork], Result],
        locks: Callable[[UnitOfWork], Iterable[Lock]] = lambda work: (),
    ) -> Result:
        """Call ``unit`` in a transaction, holding the locks that ``locks`` names; everything it changes is committed.

        Whoever has no right to write, or names what is not there, is sent away before a lock is taken; then the rights
        are read again, in the transaction that rests on them.

        :raises Unavailable: a restore of this catalog has taken a storage over
        """
        self.services.storages.require_current()
        with self.reading(needs) as work:
            wanted = list(locks(work))
        now = self.services.clock()
        return self.services.database.write(lambda session: unit(self._work(session, now, needs)), wanted)

    def _work(self, session: Session, now: datetime.datetime, needs: Needs) -> UnitOfWork:
        caller = access.check(self.authenticated(session, now), needs)
        return UnitOfWork(self.services, session, now, caller, self.request_id)

    def authenticated(self, session: Session, now: datetime.datetime) -> Caller | None:
        """Return who asks, None for a request without credentials; the log learns of it, whatever becomes of it.

        :raises Unauthenticated: the credentials are not good, or not any more
        """
        try:
            caller = authenticate(session, self.services.keys, self.credentials, now)
        except Unauthenticated as refused:
            if "reason" in refused.details:
                self.services.refusals.add(refused, refusals.API_KEY, self.address, self.request_id, now)
            raise
        if caller is not None:
            self.logged.update(user=caller.username, credential=caller.credential)
        if caller is not None and caller.credential == access.API_KEY and caller.source is not None:
            self.services.behind.key_uses.add(caller.source.id, now)
        return caller


def command_unit(services: Services, unit: Callable[[UnitOfWork], Result], *locks: Lock) -> Result:
    """Call ``unit`` in a transaction that writes, for the administrator at the command line."""
    now = services.clock()
    return services.database.write(lambda session: unit(UnitOfWork(services, session, now, access.COMMAND)), locks)


async def request_context(request: Request) -> RequestContext:
    """The context of a request; no I/O happens here."""
    services: Services = request.app.state.services
    base = services.settings.public_url or str(request.base_url).rstrip("/")
    return RequestContext(
        services=services,
        credentials=Credentials(request.headers.get("authorization"), request.headers.get("x-api-key")),
        request_id=request.scope.get("request_id"),
        base_url=f"{base}/api/v1",
        address=request.client.host if request.client is not None else "",
        logged=request.scope.get("logged", {}),
    )


async def identify(request: Request) -> None:
    """Check only the credentials of a request.

    :raises Unauthenticated: there are none, or they are not good
    """
    context = await request_context(request)

    def check() -> None:
        with context.services.database.reading() as session:
            caller = context.authenticated(session, context.services.clock())
        if caller is None:
            raise access.no_credentials()

    await run_in_threadpool(check)


Context = t.Annotated[RequestContext, Depends(request_context)]
