# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Connections and clients of the metadata server, as the options of a task say."""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.auth import GrantHolder
from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.http import Http
from ansible_collections.macfleet.parallels.plugins.module_utils._base.transport import Transport, TransportSettings
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.handover import handover
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.options import Params


def transport(params: Params, ca_certificates: t.Optional[str] = None) -> Transport:
    """Connections as the options say; ``ca_certificates`` are what ``ca_path`` holds, if somebody has read it."""
    return Transport(
        TransportSettings(
            validate_certs=params["validate_certs"],
            ca_path=params["ca_path"],
            ca_certificates=ca_certificates,
            client_cert=params["client_cert"],
            client_key=params["client_key"],
            timeout_seconds=float(params["timeout"]),
            use_proxy=params["use_proxy"],
        )
    )


def host_transport(params: Params) -> Transport:
    """Connections of a managed host, for signed transfers and for ``host_catalog``."""
    return transport(params, ca_certificates=(params.get("handover") or {}).get("ca_certificates"))


def host_grant(params: Params, connections: Transport) -> GrantHolder:
    """The grant of a managed host, which is renewed as long as the transfer goes on."""
    given = handover(params)
    client = _host_client(params, connections, dict)
    return GrantHolder(given.grant, given.expires_at, client.renew_grant)


def host_catalog(params: Params, connections: Transport, grant: GrantHolder) -> CatalogClient:
    """The server as a managed host may ask it: with its grant."""
    return _host_client(params, connections, grant.headers)


def _host_client(
    params: Params, connections: Transport, authorization: t.Callable[[], t.Mapping[str, str]]
) -> CatalogClient:
    url, timeout_seconds = handover(params).url, float(params["timeout"])
    return CatalogClient(Http(url, connections.send, authorization=authorization, timeout_seconds=timeout_seconds))
