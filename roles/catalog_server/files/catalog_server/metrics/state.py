# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is looked at for each scrape: pools, connections, jobs, volumes, storages and keys, as they are now.

In-process numbers are those of the process that answers; all others are the same for every process.
"""

from __future__ import annotations

import shutil
import time
import typing as t
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import StorageError
from anyio import CapacityLimiter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from catalog_server import VERSION, telemetry
from catalog_server.asking import Asking
from catalog_server.connections import OpenConnections
from catalog_server.database import database_file
from catalog_server.errors import Unavailable
from catalog_server.jobs import leases
from catalog_server.jobs.runner import JobKind
from catalog_server.keys import ages
from catalog_server.models.jobs import OutboxEntry
from catalog_server.models.transfers import OPEN, Upload
from catalog_server.pools import LoginPool, Pool, Pools, PoolState, limiter_state
from catalog_server.storages import marks
from catalog_server.unit_of_work import Services

Answer = t.TypeVar("Answer")

# A scrape waits no longer for all volumes, nor for all storages. Prometheus itself waits ten seconds.
PROBE_SECONDS = 3.0


@dataclass(frozen=True)
class Probe:
    """What a storage has answered: after how many seconds, and how many bytes it has left if it knows that."""

    seconds: float
    free: int | None


@dataclass(frozen=True)
class Numbers:
    """What only the process itself knows: its pools, and its connections."""

    pools: Callable[[], Mapping[str, PoolState]]
    connections: OpenConnections

    @classmethod
    def of(cls, pools: Pools, readers: CapacityLimiter, connections: OpenConnections) -> Numbers:
        """The numbers of a process; ``readers`` is the limiter of the framework's own pool."""
        named: dict[str, Pool | LoginPool] = {
            "writes": pools.writes,
            "objects": pools.objects,
            "commits": pools.commits,
            "logins": pools.logins,
        }
        return cls(
            pools=lambda: {"reads": limiter_state(readers), **{name: pool.state() for name, pool in named.items()}},
            connections=connections,
        )


class StateCollector(Collector):
    """Looks at the server when it is asked."""

    def __init__(self, services: Services, kinds: Iterable[JobKind], numbers: Numbers) -> None:
        self._services = services
        self._kinds = tuple(kinds)
        self._numbers = numbers
        settings = services.settings
        file = database_file(settings.database)
        folders = {"data": settings.data_dir, "spool": settings.spool}
        if file is not None:
            folders["database"] = file.parent
        self._volume_askings = {name: Asking(f"volume {name}", partial(_free, path)) for name, path in folders.items()}
        # A restore changes the mark that a storage has to have.
        self._storage_askings: dict[tuple[str, marks.Mark], Asking[Probe | None]] = {}

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics; without those that cannot be known now."""
        yield InfoMetricFamily("catalog", "The release of the server.", {"version": VERSION})
        yield from self._process()
        yield from self._volumes()
        yield from self._keys()
        try:
            yield from self._database()
            yield from self._storages()
        except Unavailable:
            yield _gauge("catalog_database_up", "Whether the database answers.", 0)
        else:
            yield _gauge("catalog_database_up", "Whether the database answers.", 1)

    def _process(self) -> Iterator[Metric]:
        pools = self._numbers.pools()
        yield _gauges(
            "catalog_pool_threads", "Threads of a pool.", "pool", {name: one.threads for name, one in pools.items()}
        )
        yield _gauges(
            "catalog_pool_busy", "Threads of a pool at work.", "pool", {name: one.busy for name, one in pools.items()}
        )
        waiting = {name: one.waiting for name, one in pools.items()}
        yield _gauges("catalog_pool_waiting", "Requests that wait for a thread of a pool.", "pool", waiting)
        connections = self._numbers.connections
        yield _gauge("catalog_connections", "Open connections of clients.", connections.count)
        yield _gauge("catalog_connections_limit", "Connections beyond which new ones are refused.", connections.limit)
        database = self._services.database
        yield _gauge("catalog_database_connections", "Connections to the database in use.", database.connections())
        yield _gauge(
            "catalog_database_connections_limit", "Connections to the database at most.", database.connection_limit
        )
        yield _gauge(
            "catalog_database_writers_waiting", "Threads that wait to write to SQLite.", database.writers_waiting()
        )
        receivers = self._services.receivers
        yield _gauge("catalog_receivers", "Bodies of objects and commits that are being received.", receivers.count)
        yield _gauge("catalog_receiving_bytes", "Bytes that these bodies announce.", receivers.announced)
        behind = {name: writer.waiting() for name, writer in self._services.behind.writers().items()}
        yield _gauges("catalog_behind_waiting", "Items that wait to be written behind requests.", "writer", behind)
        lost = telemetry.lost_lines()
        yield CounterMetricFamily("catalog_log_lines_lost", "Lines of the log that are lost.", value=lost)

    def _volumes(self) -> Iterator[Metric]:
        found = {name: number for name, number in _answers(self._volume_askings).items() if number is not None}
        yield _gauges("catalog_volume_free_bytes", "Free bytes of the volume of a directory.", "directory", found)

    def _keys(self) -> Iterator[Metric]:
        now = self._services.clock()
        made = ages(self._services.keys, now)
        yield _gauge("catalog_keys", "Keys that are good.", len(self._services.keys.keys))
        yield _gauges("catalog_key_age_seconds", "Age of the newest and of the oldest key.", "key", made)

    def _database(self) -> Iterator[Metric]:
        with self._services.database.reading() as session:
            rows = {job.name: job for job in leases.jobs(session)}
            uploads = session.scalar(select(func.count()).select_from(Upload).where(Upload.state == OPEN)) or 0
            outbox = session.scalar(select(func.count()).select_from(OutboxEntry)) or 0
        known = {kind.name: rows[kind.name] for kind in self._kinds if kind.name in rows}
        now = self._services.clock()
        ages_of = {
            name: (now - job.succeeded_at).total_seconds()
            for name, job in known.items()
            if job.succeeded_at is not None
        }
        failed = {name: int(job.error is not None) for name, job in known.items()}
        yield _gauges("catalog_job_success_age_seconds", "Time since a job last succeeded.", "job", ages_of)
        yield _gauges("catalog_job_failed", "Whether the last run of a job failed.", "job", failed)
        yield _gauge("catalog_uploads_open", "Uploads that are neither committed nor aborted.", uploads)
        yield _gauge("catalog_outbox_entries", "Changes that storage does not know yet.", outbox)

    def _storages(self) -> Iterator[Metric]:
        database = self._services.database
        mine = marks.of_catalog(database)
        names = marks.used_storages(database)
        for name in names:
            asking = Asking(f"storage {name}", partial(self._probe, name, mine))
            self._storage_askings.setdefault((name, mine), asking)
        answers = _answers({name: self._storage_askings[name, mine] for name in names})
        found = {name: probe for name, probe in answers.items() if probe is not None}
        up = {name: int(name in found) for name in names}
        seconds = {name: probe.seconds for name, probe in found.items()}
        free = {name: probe.free for name, probe in found.items() if probe.free is not None}
        yield _gauges("catalog_storage_up", "Whether a storage answers and has this catalog's mark.", "storage", up)
        yield _gauges("catalog_storage_probe_seconds", "Time that its answer took.", "storage", seconds)
        yield _gauges("catalog_storage_free_bytes", "Free bytes of a storage.", "storage", free)

    def _probe(self, name: str, mine: marks.Mark) -> Probe | None:
        begun = time.monotonic()
        try:
            provider = self._services.storages.get(name)
            marks.check(provider, mine)
            free = provider.free_bytes()
        except (StorageError, Unavailable, OSError):
            return None
        return Probe(time.monotonic() - begun, free)


def _answers(askings: Mapping[str, Asking[Answer | None]]) -> dict[str, Answer | None]:
    """Ask all at once; what has not answered in time is missing."""
    asked = {name: asking.ask() for name, asking in askings.items()}
    done = wait(asked.values(), PROBE_SECONDS).done
    return {name: future.result() for name, future in asked.items() if future in done}


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _gauges(name: str, text: str, label: str, values: Mapping[str, t.SupportsFloat]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for one, value in values.items():
        family.add_metric([one], float(value))
    return family


def _free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
