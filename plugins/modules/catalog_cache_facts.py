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
- name: Read what the host holds
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
  returned: success
  type: dict
  contains:
    parallels_catalog:
      description: The complete document.
      type: dict
      returned: success
      contains:
        caches:
          description:
            - Each cache by its path, with its entries. Timestamps are in UTC.
            - C(free_bytes) is what is free on its volume, C(partials) are what interrupted pulls have left, C(trash_bytes) is what was
              removed and is not deleted yet.
            - C(allocated_bytes) is what an entry took on the disk when it was made, blocks that it shares with virtual machines
              included. C(exclusive_bytes) is what it shares with nothing now, so what its removal would free; V(null) where the
              file system does not tell.
            - The C(state) of an address is how the server showed the version when it was last asked, C(active), C(tainted) or
              C(revoked).
            - Published facts are 1 MiB at most, so that local facts stay quick. C(entries_omitted) tells how many entries, those used
              longest ago, were left out of them.
            - C(damaged) are digests of entries whose record is missing or damaged. C(unreadable) are entries of which nothing is
              known, with the reason, for example that a later version of the collection has written them.
          type: dict
          returned: success
          sample:
            /Users/build/Library/Application Support/macfleet.parallels:
              owner: build
              updated_at: '2026-11-23T17:04:12Z'
              free_bytes: 214748364800
              totals:
                entries: 1
                logical_bytes: 68719738880
                stored_bytes: 9126805504
                allocated_bytes: 22011707392
                exclusive_bytes: 2147483648
                partials: 0
                partial_bytes: 0
                trash_bytes: 0
              entries_omitted: 0
              partials: []
              damaged: []
              unreadable: {}
              entries:
                - digest: 9f2b5e2c77d1f3c0a4b86d9e0c1f27a35b48c6d7e8f90a1b2c3d4e5f60718293
                  bundle_name: macOS 15 runner.macvm
                  type: macvm
                  addresses:
                    - catalog_url: https://catalog.example.com
                      catalog_id: macos-15-runner
                      version: 1.4.0
                      architecture: arm64
                      state: active
                  logical_bytes: 68719738880
                  stored_bytes: 9126805504
                  downloaded_bytes: 9127545344
                  allocated_bytes: 22011707392
                  exclusive_bytes: 2147483648
                  first_used_at: '2026-11-23T17:04:12Z'
                  last_used_at: '2026-11-23T17:04:12Z'
                  use_count: 1
                  verified_at: null
        vms:
          description:
            - The virtual machines that were made of cached images.
            - The state is C(missing) where C(prlctl) does not list the machine, and C(unknown) where it cannot be asked.
          type: list
          elements: dict
          returned: success
          contains:
            uuid:
              description: The UUID under which Parallels Desktop knows it.
              type: str
              returned: success
            name:
              description: Its name.
              type: str
              returned: success
              sample: runner-01
            state:
              description: What it does, as C(prlctl) says it.
              type: str
              returned: success
              sample: running
            home:
              description: Its bundle.
              type: str
              returned: success
              sample: /Users/build/Parallels/runner-01.macvm
            cache_path:
              description: The cache whose image it was made of.
              type: str
              returned: success
            receipt:
              description: What it was made of, when and by whom.
              type: dict
              returned: success
              sample:
                catalog_url: https://catalog.example.com
                catalog_id: macos-15-runner
                version: 1.4.0
                architecture: arm64
                digest: 9f2b5e2c77d1f3c0a4b86d9e0c1f27a35b48c6d7e8f90a1b2c3d4e5f60718293
                created_at: '2026-11-23T17:04:12Z'
                created_by: build
                state: ready
        owners:
          description:
            - The users who have published facts, by name, and whether their facts are C(readable). Only hosts that the role
              P(macfleet.parallels.catalog_host#role) has prepared have some.
          type: dict
          returned: success
          sample:
            build:
              readable: true
error_code:
  description: A stable word for what went wrong, for example V(cache_unsafe).
  returned: failure
  type: str
  sample: cache_unsafe
hint:
  description: What to do about it.
  returned: failure
  type: str
  sample: Choose a directory that only its owner can write.
details:
  description: More about the failure.
  returned: failure
  type: dict
  sample: {}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge import boundary, compose, options
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import host_facts


def run_module(module: AnsibleModule) -> t.Mapping[str, t.Any]:
    """Return what the module returns."""
    with compose.host_context(module, "reading facts") as context:
        return host_facts.gather(context)


def main() -> None:
    """Run the module."""
    module = boundary.make_module(options.cache_spec())
    boundary.run(module, lambda: run_module(module))


if __name__ == "__main__":
    main()
