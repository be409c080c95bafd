# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""catalog_manifest_info: all of it runs on the controller."""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.options import connection_spec, info_spec
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import manifests as _manifests
from ansible_collections.macfleet.parallels.plugins.plugin_utils._action import CatalogAction, Result
from ansible_collections.macfleet.parallels.plugins.plugin_utils._query import search


class ActionModule(CatalogAction):
    """Lists records, and evaluates the query over them."""

    _requires_connection = False

    def perform(self, task_vars: dict[str, t.Any]) -> Result:
        """Called by ``run``."""
        options = self.checked({**connection_spec(), **info_spec()})
        client = self.connection(options).client()
        found = _manifests.query(client, options)
        manifests = [manifest.to_json() for manifest in found]
        result: Result = {"changed": False, "manifests": manifests}
        hint = _manifests.hint(options, found)
        if hint:
            result["warnings"] = [hint]
        if options["query"]:
            result["result"] = search(options["query"], manifests)
        return result
