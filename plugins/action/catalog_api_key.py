# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""catalog_api_key: all of it runs on the controller."""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.api_keys import ApiKeyClient
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.options import api_key_spec, connection_spec
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.administration import api_keys as _api_keys
from ansible_collections.macfleet.parallels.plugins.plugin_utils._action import CatalogAction, Result
from ansible_collections.macfleet.parallels.plugins.plugin_utils._connection import OptionError


class ActionModule(CatalogAction):
    """Makes an API key, and hides its secret from the output, or revokes it."""

    _requires_connection = False

    def perform(self, task_vars: dict[str, t.Any]) -> Result:
        """Called by ``run``."""
        options = self.checked({**connection_spec(), **api_key_spec()})
        if options["state"] == "present" and (options["expires_days"] is None) is not options["never_expires"]:
            raise OptionError(
                "It is not clear when the API key shall expire.", "Set either expires_days or never_expires: true."
            )
        client = ApiKeyClient(self.connection(options).http())
        result = _api_keys.ensure(client, options, check_mode=self._task.check_mode, diff=self._task.diff)
        if "secret" in result:
            # The variable that the task registers has it; no callback and no log does.
            self._task.no_log = True
        return result
