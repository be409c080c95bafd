# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""catalog_user: all of it runs on the controller."""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.users import UserClient
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.options import connection_spec, user_spec
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.administration import users as _users
from ansible_collections.macfleet.parallels.plugins.plugin_utils._action import CatalogAction, Result


class ActionModule(CatalogAction):
    """Makes a user as the task wants it."""

    _requires_connection = False

    def perform(self, task_vars: dict[str, t.Any]) -> Result:
        """Called by ``run``."""
        options = self.checked({**connection_spec(), **user_spec()})
        client = UserClient(self.connection(options).http())
        return _users.ensure(client, options, check_mode=self._task.check_mode, diff=self._task.diff)
