#!/usr/bin/python

# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: catalog_cache
short_description: Verify or remove what the cache of a host holds
version_added: 1.0.0
author:
  - macfleet.parallels contributors (@macfleet)
description:
  - Reads cached images again and compares them with their digests, or removes them.
  - Virtual machines that were made of an image do not need it any more, so they are left alone.
extends_documentation_fragment:
  - macfleet.parallels._attributes
  - macfleet.parallels._attributes.action_group
  - macfleet.parallels._cache
attributes:
  check_mode:
    support: full
    details:
      - Verification reads everything in check mode, too, but removes nothing.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  state:
    description:
      - With V(verified), each chosen entry is read again. What needs no download is repaired at once, such as a file that does
        not belong to the image. An entry whose content is damaged is not used any more; the next pull of it downloads what is
        damaged and reuses the rest. An entry that a later version of the collection has written, or that cannot be read now, is
        left alone with a warning. One whose record is missing or damaged is removed with a warning.
      - With V(absent), the chosen entries are removed, and what interrupted pulls have left of them. One of O(digest),
        O(catalog_id) and O(all) is required then.
      - Content that images of other catalog IDs or other versions have, too, stays in the cache for them when it is chosen by
        O(catalog_id). By O(digest) and O(all) it is removed for all.
    type: str
    choices: [verified, absent]
    required: true
  all:
    description:
      - With O(state=absent), remove everything that the cache holds.
    type: bool
    default: false
  digest:
    description:
      - Choose the entry with this digest.
    type: str
  catalog_id:
    description:
      - Choose the entries of this catalog ID.
    type: str
  version:
    description:
      - Choose the entries of O(catalog_id) with this version or within this range.
    type: str
seealso:
  - module: macfleet.parallels.catalog_pull
  - module: macfleet.parallels.catalog_cache_facts
"""

EXAMPLES = r"""
- name: Read everything that is cached, and drop what is damaged
  macfleet.parallels.catalog_cache:
    state: verified

- name: Remove everything
  macfleet.parallels.catalog_cache:
    state: absent
    all: true

- name: Drop the old images
  macfleet.parallels.catalog_cache:
    state: absent
    catalog_id: macos-15-runner
    version: "<1.4"
"""

RETURN = r"""
entries:
  description: The chosen entries.
  returned: success
  type: list
  elements: dict
  contains:
    digest:
      description: The identity of the content.
      type: str
      returned: success
    addresses:
      description: The manifests that the entry was pulled for.
      type: list
      elements: dict
      returned: success
      contains:
        catalog_url:
          description: Where it was pulled from.
          type: str
          returned: success
          sample: https://catalog.example.com
        catalog_id:
          description: What the image is called.
          type: str
          returned: success
          sample: macos-15-runner
        version:
          description: The version.
          type: str
          returned: success
          sample: 1.4.0
        architecture:
          description: V(arm64) or V(x86_64).
          type: str
          returned: success
        state:
          description: Whether the version could be pulled when it was last asked for, V(active), V(tainted) or V(revoked).
          type: str
          returned: success
          sample: active
    damaged:
      description: Paths inside the bundle that are not what they should be.
      type: list
      elements: str
      returned: success
removed:
  description: Digests of the entries that are not in the cache any more, or in check mode would not be.
  returned: success
  type: list
  elements: str
repaired:
  description: Digests of the entries that were repaired without a download, or in check mode would be.
  returned: success
  type: list
  elements: str
forgotten:
  description:
    - With O(state=absent) and O(catalog_id), digests of the entries that stay in the cache for other images, and are not
      known as this one any more, or in check mode would not be.
  returned: success
  type: list
  elements: str
actions:
  description: What had been done before the failure, one sentence each. It is not there if nothing had been done.
  returned: failure
  type: list
  elements: str
freed_bytes:
  description:
    - By how many bytes the free space of the volume has grown. Virtual machines that share blocks with an entry keep them.
    - In check mode with O(state=absent), what the file system says that no other file shares, or all where it does not tell.
  returned: success
  type: int
elapsed:
  description: Seconds that the module worked on the host.
  returned: success
  type: float
parallels_catalog:
  description:
    - The cache and the virtual machines of this host. This is the complete document
      RV(macfleet.parallels.catalog_cache_facts#module:ansible_facts.parallels_catalog).
  returned: success
  type: dict
error_code:
  description: A stable word for what went wrong, for example V(cache_locked) or V(cache_unsafe).
  returned: failure
  type: str
  sample: cache_locked
hint:
  description: What to do about it.
  returned: failure
  type: str
  sample: Wait until that has ended, or raise the lock timeout.
details:
  description: More about the failure.
  returned: failure
  type: dict
  sample: {}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge import boundary, compose, options
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import cache


def cache_change_spec() -> options.Spec:
    """Return the options of the module."""
    return {
        **options.cache_spec(),
        "state": {"type": "str", "choices": [cache.VERIFIED, cache.ABSENT], "required": True},
        "all": {"type": "bool", "default": False},
        "digest": {"type": "str"},
        "catalog_id": {"type": "str"},
        "version": {"type": "str"},
    }


def cache_request(params: options.Params) -> cache.CacheRequest:
    """Return what the task asks for."""
    return cache.CacheRequest(params["state"], params["digest"], params["catalog_id"], params["version"], params["all"])


def run_module(module: AnsibleModule) -> t.Mapping[str, t.Any]:
    """Return what the module returns."""
    request = cache_request(module.params)
    with compose.host_context(module, "a task of catalog_cache") as context:
        return cache.change(request, context, check_mode=module.check_mode)


def main() -> None:
    """Run the module."""
    module = boundary.make_module(
        cache_change_spec(),
        required_by={"version": "catalog_id"},
        mutually_exclusive=[("digest", "catalog_id")],
    )
    boundary.run(module, lambda: run_module(module))


if __name__ == "__main__":
    main()
