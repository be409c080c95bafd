# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""catalog_id: all of it runs on the controller."""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog_ids import CatalogIdClient
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.options import catalog_id_spec, connection_spec
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.administration import (
    catalog_ids as _catalog_ids,
)
from ansible_collections.macfleet.parallels.plugins.plugin_utils._action import CatalogAction, Result


class ActionModule(CatalogAction):
    """Makes a catalog id as the task wants it."""

    _requires_connection = False

    def perform(self, task_vars: dict[str, t.Any]) -> Result:
        """Called by ``run``."""
        options = self.checked({**connection_spec(), **catalog_id_spec()})
        client = CatalogIdClient(self.connection(options).http())
        return _catalog_ids.ensure(client, options, check_mode=self._task.check_mode, diff=self._task.diff)
