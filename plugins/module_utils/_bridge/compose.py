# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The composition root of modules that run on a managed host: makes their ``Context`` from their options."""

from __future__ import annotations

import os
import pwd
import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.auth import GrantHolder
from ansible_collections.macfleet.parallels.plugins.module_utils._base.retry import delays
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge import connections, options, progress_file
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.commands import CommandRunner
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import CacheSettings, Context, Remote
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.transfers import SignedTransfers
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import PrlctlMissing
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import Prlctl, find_prlctl
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.signed import SignedTransfer

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# Tries of one request to a storage: with their pauses about a minute, the length of a reboot of a switch.
_TRANSFER_ATTEMPTS = 7


def host_context(module: AnsibleModule, doing: str) -> Context:
    """Return the context of a task that needs nothing but this host."""
    return _context(module, doing, None, _stay)


def _stay() -> None:
    """The task waits for the end of the module, however long it takes."""


def transfer_context(module: AnsibleModule, doing: str, before_long: t.Callable[[], None]) -> Context:
    """Return the context of a task that asks the metadata server with the grant that was handed over."""
    grant = connections.host_grant(module.params, connections.host_transport(module.params))
    return _context(module, doing, grant, before_long)


def _context(
    module: AnsibleModule, doing: str, grant: t.Optional[GrantHolder], before_long: t.Callable[[], None]
) -> Context:
    progress = progress_file.progress(module, grant)
    remote = None
    if grant is not None:
        transport = connections.host_transport(module.params)
        catalog = connections.host_catalog(module.params, transport, grant)
        transfer = SignedTransfer(transport.connect, progress.alive)
        remote = Remote(catalog, SignedTransfers(catalog, transfer, _transfer_delays, time.sleep))
    return Context(_cache_settings(module.params), progress, module.warn, doing, _prlctl(module), remote, before_long)


def _cache_settings(params: options.Params) -> CacheSettings:
    # A push has no options of the cache: it uses the one that a pull would use by default.
    given = {name: params.get(name, option.get("default")) for name, option in options.cache_spec().items()}
    return CacheSettings(
        os.path.abspath(os.path.expanduser(given["cache_path"])),
        given["facts_directory"],
        _user_name(),
        float(given["lock_timeout"]),
    )


def _user_name() -> str:
    """Return who runs this module; after su(1) without a login, the environment still names somebody else."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _transfer_delays() -> t.Iterator[float]:
    return delays(_TRANSFER_ATTEMPTS)


def _prlctl(module: AnsibleModule) -> t.Optional[Prlctl]:
    given = module.params["prlctl_path"]
    if given and not os.access(given, os.X_OK):
        raise PrlctlMissing(
            f"There is no program {given} on this host.", "Correct prlctl_path, or leave it out to look for prlctl."
        )
    try:
        return Prlctl(CommandRunner(), given or find_prlctl())
    except PrlctlMissing:
        return None
