# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Makes the tools of the use cases out of the options of a module that runs on a managed host."""

from __future__ import annotations

import getpass
import json
import os
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils import _cache, _pull, _pull_image, _push
from ansible_collections.macfleet.parallels.plugins.module_utils._api.auth import GrantHolder
from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import BadRequest, Blocked
from ansible_collections.macfleet.parallels.plugins.module_utils._api.http import Http
from ansible_collections.macfleet.parallels.plugins.module_utils._api.records import Manifest, manifests_from_json
from ansible_collections.macfleet.parallels.plugins.module_utils._commands import CommandRunner
from ansible_collections.macfleet.parallels.plugins.module_utils._files import write_file_durably
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import PrlctlMissing
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import Prlctl, find_prlctl
from ansible_collections.macfleet.parallels.plugins.module_utils._progress import Progress, Snapshot, silent
from ansible_collections.macfleet.parallels.plugins.module_utils._retry import delays
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.signed import SignedTransfer
from ansible_collections.macfleet.parallels.plugins.module_utils._transport import Transport, TransportSettings

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# Tries of one request to a storage: with their pauses about a minute, the length of a reboot of a switch.
_TRANSFER_ATTEMPTS = 7


@dataclass(frozen=True)
class Handover:
    """What the controller found out: see the option ``handover``."""

    manifests: tuple[Manifest, ...]
    bases: tuple[Manifest, ...]
    blocked: t.Optional[Blocked]
    may_defer: bool


def handover(params: t.Mapping[str, t.Any]) -> Handover:
    """The option ``handover``, empty when the task has no need of the server."""
    given = params.get("handover") or {}
    blocked = None
    if given.get("blocked_code"):
        blocked = Blocked(given["blocked_message"] or "", code=given["blocked_code"])
    return Handover(
        manifests_from_json(given.get("manifests")),
        manifests_from_json(given.get("bases")),
        blocked,
        given.get("phase") == "auto",
    )


def push_tools(module: AnsibleModule) -> _push.Tools:
    """The tools of ``_push``."""
    transport = _transport(module.params)
    return _push.Tools(
        _catalog(module.params, transport),
        SignedTransfer(transport.connect),
        _transfer_delays,
        time.sleep,
        _prlctl(module),
        _progress(module.params),
    )


def pull_tools(module: AnsibleModule) -> _pull.Tools:
    """The tools of ``_pull``."""
    params = module.params
    transport = _transport(params)
    tools = cache_tools(module)
    image = _pull_image.ImageTools(
        _catalog(params, transport),
        SignedTransfer(transport.connect),
        _transfer_delays,
        time.sleep,
        tools.progress,
        module.warn,
        f"a pull of {params['catalog_id']}",
        float(params["lock_timeout"]),
    )
    return _pull.Tools(tools, image)


def cache_tools(module: AnsibleModule) -> _cache.Tools:
    """The tools of ``_cache``."""
    params = module.params
    settings = _cache.CacheSettings(
        os.path.abspath(os.path.expanduser(params["cache_path"])),
        params["facts_directory"],
        getpass.getuser(),
        float(params["lock_timeout"]),
    )
    return _cache.Tools(settings, _prlctl(module), module.warn, _progress(params))


def _transfer_delays() -> t.Iterator[float]:
    return delays(_TRANSFER_ATTEMPTS)


def _transport(params: t.Mapping[str, t.Any]) -> Transport:
    given = params.get("handover") or {}
    return Transport(
        TransportSettings(
            validate_certs=params["validate_certs"],
            ca_certificates=given.get("ca_certificates"),
            client_cert=params["client_cert"],
            client_key=params["client_key"],
            timeout_seconds=float(params["timeout"]),
            use_proxy=params["use_proxy"],
        )
    )


def _catalog(params: t.Mapping[str, t.Any], transport: Transport) -> CatalogClient:
    """A client with the grant of the handover, which it renews itself."""
    given = params.get("handover") or {}
    url, timeout_seconds = given.get("url") or "", float(params["timeout"])
    if not url or not given.get("grant"):

        def refuse() -> dict[str, str]:
            raise BadRequest(
                "The module was run without its action plugin, so it has no grant to talk to the catalog server.",
                "Call it by its full name in a play, and name the server by catalog_url.",
            )

        return CatalogClient(Http("http://localhost", transport.send, authorization=refuse))
    bare = CatalogClient(Http(url, transport.send, timeout_seconds=timeout_seconds))
    holder = GrantHolder(given["grant"], float(given["expires_at"]), bare.renew_grant)
    return CatalogClient(Http(url, transport.send, authorization=holder.headers, timeout_seconds=timeout_seconds))


def _prlctl(module: AnsibleModule) -> t.Optional[Prlctl]:
    try:
        return Prlctl(CommandRunner(module), module.params["prlctl_path"] or find_prlctl())
    except PrlctlMissing:
        return None


def _progress(params: t.Mapping[str, t.Any]) -> Progress:
    path = (params.get("handover") or {}).get("progress_path")
    if not path:
        return silent()

    def write(snapshot: Snapshot) -> None:
        write_file_durably(path, json.dumps(snapshot).encode(), 0o600)

    return Progress(write)
