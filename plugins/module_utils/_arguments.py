# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The bridge between AnsibleModule and the rest: groups of options in, errors as ``fail_json`` out.

Each group of options has its documentation in the fragment that its function names. What the rooms need of a module
(connections, a client of the server, progress) is made here from its options; commands are run by ``_commands.py``.
"""

from __future__ import annotations

import contextlib
import json
import os
import traceback
import typing as t
from dataclasses import dataclass, field

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.macfleet.parallels.plugins.module_utils._api.auth import GrantHolder
from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Blocked
from ansible_collections.macfleet.parallels.plugins.module_utils._api.http import HINTS, Http
from ansible_collections.macfleet.parallels.plugins.module_utils._api.records import Manifest, manifests_from_json
from ansible_collections.macfleet.parallels.plugins.module_utils._errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._progress import Progress, Snapshot
from ansible_collections.macfleet.parallels.plugins.module_utils._transport import Transport, TransportSettings

try:
    from ansible.module_utils import secrets as _secrets  # type: ignore[attr-defined,unused-ignore]
except ImportError:  # before ansible-core 2.22
    _secrets = None


Spec = t.Dict[str, t.Dict[str, t.Any]]
Params = t.Mapping[str, t.Any]

# What never leaves the controller.
CREDENTIALS = ("catalog_username", "catalog_password", "catalog_api_key", "catalog_token")
# Whoever watches a transfer writes this file beside the progress to end it.
CANCEL_SUFFIX = ".cancel"
_PROGRESS_BYTES = 512


class NoHandover(CatalogError):
    """The module runs without its action plugin."""

    code = "no_handover"


class SystemFailure(CatalogError):
    """The operating system refused something that nobody expected it to."""

    code = "system_failure"


class Cancelled(CatalogError):
    """Whoever watched the transfer gave it up."""

    code = "cancelled"


# Groups of options


def connection_spec() -> Spec:
    """How to reach the metadata server: fragment ``_catalog``."""
    return {
        "catalog_url": {"type": "str"},
        "catalog_username": {"type": "str"},
        "catalog_password": {"type": "str", "no_log": True},
        "catalog_api_key": {"type": "str", "no_log": True},
        "catalog_token": {"type": "str", "no_log": True},
        "validate_certs": {"type": "bool", "default": True},
        "ca_path": {"type": "path"},
        "client_cert": {"type": "path"},
        "client_key": {"type": "path", "no_log": False},
        "timeout": {"type": "int", "default": 30},
        "use_proxy": {"type": "bool", "default": True},
    }


def handover_spec() -> Spec:
    """What the action plugin gives to the managed host: fragment ``_catalog.handover``."""
    options: Spec = {
        "url": {"type": "str"},
        "grant": {"type": "str", "no_log": True},
        "expires_at": {"type": "int"},
        "manifests": {"type": "list", "elements": "dict"},
        "bases": {"type": "list", "elements": "dict"},
        "blocked": {"type": "str", "choices": ["tainted", "revoked"]},
        "blocked_message": {"type": "str"},
        "ca_certificates": {"type": "str"},
        "phase": {"type": "str", "choices": ["auto", "run"], "default": "run"},
        "progress_path": {"type": "path"},
    }
    return {"handover": {"type": "dict", "options": options}}


def cache_spec() -> Spec:
    """Where a managed host keeps its images: fragment ``_cache``."""
    return {
        "cache_path": {"type": "path", "default": "~/Library/Application Support/macfleet.parallels"},
        "facts_directory": {"type": "path", "default": "/var/db/macfleet.parallels/facts"},
        "lock_timeout": {"type": "int", "default": 3600},
        "prlctl_path": {"type": "path"},
    }


def manifest_spec() -> Spec:
    """The options of ``catalog_manifest``."""
    return {
        "catalog_id": {"type": "str", "required": True},
        "version": {"type": "str", "required": True},
        "architecture": {"type": "str"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "description": {"type": "str"},
        "tags": {"type": "list", "elements": "str"},
        "required_roles": {"type": "list", "elements": "str"},
        "required_claims": {"type": "list", "elements": "str"},
        "minimum_requirements": {
            "type": "dict",
            "options": {"cpu": {"type": "int"}, "memory_mb": {"type": "int"}, "disk_mb": {"type": "int"}},
        },
        "tainted": {"type": "bool"},
        "revoked": {"type": "bool"},
    }


def info_spec() -> Spec:
    """The options of ``catalog_manifest_info``."""
    return {
        "catalog_id": {"type": "str"},
        "version": {"type": "str"},
        "architecture": {"type": "str"},
        "tag": {"type": "str"},
        "type": {"type": "str", "choices": ["pvm", "macvm"]},
        "tainted": {"type": "bool"},
        "revoked": {"type": "bool"},
        "query": {"type": "str"},
    }


# The boundary


def register_secret(value: str) -> None:
    """Have Ansible mask a secret wherever it shows up, if it can."""
    if _secrets is not None:
        _secrets.register_secret(value)


def make_module(spec: Spec, **rules: t.Any) -> AnsibleModule:
    """An AnsibleModule with check mode; ``rules`` are ``required_if`` and the like."""
    return AnsibleModule(argument_spec=spec, supports_check_mode=True, **rules)


def run(module: AnsibleModule, function: t.Callable[[], t.Mapping[str, t.Any]]) -> t.NoReturn:
    """Return what ``function`` returns, and turn its errors into failures with an ``error_code``."""
    try:
        result = function()
    except CatalogError as error:
        module.fail_json(exception=traceback.format_exc(), **failure(error))
    except OSError as error:
        # The rooms say what they tried on what; this is for what none of them thought of.
        module.fail_json(exception=traceback.format_exc(), **failure(_from_system(error)))
    module.exit_json(**result)


def _from_system(error: OSError) -> CatalogError:
    where = f" on {error.filename}" if error.filename else ""
    return SystemFailure(
        f"The operating system refused something{where}: {error.strerror or error}.",
        "See the traceback (-vvv) for what it was.",
    )


def failure(error: CatalogError) -> dict[str, t.Any]:
    """An error as the result of a module or action."""
    return {"msg": str(error), "error_code": error.code, "hint": error.hint, "details": error.details}


def require(library: str, found: bool, reason: str) -> None:
    """Raise an error that says how to get a Python package which is only needed for some uses."""
    if not found:
        error = CatalogError(missing_required_lib(library, reason=reason))
        error.code = "missing_library"
        raise error


# What the rooms are given


@dataclass(frozen=True)
class Handover:
    """What the controller found out for this host; ``blocked`` is why the version must not be pulled."""

    url: str
    grant: str = field(repr=False)
    expires_at: float
    manifests: tuple[Manifest, ...]
    bases: tuple[Manifest, ...]
    blocked: t.Optional[Blocked]


def handover(params: Params) -> Handover:
    """The handover among a module's options.

    :raises NoHandover: there is none
    """
    given = params.get("handover") or {}
    if not given.get("url") or not (given.get("grant") or given.get("blocked")):
        raise NoHandover(
            "This module cannot do its work without what its action plugin finds out on the controller.",
            "Run it as macfleet.parallels.… in a play, without setting handover.",
        )
    return Handover(
        url=given["url"],
        grant=given.get("grant") or "",
        expires_at=float(given.get("expires_at") or 0),
        manifests=manifests_from_json(given.get("manifests") or []),
        bases=manifests_from_json(given.get("bases") or []),
        blocked=_blocked(given),
    )


def _blocked(given: t.Mapping[str, t.Any]) -> t.Optional[Blocked]:
    word = given.get("blocked")
    if not word:
        return None
    return Blocked(given.get("blocked_message") or f"The version is {word}.", HINTS[word], code=word)


def may_defer(params: Params) -> bool:
    """Whether a long transfer is to be announced, for the action plugin to start it in the background."""
    return bool((params.get("handover") or {}).get("phase") == "auto")


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


# Progress


def progress(module: AnsibleModule, grant: t.Optional[GrantHolder] = None) -> Progress:
    """Counters that write where the action plugin looks, if it does; each report is an occasion to keep the grant."""
    watchers: list[t.Callable[[Snapshot], None]] = []
    path = (module.params.get("handover") or {}).get("progress_path")
    if path:
        for name in (path, path + CANCEL_SUFFIX):
            module.add_cleanup_file(name)
        told = ProgressFile(path)
        # Before anything that takes its time: the controller looks for this process, and gives up what was never there.
        told({})
        watchers.append(told)
    if grant is not None:
        watchers.append(lambda snapshot: grant.keep())

    def report(snapshot: Snapshot) -> None:
        for watcher in watchers:
            watcher(snapshot)

    return Progress(report)


class ProgressFile:
    """The latest snapshot of a transfer in a small file, for whoever polls.

    It is written in place, padded to one length, in one call: short enough for a reader to see the old one or the
    new one, and no harm is done if it sees neither.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: t.Optional[int] = None

    def __call__(self, snapshot: Snapshot) -> None:
        """Write ``snapshot``.

        :raises Cancelled: somebody asked for it
        """
        if os.path.exists(self._path + CANCEL_SUFFIX):
            raise Cancelled(
                "The transfer was cancelled by the controller.", "Run the task again; it goes on from there."
            )
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        told = {**snapshot, "pid": os.getpid()}
        data = json.dumps(told).encode("ascii").ljust(_PROGRESS_BYTES)[:_PROGRESS_BYTES]
        # A full disk ends the transfer where it is written to. This may be called from inside of a request, which would
        # seem to have failed.
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, data, 0)
