# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is counted with each request.

With several workers, the library keeps the numbers in files of a directory that they share, and a scrape of one of them
tells the sums of all: https://prometheus.github.io/client_python/multiprocess/
"""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess, values

from catalog_server import connections
from catalog_server.identity.refusals import REASONS
from catalog_server.middleware import Done

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
UNMATCHED = "unmatched"
OTHER = "other"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PREFIXES = ("/api/v1", "/api")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)


def share_counts(directory: str, number: int) -> None:
    """Let this process, the worker of that number, keep what it counts in files of a directory.

    The next worker of the same number goes on with them: otherwise each that ends would leave its files for ever.
    """
    os.environ[DIRECTORY] = directory
    # The library has chosen when it was imported, and looks here for each metric that is made.
    values.ValueClass = values.MultiProcessValue(lambda: number)


class RequestMetrics:
    """Counts requests by the template of their route."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "catalog_http_requests",
            "Requests that were answered, by method, template of the route, and status.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "catalog_http_request_seconds",
            "Time from the head of a request to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._received = Counter(
            "catalog_http_received_bytes", "Bytes of the bodies of requests.", ("route",), registry=self.registry
        )
        self._sent = Counter(
            "catalog_http_sent_bytes", "Bytes of the bodies of answers.", ("route",), registry=self.registry
        )
        self._refusals = Counter(
            "catalog_login_refusals",
            "Logins and API keys that were refused, by reason.",
            ("reason",),
            registry=self.registry,
        )
        self._refused_connections = Counter(
            "catalog_connections_refused", "Connections that were too many.", ("reason",), registry=self.registry
        )
        for reason in connections.REASONS:
            self._refused_connections.labels(reason)

    def observe_refused_connection(self, reason: str) -> None:
        """Count a connection that was too many."""
        self._refused_connections.labels(reason).inc()

    def observe(self, done: Done) -> None:
        """Count a request that is over."""
        route = template(done.route)
        method = done.method if done.method in _METHODS else OTHER
        self._requests.labels(method, route, str(done.status)).inc()
        self._seconds.labels(route).observe(done.seconds)
        self._received.labels(route).inc(done.bytes_in)
        self._sent.labels(route).inc(done.bytes_out)
        if done.refused is not None:
            self._refusals.labels(done.refused if done.refused in REASONS else OTHER).inc()

    def text(self) -> bytes:
        """Return what was counted, by all processes that share a directory."""
        if DIRECTORY not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together)
        return generate_latest(together)


def template(route: str | None) -> str:
    """Return the template of a route without the prefix of the API; a word for what is no route."""
    if route is None:
        return UNMATCHED
    return next((route.removeprefix(one) for one in _PREFIXES if route.startswith(f"{one}/")), route)
