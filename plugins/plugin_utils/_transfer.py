# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This plugin util is private to the collection.

"""A module that runs on a managed host with a grant, in the background if many bytes move."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Blocked
from ansible_collections.macfleet.parallels.plugins.module_utils._api.records import MintedGrant
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

# What a job may take until it has renewed its grant for the first time.
START_SECONDS = 60.0


class TransferAction(CatalogAction):
    """Mints the grant, hands it over, and watches the transfer.

    The module first runs as usual. It plans, and does what is short; if many bytes must move it only says so, and is
    run again in the background.
    """

    _supports_async = True
    group_options: t.ClassVar[t.Collection[str]] = frozenset({*connection_spec(), *cache_spec()})

    # The module's own options that the controller must know.
    spec: t.ClassVar[Spec] = {}

    def needs_server(self, options: t.Mapping[str, t.Any]) -> bool:
        """Whether the module will ask the server anything."""
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
        args["handover"] = self._handover(connection, options)
        if self._task.async_val:
            return self._plainly(args, task_vars)
        result = self._plainly({**args, "handover": {**args["handover"], "phase": "auto"}}, task_vars)
        if not result.pop("transfer_pending", False):
            return result
        if args["handover"]["expires_at"] < time.time() + START_SECONDS:
            # It took that long to find out what there is to do.
            args["handover"] = self._handover(connection, options)
        return BackgroundJob(self, args, task_vars, time.monotonic, time.sleep).run()

    def _plainly(self, args: dict[str, t.Any], task_vars: dict[str, t.Any]) -> Result:
        wrap_async = bool(self._task.async_val)
        return dict(self._execute_module(module_args=args, task_vars=task_vars, wrap_async=wrap_async))

    def _handover(self, connection: Connection, options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        common = {"url": connection.url, "ca_certificates": connection.ca_certificates, "phase": "run"}
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
        "expires_at": int(grant.expires_at),
        "manifests": [manifest.to_json() for manifest in grant.manifests],
        "bases": [manifest.to_json() for manifest in grant.bases],
    }
