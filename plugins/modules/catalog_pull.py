#!/usr/bin/python

# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: catalog_pull
short_description: Pull an image from a catalog and make a virtual machine of it
version_added: 1.0.0
author:
  - macfleet.parallels contributors (@macfleet)
description:
  - Makes sure that this host has an image in its cache, or a virtual machine made of it, or neither.
  - Only what the host does not have in its cache yet is downloaded, and every chunk is checked before it is written. A pull that
    was interrupted goes on where it was.
  - Virtual machines are copy-on-write clones of the cached image where the file system has clones (APFS, XFS, Btrfs).
  - Run it as the user who owns the virtual machines, since Parallels Desktop shows every user the own ones only.
extends_documentation_fragment:
  - macfleet.parallels._attributes
  - macfleet.parallels._attributes.action
  - macfleet.parallels._attributes.action_group
  - macfleet.parallels._attributes.facts
  - macfleet.parallels._cache
  - macfleet.parallels._catalog
  - macfleet.parallels._catalog.handover
attributes:
  action:
    support: full
    details:
      - The action plugin exchanges the credentials for a grant and shows the progress of long transfers.
  async:
    support: full
  check_mode:
    support: full
    details:
      - Tells chunks and bytes exactly as the real run moves them.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  catalog_id:
    description:
      - What the image is called in the catalog.
    type: str
    required: true
  version:
    description:
      - A version, a tag, or a range such as V(1.4.*) or V(>=1.4,<2).
      - The default is the tag V(latest).
      - With O(state=absent), an exact version or a range; the default is all versions. A tag matches nothing then, as the server
        alone knows what it names.
    type: str
  architecture:
    description:
      - The architecture of the image, V(arm64) or V(x86_64). Aliases such as V(aarch64) are understood.
      - The default is that of this host's hardware; with O(state=absent), every one.
    type: str
  name:
    description:
      - The name of the virtual machine.
      - The default is the value of O(catalog_id).
    type: str
  path:
    description:
      - The directory in which the virtual machine is made, best on the volume of O(cache_path).
      - The default is where Parallels Desktop makes new ones.
    type: path
  state:
    description:
      - With V(cached), the image is in the cache.
      - With V(present), a virtual machine O(name) made of the image exists. With V(started) it runs, too; the module does not wait
        for its guest.
      - With V(absent), neither the virtual machine O(name) nor cached versions of the image exist. If O(catalog_url) is known,
        only versions that were pulled from there are meant. Content that other images have, too, stays in the cache for them.
    type: str
    choices: [cached, present, started, absent]
    default: present
  on_change:
    description:
      - What happens when the virtual machine exists and was made of another content than O(version) has now.
      - With V(keep) it stays as it is, and RV(update_available) is V(true).
    type: str
    choices: [keep]
    default: keep
  verify:
    description:
      - Read everything that lies in the cache for this image again, and repair what is damaged.
    type: bool
    default: false
requirements:
  - Parallels Desktop, unless O(state=cached)
seealso:
  - module: macfleet.parallels.catalog_push
  - module: macfleet.parallels.catalog_cache
"""

EXAMPLES = r"""
- name: A runner made of the newest 1.x image
  macfleet.parallels.catalog_pull:
    catalog_url: https://catalog.example.com
    catalog_token: "{{ vault_catalog_token }}"
    catalog_id: macos-15-runner
    version: ">=1.4,<2"
    name: runner-01
    state: started

- name: Fill the cache before the working day begins
  macfleet.parallels.catalog_pull:
    catalog_id: macos-15-runner
    state: cached

- name: Tell how much would be downloaded
  macfleet.parallels.catalog_pull:
    catalog_id: macos-15-runner
    state: cached
  check_mode: true
  register: preview

- name: Remove the runner and what is cached for it
  macfleet.parallels.catalog_pull:
    catalog_id: macos-15-runner
    name: runner-01
    state: absent
"""

RETURN = r"""
manifest:
  description:
    - The metadata record of the image. Empty with O(state=absent).
    - The fields are those of RV(macfleet.parallels.catalog_manifest_info#module:manifests).
  returned: success
  type: dict
  sample:
    catalog_id: macos-15-runner
    version: 1.4.0
    architecture: arm64
    digest: 9f2b...
vm:
  description: The virtual machine, empty if there is none.
  returned: success
  type: dict
  contains:
    uuid:
      description: The UUID under which Parallels Desktop knows it.
      type: str
      returned: success
      sample: 3f0e4d8e-9a55-4a3c-9c53-0d2f6a4ac1ff
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
    version:
      description: The version that it was made of.
      type: str
      returned: success
      sample: 1.4.0
    digest:
      description: The identity of the content that it was made of.
      type: str
      returned: success
update_available:
  description: Whether the virtual machine was made of another content than the wanted version has now.
  returned: success
  type: bool
manifest_state:
  description: Whether the version may be pulled, V(active), V(tainted) or V(revoked).
  returned: success
  type: str
  sample: active
actions:
  description: What was done, or in check mode would be done, one sentence each.
  returned: success
  type: list
  elements: str
chunks:
  description: Distinct chunks that are not holes.
  returned: success
  type: dict
  contains:
    downloaded:
      description: Chunks that were downloaded.
      type: int
      returned: success
bytes:
  description: Sizes in bytes.
  returned: success
  type: dict
  contains:
    logical:
      description: Sum of the sizes of the files of the image.
      type: int
      returned: success
    downloaded:
      description: Encoded bytes that were downloaded.
      type: int
      returned: success
    downloaded_raw:
      description: Raw bytes of the downloaded chunks.
      type: int
      returned: success
    reused:
      description: Raw bytes that were on the host already, as clones or copies of other cached images.
      type: int
      returned: success
    copied:
      description: The part of RV(bytes.reused) that had to be copied.
      type: int
      returned: success
    holes:
      description: Bytes of zeros, which take no space.
      type: int
      returned: success
resumed:
  description: Whether an interrupted pull was gone on with.
  returned: success
  type: bool
elapsed:
  description: Seconds that the module worked on the host.
  returned: success
  type: float
  sample: 73.4
ansible_facts:
  description: The cache and the virtual machines of this host.
  returned: success
  type: dict
  contains:
    parallels_catalog:
      description: >-
        The complete document, RV(macfleet.parallels.catalog_cache_facts#module:ansible_facts.parallels_catalog).
      type: dict
      returned: success
error_code:
  description: A stable word for what went wrong, for example V(unknown_manifest) or V(disk_full).
  returned: failure
  type: str
  sample: unknown_manifest
hint:
  description: What to do about it.
  returned: failure
  type: str
  sample: Remove something, for example cached images by catalog_cache; nothing was changed on this host.
details:
  description: More about the failure.
  returned: failure
  type: dict
  sample:
    free_bytes: 1073741824
    needed_bytes: 41943040000
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge import boundary, compose, handover, options
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import pull as _pull
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context


def pull_spec() -> options.Spec:
    """The options of the module."""
    return {
        **options.connection_spec(),
        **options.handover_spec(),
        **options.cache_spec(),
        "catalog_id": {"type": "str", "required": True},
        "version": {"type": "str"},
        "architecture": {"type": "str"},
        "name": {"type": "str"},
        "path": {"type": "path"},
        "state": {"type": "str", "choices": ["cached", "present", "started", "absent"], "default": "present"},
        "on_change": {"type": "str", "choices": ["keep"], "default": "keep"},
        "verify": {"type": "bool", "default": False},
    }


def pull_request(params: _pull.Params) -> _pull.PullRequest:
    """What the task asks for."""
    given = handover.handover(params) if params["state"] != _pull.ABSENT else None
    return _pull.PullRequest(
        state=params["state"],
        catalog_url=given.url if given else params["catalog_url"] or "",
        catalog_id=params["catalog_id"],
        version=params["version"],
        architecture=params["architecture"],
        name=params["name"] or params["catalog_id"],
        directory=params["path"],
        verify=params["verify"],
        manifests=given.manifests if given else (),
        blocked=given.blocked if given else None,
    )


def _context(module: AnsibleModule) -> Context:
    doing = f"a pull of {module.params['catalog_id']}"
    # What is to be absent is found on the host alone.
    make = compose.host_context if module.params["state"] == _pull.ABSENT else compose.transfer_context
    return make(module, doing)


def main() -> None:
    """Arguments, one call, result."""
    module = boundary.make_module(pull_spec())
    boundary.run(
        module,
        lambda: _pull.run(
            pull_request(module.params),
            _context(module),
            check_mode=module.check_mode,
            may_defer=handover.may_defer(module.params),
        ),
    )


if __name__ == "__main__":
    main()
