# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A million manifests: what one question costs."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator
from urllib.parse import quote

from ansible_collections.macfleet.parallels.tests.bench.report import AT_MOST, Bar
from ansible_collections.macfleet.parallels.tests.bench.server_burst import burst, request
from ansible_collections.macfleet.parallels.tests.bench.server_stand import ServerStand, server_stand
from ansible_collections.macfleet.parallels.tests.bench.stand import Bench
from ansible_collections.macfleet.parallels.tests.support.postgres import NoPostgres
from ansible_collections.macfleet.parallels.tests.support.postgres import running as postgres_running

CATALOG_IDS = 10_000
VERSIONS = 100
AUDIENCES = 200
SQLITE = "SQLite"
POSTGRESQL = "PostgreSQL"
GET_MS = 5
PAGE_MS = 20
_ASKED = 200


def measure_scale(bench: Bench) -> None:
    """On both databases, for a user who sees one of 200 manifests, and for one who sees all."""
    for database in (SQLITE, POSTGRESQL):
        try:
            with _settings(database) as settings:
                bench.say(f"{CATALOG_IDS * VERSIONS:,} manifests on {database}: putting them …")
                rows = ("--audiences", str(AUDIENCES))
                with server_stand(bench, *rows, catalog_ids=CATALOG_IDS, versions=VERSIONS, settings=settings) as stand:
                    _measure(stand, database)
        except NoPostgres as reason:
            bench.bars.append(Bar(f"a million manifests, {database}", None, "", note=str(reason)))


@contextlib.contextmanager
def _settings(database: str) -> Iterator[dict[str, str]]:
    if database == SQLITE:
        yield {}
        return
    with postgres_running() as postgres:
        yield {"CATALOG_DATABASE_URL": postgres.url(postgres.create())}


def _measure(stand: ServerStand, database: str) -> None:
    names = [place.catalog_id for place in stand.places]
    pages = ["/api/v1/manifests", *(f"/api/v1/manifests?cursor={quote(cursor)}" for cursor in stand.cursors)]
    resolve = "/api/v1/manifests/resolve?catalog_id="
    questions = {
        "GET manifest": (stand.token, stand.paths, GET_MS),
        "GET manifest, all rights": (stand.admin, stand.paths, GET_MS),
        "page of the list": (stand.token, pages, PAGE_MS),
        "page of the list, all rights": (stand.admin, pages, PAGE_MS),
        "list of one catalog id": (stand.token, [f"/api/v1/manifests?catalog_id={name}" for name in names], PAGE_MS),
        "resolve latest": (stand.token, [resolve + name for name in names], PAGE_MS),
        "resolve a range": (stand.token, [f"{resolve}{name}&version=" + quote(">=1.2,<2") for name in names], PAGE_MS),
    }
    for what, (token, paths, limit) in questions.items():
        milliseconds, slowest = _ask(stand, token, paths)
        note = f"one connection, median of {_ASKED}, slowest {slowest:.1f} ms"
        if len(paths) < _ASKED:
            note += f"; the slowest of {len(paths)} places of the list counts"
        title = f"{what}, a million manifests, {database}"
        stand.add(Bar(title, milliseconds, "ms", AT_MOST, limit, note))


def _ask(stand: ServerStand, token: str, paths: list[str]) -> tuple[float, float]:
    """The median, of few paths that of the slowest one; and the slowest answer; in milliseconds."""
    times: dict[str, list[float]] = {}
    chosen = [paths[number % len(paths)] for number in range(_ASKED)]
    for path, answer in zip(chosen, burst(stand.url, [request("GET", one, token) for one in chosen], 1)):
        if answer.status != 200:
            raise RuntimeError(f"{path} was answered {answer.status}: {answer.body[:200]!r}")
        times.setdefault(path if len(paths) < _ASKED else "", []).append(1000 * answer.seconds)
    return max(statistics.median(one) for one in times.values()), max(max(one) for one in times.values())
