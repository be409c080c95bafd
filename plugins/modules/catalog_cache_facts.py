#!/usr/bin/python

# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: catalog_cache_facts
short_description: Facts about the cache and the virtual machines of a host
version_added: 1.0.0
author:
  - macfleet.parallels contributors (@macfleet)
description:
  - Returns what the cache of this host holds, and which virtual machines were made of it.
  - Can be listed in C(ansible_facts_modules), so that gathering facts brings it, too.
extends_documentation_fragment:
  - macfleet.parallels._attributes
  - macfleet.parallels._attributes.action_group
  - macfleet.parallels._attributes.facts
  - macfleet.parallels._attributes.info
  - macfleet.parallels._cache
options: {}
seealso:
  - module: macfleet.parallels.catalog_cache
"""

EXAMPLES = r"""
- name: Look what the host holds
  macfleet.parallels.catalog_cache_facts:

- name: Put the hosts that hold the image into a group
  ansible.builtin.group_by:
    key: "{{ 'has_' if 'macos-15-runner' in held else 'lacks_' }}macos_15_runner"
  vars:
    held: >-
      {{ ansible_facts.parallels_catalog.caches.values() | map(attribute='entries') | flatten
         | map(attribute='addresses') | flatten | map(attribute='catalog_id') | list }}
"""

RETURN = r"""
ansible_facts:
  description: The cache and the virtual machines of this host.
  returned: always
  type: dict
  contains:
    parallels_catalog:
      description: The complete document.
      type: dict
      returned: always
      contains:
        caches:
          description: Each cache by its path, with totals, free space and its entries.
          type: dict
          returned: always
        vms:
          description: The virtual machines that were made of cached images.
          type: list
          elements: dict
          returned: always
"""

from ansible_collections.macfleet.parallels.plugins.module_utils import _arguments, _cache, _tools


def main() -> None:
    """Arguments, one call, result."""
    module = _arguments.make_module(_arguments.cache_spec())
    _arguments.run(module, lambda: _cache.gather(_tools.cache_tools(module)))


if __name__ == "__main__":
    main()
