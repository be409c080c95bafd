# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``GET /metrics``, for those that may read it: addresses of the settings, or whoever has the token."""

from __future__ import annotations

import hmac

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from catalog_server.errors import Forbidden, Unauthenticated
from catalog_server.metrics.requests import RequestMetrics
from catalog_server.metrics.state import StateCollector
from catalog_server.networks import is_in
from catalog_server.openapi.operation import ANYBODY, operation
from catalog_server.settings import Settings

PATH = "/metrics"


class Metrics:
    """All metrics of one process."""

    def __init__(self, requests: RequestMetrics, state: StateCollector) -> None:
        self._requests = requests
        self._now = CollectorRegistry()
        self._now.register(state)
        ProcessCollector(registry=self._now)

    def text(self) -> bytes:
        """Return them as Prometheus reads them."""
        return self._requests.text() + generate_latest(self._now)


# Not a part of the API: it has its own rights, and no other prefix.
router = APIRouter(include_in_schema=False)


@router.get(PATH, openapi_extra=operation(ANYBODY))
def read_metrics(request: Request) -> Response:
    """What Prometheus reads."""
    check(request, request.app.state.services.settings)
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


def check(request: Request, settings: Settings) -> None:
    """Check that whoever asks may read the metrics.

    :raises Forbidden: neither is the address allowed, nor is there a token
    :raises Unauthenticated: the token is not the one of the settings
    """
    scheme, _space, given = request.headers.get("authorization", "").partition(" ")
    if settings.metrics_token is not None and scheme.lower() == "bearer":
        if hmac.compare_digest(given.strip().encode(), settings.metrics_token.get_secret_value().encode()):
            return
        raise Unauthenticated("The token is not the one that reads the metrics.")
    if not _is_allowed(request, settings):
        raise Forbidden("The metrics are not for your address: see CATALOG_METRICS_ALLOW and CATALOG_METRICS_TOKEN.")


def _is_allowed(request: Request, settings: Settings) -> bool:
    address = request.client.host if request.client is not None else ""
    forwarded = [part.strip() for part in request.headers.get("x-forwarded-for", "").split(",") if part.strip()]
    if forwarded and address not in forwarded:
        # A proxy that is not trusted: its own address says nothing about who asks.
        return False
    return is_in(address, settings.metrics_networks)
