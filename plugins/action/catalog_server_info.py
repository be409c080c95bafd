# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""catalog_server_info: all of it runs on the controller."""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.options import (
    connection_spec,
    server_info_spec,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.administration import (
    server_info as _server_info,
)
from ansible_collections.macfleet.parallels.plugins.plugin_utils._action import CatalogAction, Result


class ActionModule(CatalogAction):
    """Asks the server what it is and has."""

    _requires_connection = False

    def perform(self, task_vars: dict[str, t.Any]) -> Result:
        """Called by ``run``."""
        options = self.checked({**connection_spec(), **server_info_spec()})
        return _server_info.query(self.connection(options).http(), options["gather"])
