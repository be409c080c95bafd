# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The composition root of modules that run on a managed host: makes their ``Context`` from their options."""

from __future__ import annotations

import contextlib
import os
import pwd
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._base.link_meter import LinkMeter
from ansible_collections.macfleet.parallels.plugins.module_utils._base.progress import Progress
from ansible_collections.macfleet.parallels.plugins.module_utils._base.repeated import Repeated
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge import connections, options, progress_file
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.commands import CommandRunner
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.handover import handover
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import CacheSettings, Context, Remote
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.transfers import (
    SignedTransfers,
    TransferSettings,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import PrlctlMissing
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import Prlctl, find_prlctl
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.signed import SignedTransfer

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

_MOST_CONNECTIONS = 64


class InvalidOption(CatalogError):
    """An option has a value that is not possible."""

    code = "invalid_option"


@contextlib.contextmanager
def host_context(module: AnsibleModule, doing: str) -> t.Iterator[Context]:
    """Yield the context of a task that needs nothing but this host."""
    progress = progress_file.progress(module)
    with progress.reporting():
        yield _context(module, doing, progress, None, _stay)


def _stay() -> None:
    """The task waits for the end of the module, however long it takes."""


@contextlib.contextmanager
def transfer_context(module: AnsibleModule, doing: str, before_long: t.Callable[[], None]) -> t.Iterator[Context]:
    """Yield the context of a task that asks the metadata server with the grant that was handed over.

    While it is open, a thread of its own renews the grant.
    """
    params = module.params
    progress = progress_file.progress(module)
    meter = LinkMeter()
    with contextlib.ExitStack() as stack:
        transport = connections.host_transport(params, meter)
        stack.callback(transport.close)
        grant = connections.host_grant(params, transport)
        catalog = connections.host_catalog(params, transport, grant, progress.sleep)
        transfer = SignedTransfer(transport.connect, progress.moved, https_only=_is_https(params), meter=meter)
        stack.callback(transfer.close)
        settings = TransferSettings(connections.host_patience(params), _connection_count(params), progress.sleep)
        stack.enter_context(progress.reporting())
        stack.enter_context(Repeated(grant.keep, progress.fail, "grant"))
        remote = Remote(catalog, SignedTransfers(catalog, transfer, progress, settings, meter))
        yield _context(module, doing, progress, remote, before_long)


def _context(
    module: AnsibleModule,
    doing: str,
    progress: Progress,
    remote: t.Optional[Remote],
    before_long: t.Callable[[], None],
) -> Context:
    return Context(_cache_settings(module.params), progress, module.warn, doing, _prlctl(module), remote, before_long)


def _is_https(params: options.Params) -> bool:
    return handover(params).url.strip().lower().startswith("https:")


def _connection_count(params: options.Params) -> t.Optional[int]:
    count: t.Optional[int] = params.get("connections")
    if count is not None and not 1 <= count <= _MOST_CONNECTIONS:
        raise InvalidOption(
            f"{count} connections are not possible.", f"Set connections to a number from 1 to {_MOST_CONNECTIONS}."
        )
    return count


def _cache_settings(params: options.Params) -> CacheSettings:
    given = {name: params[name] for name in options.cache_spec()}
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
