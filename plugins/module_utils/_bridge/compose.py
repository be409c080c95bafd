# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Makes the tools of the use cases out of the options of a module that runs on a managed host."""

from __future__ import annotations

import os
import pwd
import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.auth import GrantHolder
from ansible_collections.macfleet.parallels.plugins.module_utils._base.retry import (
    delays,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge import (
    connections,
    progress_file,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.commands import (
    CommandRunner,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import (
    cache as _cache,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import (
    pull as _pull,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import (
    pull_image as _pull_image,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import (
    push as _push,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import PrlctlMissing
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import Prlctl, find_prlctl
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.signed import SignedTransfer

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# Tries of one request to a storage: with their pauses about a minute, the length of a reboot of a switch.
_TRANSFER_ATTEMPTS = 7


def push_tools(module: AnsibleModule) -> _push.Tools:
    """The tools of ``_push``."""
    transport = connections.host_transport(module.params)
    grant = connections.host_grant(module.params, transport)
    progress = progress_file.progress(module, grant)
    return _push.Tools(
        connections.host_catalog(module.params, transport, grant),
        SignedTransfer(transport.connect, progress.alive),
        _transfer_delays,
        time.sleep,
        _prlctl(module),
        progress,
        module.warn,
    )


def pull_tools(module: AnsibleModule) -> _pull.Tools:
    """The tools of ``_pull``; those of the image half only where the state has need of an image."""
    if module.params["state"] == _pull.ABSENT:
        return _pull.Tools(cache_tools(module), None)
    transport = connections.host_transport(module.params)
    grant = connections.host_grant(module.params, transport)
    tools = cache_tools(module, grant)
    image = _pull_image.ImageTools(
        connections.host_catalog(module.params, transport, grant),
        SignedTransfer(transport.connect, tools.progress.alive),
        _transfer_delays,
        time.sleep,
        tools.progress,
        module.warn,
        f"a pull of {module.params['catalog_id']}",
        float(module.params["lock_timeout"]),
    )
    return _pull.Tools(tools, image)


def cache_tools(module: AnsibleModule, grant: t.Optional[GrantHolder] = None) -> _cache.Tools:
    """The tools of ``_cache``; with ``grant`` for whoever moves an image as well."""
    params = module.params
    settings = _cache.CacheSettings(
        os.path.abspath(os.path.expanduser(params["cache_path"])),
        params["facts_directory"],
        _user_name(),
        float(params["lock_timeout"]),
    )
    return _cache.Tools(settings, _prlctl(module), module.warn, progress_file.progress(module, grant))


def _user_name() -> str:
    """Who runs this module; after su(1) without a login, the environment still names somebody else."""
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
        return Prlctl(CommandRunner(module), given or find_prlctl())
    except PrlctlMissing:
        return None
