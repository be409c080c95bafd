# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This doc fragment is private to the collection.

"""What the modules have in common that make or remove an object of the metadata server."""

from __future__ import annotations


class ModuleDocFragment:
    """The wanted state; in code, ``_bridge.options``."""

    DOCUMENTATION = r"""
options:
  state:
    description:
      - Whether it exists afterwards.
    type: str
    choices:
      - present
      - absent
    default: present
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
"""
