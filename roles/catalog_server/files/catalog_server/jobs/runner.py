# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running jobs: one of them now, or all that are due, in a thread of the server."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import typing as t
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from sqlalchemy.orm import Session

from catalog_server import clock
from catalog_server.asking import Asking
from catalog_server.jobs import leases
from catalog_server.unit_of_work import Services

Counts = dict[str, t.Any]

# How often a process that runs no jobs by itself looks for those that somebody asked another process for.
_REQUESTS_SECONDS = 60

_log = logging.getLogger("catalog_server.jobs")


class Stopped(Exception):
    """The process ends; the job is resumed by the next one."""


@dataclass
class Run:
    """One run of a job, as it sees it. ``counts`` is what it has done so far, those of a resumed run included."""

    services: Services
    name: str
    owner: str
    counts: Counts
    stopping: threading.Event = field(default_factory=threading.Event)

    def add(self, what: str, number: int = 1) -> None:
        """Count something that was done."""
        self.counts[what] = self.counts.get(what, 0) + number

    def checkpoint(self) -> None:
        """Say between two steps that the job still runs, and what it has done.

        :raises LeaseLost: another process runs it now
        :raises Stopped: the process ends
        """
        leases.extend(self.services, self.name, self.owner, self.counts)
        if self.stopping.is_set():
            raise Stopped


def _always(_services: Services) -> bool:
    return True


def _nothing(_session: Session) -> None:
    return None


@dataclass(frozen=True)
class JobKind:
    """A job: what it is called and does, how often, and whether there is something to do at all.

    ``require_allowed`` raises what is to be said to whoever asks for a run that must not be. One that deletes by the
    clock does not run while the clock is implausible.
    """

    name: str
    text: str
    period_seconds: float
    work: Callable[[Run], None]
    has_work: Callable[[Services], bool] = _always
    require_allowed: Callable[[Session], None] = _nothing
    deletes: bool = False


def new_owner() -> str:
    """A name for whoever runs jobs."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}"


def run(services: Services, kind: JobKind, owner: str, stopping: threading.Event | None = None) -> Counts | None:
    """Run a job now; returns what it has done, None if another process runs it.

    :raises Exception: it failed; the job's row says so, too
    """
    clock.note(services)
    progress = leases.take(services, kind.name, owner)
    if progress is None:
        return None
    one = Run(services, kind.name, owner, progress, stopping or threading.Event())
    try:
        if kind.deletes:
            services.storages.require_current()
            with services.database.reading() as session:
                clock.require_plausible(session, services.clock())
        kind.work(one)
    except (leases.LeaseLost, Stopped):
        raise
    except Exception as error:
        leases.end(services, kind.name, owner, one.counts, str(error) or type(error).__name__)
        raise
    leases.end(services, kind.name, owner, one.counts, None)
    return one.counts


class JobThread:
    """Runs what is due every few seconds, and what is asked for at once, between ``start`` and ``close``."""

    def __init__(self, services: Services, kinds: Sequence[JobKind]) -> None:
        self._services = services
        self._kinds = kinds
        self._owner = new_owner()
        # Each process has to learn that a storage was taken over, also one that stores and deletes nothing. A storage
        # that does not answer keeps no job waiting.
        self._looking = Asking("marks", services.storages.survey)
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin. If the settings say that this process runs no jobs, it runs only those that somebody asks for."""
        self._thread.start()

    def wake(self) -> None:
        """Look at once for what was asked for."""
        self._woken.set()

    def close(self) -> None:
        """End behind the step that is being done."""
        self._stopping.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._woken.wait(self._services.settings.jobs_seconds or _REQUESTS_SECONDS)
            self._woken.clear()
            self._note_time()
            self._looking.ask()
            for kind in self._kinds:
                if self._stopping.is_set():
                    return
                self._run_if_due(kind)

    def _note_time(self) -> None:
        try:
            clock.note(self._services)
        except Exception:
            _log.exception("the time was not noted")

    def _run_if_due(self, kind: JobKind) -> None:
        services = self._services
        try:
            with services.database.reading() as session:
                is_requested = leases.is_requested(session, kind.name)
                is_due = services.settings.jobs_seconds > 0 and leases.is_due(
                    session, kind.name, services.clock(), kind.period_seconds
                )
            if is_requested or (is_due and kind.has_work(services)):
                counts = run(services, kind, self._owner, self._stopping)
                if counts:
                    _log.info("job done", extra={"job": kind.name, **{f"job_{name}": counts[name] for name in counts}})
        except (leases.LeaseLost, Stopped):
            _log.info("job given up, to be resumed", extra={"job": kind.name})
        except CatalogError as error:
            _log.warning("job failed: %s", error.message, extra={"job": kind.name})
        except Exception:
            _log.exception("job failed", extra={"job": kind.name})
