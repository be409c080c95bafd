# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lets catalog_cache_facts take the defaults of the action group."""

from __future__ import annotations

from ansible_collections.macfleet.parallels.plugins.plugin_utils._action import HostAction


class ActionModule(HostAction):
    """Runs the module on the managed host."""
