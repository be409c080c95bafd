# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This doc fragment is private to the collection.

"""The attributes that the modules of the collection state."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes; a module adds its own ``support`` and ``details``."""

    DOCUMENTATION = r"""
options: {}
requirements:
  - Python 3.9 or newer on the managed host.
attributes:
  check_mode:
    description: With C(--check) it says what it would do, and does nothing.
  diff_mode:
    description: With C(--diff) it shows what differs.
  idempotent:
    description: A second run with the same options finds nothing to do, unless something else changed meanwhile.
"""

    # For modules that an action plugin runs, or is.
    ACTION = r"""
options: {}
attributes:
  action:
    description: A part of it, or all of it, runs on the controller.
  async:
    description: It can be run with the C(async) keyword.
"""

    # For modules that an action plugin is.
    CONTROLLER = r"""
options: {}
attributes:
  action:
    support: full
    details:
      - All of it runs on the controller.
  async:
    support: none
notes:
  - All of it runs on the controller, so the managed host of the task does not matter. Use C(run_once) in plays with
    many hosts.
"""

    # For modules that are in the action group.
    ACTION_GROUP = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/macfleet.parallels.catalog) in C(module_defaults) to set options for all members.
    support: full
    membership:
      - macfleet.parallels.catalog
"""

    FACTS = r"""
options: {}
attributes:
  facts:
    description: It returns C(ansible_facts).
    support: full
"""

    # For modules that only look.
    INFO = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - It never changes anything.
  diff_mode:
    support: N/A
    details:
      - It changes nothing.
  idempotent:
    support: full
    details:
      - It changes nothing.
"""
