# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Connections and clients of the metadata server, as the options of a task say."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.auth import GrantHolder
from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.http import Http
from ansible_collections.macfleet.parallels.plugins.module_utils._base.link_meter import LinkMeter
from ansible_collections.macfleet.parallels.plugins.module_utils._base.retry import NEVER, Patience
from ansible_collections.macfleet.parallels.plugins.module_utils._base.transport import Transport, TransportSettings
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.handover import handover
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.options import Params

# Requests that may be repeated are tried again for so many timeouts: four minutes by default, in which a switch or a
# server restarts.
_PATIENCE_TIMEOUTS = 8


def transport(
    params: Params, ca_certificates: t.Optional[str] = None, meter: t.Optional[LinkMeter] = None
) -> Transport:
    """Return connections as the options say; ``ca_certificates`` are what ``ca_path`` holds, if it was read."""
    return Transport(
        TransportSettings(
            validate_certs=params["validate_certs"],
            ca_path=params["ca_path"],
            ca_certificates=ca_certificates,
            client_cert=params["client_cert"],
            client_key=params["client_key"],
            timeout_seconds=float(params["timeout"]),
            use_proxy=params["use_proxy"],
        ),
        meter,
    )


def host_transport(params: Params, meter: t.Optional[LinkMeter] = None) -> Transport:
    """Return the connections of a managed host, for signed transfers and for ``host_catalog``."""
    return transport(params, (params.get("handover") or {}).get("ca_certificates"), meter)


def host_patience(params: Params) -> Patience:
    """Return how long a managed host tries a request again."""
    return Patience(float(params["timeout"]) * _PATIENCE_TIMEOUTS)


def host_grant(params: Params, connections: Transport) -> GrantHolder:
    """Return the grant of a managed host. Whoever keeps it decides when a renewal that failed is tried again."""
    given = handover(params)
    client = CatalogClient(_http(params, connections, dict, NEVER, NEVER, time.sleep))
    return GrantHolder(given.grant, given.lifetime_seconds, client.renew_grant)


def host_catalog(
    params: Params, connections: Transport, grant: GrantHolder, sleep: t.Callable[[float], None] = time.sleep
) -> CatalogClient:
    """Return the server as a managed host may ask it: with its grant."""
    patience = host_patience(params)
    # A server that has never answered is more likely a wrong address than one that restarts.
    first = Patience(float(params["timeout"]))
    return CatalogClient(_http(params, connections, grant.headers, patience, first, sleep))


def _http(
    params: Params,
    connections: Transport,
    authorization: t.Callable[[], t.Mapping[str, str]],
    patience: Patience,
    first_patience: Patience,
    sleep: t.Callable[[float], None],
) -> Http:
    return Http(
        handover(params).url,
        connections.send,
        authorization=authorization,
        timeout_seconds=float(params["timeout"]),
        patience=patience,
        first_patience=first_patience,
        sleep=sleep,
    )
