# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This plugin util is private to the collection.

"""A module that runs on a managed host with a grant, in the background if many bytes move."""

from __future__ import annotations

import secrets
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Blocked
from ansible_collections.macfleet.parallels.plugins.module_utils._api.tokens import MintedGrant
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.background import NAME_PREFIX
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.boundary import register_secret
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.options import (
    CREDENTIALS,
    Spec,
    cache_spec,
    connection_spec,
)
from ansible_collections.macfleet.parallels.plugins.plugin_utils._action import CatalogAction, Result
from ansible_collections.macfleet.parallels.plugins.plugin_utils._background import BackgroundJob
from ansible_collections.macfleet.parallels.plugins.plugin_utils._connection import Connection, given


class TransferAction(CatalogAction):
    """Mints the grant, hands it over, and watches the transfer.

    The module runs once. It plans, and does what is short; if many bytes must move it goes to the background, and says
    where it can be watched.
    """

    _supports_async = True
    group_options: t.ClassVar[t.Collection[str]] = frozenset({*connection_spec(), *cache_spec()})

    # The module's own options that the controller must know.
    spec: t.ClassVar[Spec] = {}

    def needs_server(self, options: t.Mapping[str, t.Any]) -> bool:
        """Return True if the module will ask the server anything."""
        return True

    def mint(self, client: CatalogClient, options: t.Mapping[str, t.Any]) -> MintedGrant:
        """Ask for the grant."""
        raise NotImplementedError

    def perform(self, task_vars: dict[str, t.Any]) -> Result:
        """Called by ``run``."""
        options = self.checked({**connection_spec(), **self.spec}, partly=True)
        args = {name: value for name, value in self._task.args.items() if name not in CREDENTIALS}
        # A play does not set it, and one that does gains nothing.
        args.pop("handover", None)
        if not self.needs_server(options):
            # What came from another catalog is not meant.
            url = given("catalog_url", options)
            return self._plainly({**args, "catalog_url": url} if url else args, task_vars)
        connection = self.connection(options)
        # Its certificates are handed over; the file is on the controller.
        args.pop("ca_path", None)
        handover = self._handover(connection, options)
        if self._task.async_val:
            return self._plainly({**args, "handover": handover}, task_vars)
        path = self._progress_path()
        args["handover"] = {**handover, "progress_path": path}
        job = BackgroundJob(self, path, self._line_name(options, task_vars))
        return job.run(lambda: self._plainly(args, task_vars))

    def _progress_path(self) -> str:
        """Return a new name. Only the host knows where its user's home is, so a path that begins there stays so."""
        directory = str(self.get_shell_option("async_dir", default="~/.ansible_async"))
        return str(self._connection._shell.join_path(directory, NAME_PREFIX + secrets.token_hex(8)))

    def _line_name(self, options: t.Mapping[str, t.Any], task_vars: t.Mapping[str, t.Any]) -> str:
        """Return what stands before each line of progress."""
        host = str(task_vars.get("inventory_hostname"))
        if self._task.delegate_to:
            host += f" -> {self._task.delegate_to}"
        words = (self._task.action.rpartition(".")[2], options["catalog_id"], options["version"])
        return f"[{host}] " + " ".join(str(word) for word in words if word)

    def _plainly(self, args: dict[str, t.Any], task_vars: dict[str, t.Any]) -> Result:
        wrap_async = bool(self._task.async_val)
        return dict(self._execute_module(module_args=args, task_vars=task_vars, wrap_async=wrap_async))

    def _handover(self, connection: Connection, options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        common = {"url": connection.url, "ca_certificates": connection.ca_certificates}
        try:
            grant = self.mint(connection.client(), options)
        except Blocked as error:
            # The host knows whether that matters: what it has already, it keeps.
            return {**common, "blocked": error.code, "blocked_message": error.message}
        register_secret(grant.token)
        return {**common, **_described(grant)}


def _described(grant: MintedGrant) -> dict[str, t.Any]:
    return {
        "grant": grant.token,
        "lifetime_seconds": grant.lifetime_seconds,
        "manifests": [manifest.to_json() for manifest in grant.manifests],
        "bases": [manifest.to_json() for manifest in grant.bases],
    }
