# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""hand_over: runs a module on the managed host with the handover that the test says, which no play can do."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """See above. ``module`` is the name, ``args`` are the options of the module."""

    _supports_check_mode = True

    def run(self, tmp: t.Any = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Called by Ansible."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        wanted = self._task.args
        result.update(
            self._execute_module(module_name=wanted["module"], module_args=wanted["args"], task_vars=task_vars)
        )
        return result
