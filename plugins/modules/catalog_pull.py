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
  - Makes sure that this host has an image in its cache, or a virtual machine made of it, or that the virtual machine does not exist.
  - Only what the host does not have in its cache yet is downloaded. Every downloaded chunk is checked before it is written. A pull
    that was interrupted resumes.
  - Virtual machines are copy-on-write clones of the cached image where the file system has clones (APFS, XFS, Btrfs).
  - Run it as the user who owns the virtual machines, since Parallels Desktop shows each user only their own.
extends_documentation_fragment:
  - macfleet.parallels._attributes
  - macfleet.parallels._attributes.action
  - macfleet.parallels._attributes.action_group
  - macfleet.parallels._cache
  - macfleet.parallels._catalog
  - macfleet.parallels._catalog.handover
  - macfleet.parallels._catalog.transfer
attributes:
  action:
    support: full
    details:
      - The action plugin exchanges the credentials for a grant and shows the progress of long transfers. It shows none
        for a task with C(no_log).
      - A long transfer keeps its small files in C(ansible_async_dir) of the host (by default C(~/.ansible_async)).
      - A play that ends early cancels its transfer. If it cannot, the transfer ends by itself after 20 minutes.
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
      - What the image is called in the catalog. Upper case and special characters are normalised as the catalog does it, so
        V(Runner X) means V(runner_x).
    type: str
    required: true
  version:
    description:
      - A version, a tag, or a range such as V(1.4.*) or V(>=1.4,<2).
      - A range is a list of conditions between commas. A condition is V(*), V(1.4.*), or a version after V(>=), V(>), V(<=), V(<),
        V(==) or V(!=). There is no V(~>), V(^) or V(1.x). The highest version that may be pulled is taken.
      - A tag on a tainted or revoked version fails. V(*) passes over such versions.
      - The default is the tag V(latest).
      - Quote it. YAML reads V(1.10) without quotes as the number 1.1.
      - With O(state=absent), an exact version or a range that the virtual machine was made of; the default is all versions. A tag
        matches nothing then, as only the server knows what it names.
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
      - With V(present), a virtual machine O(name) made of the image exists, in whatever state. With V(started) it runs, too; the
        module does not wait for its guest. With V(stopped) it exists and does not run; the guest of a running one is
        asked to shut down, see O(stop_timeout) and O(force_stop).
      - With V(absent), the virtual machine O(name) does not exist. Only a virtual machine that was made of O(catalog_id), and of
        O(version) and for O(architecture) if these are given, is removed; any other one stays, with a warning. The server that
        it came from does not count. A running one is ended at once, as if its plug was pulled. Cached images stay for the next
        virtual machine, unless O(purge_cache=true).
      - With V(absent) and without Parallels Desktop on the host, the module fails if it remembers such a virtual machine.
    type: str
    choices: [cached, present, started, stopped, absent]
    default: present
  headless:
    description:
      - With O(state=started), set a virtual machine before its first start to run without a window, since there is often nobody
        at the screen of the Mac. What somebody sets later stays.
      - With V(false), the setting stays as it is.
      - Virtual machines of macOS on Apple silicon (C(.macvm)) have no such setting.
    type: bool
    default: true
  stop_timeout:
    description:
      - With O(state=stopped), how many seconds the guest has to shut down. At least 1.
      - A guest that has not shut down by then is an error (V(vm_still_runs)), unless O(force_stop=true).
    type: int
    default: 180
  force_stop:
    description:
      - With O(state=stopped), end a virtual machine whose guest has not shut down within O(stop_timeout) as if its plug was
        pulled, with a warning. What the guest had not written to its disks is lost.
    type: bool
    default: false
  purge_cache:
    description:
      - With O(state=absent), remove the cached versions of the image, too, and what interrupted pulls have left of them. If
        O(catalog_url) is known, only versions that were pulled from there are meant. Content that other images have, too, stays
        in the cache for them.
    type: bool
    default: false
  on_change:
    description:
      - What happens when the virtual machine exists and was made of another content than O(version) has now.
      - With V(keep) it stays as it is, and RV(update_available) is V(true).
    type: str
    choices: [keep]
    default: keep
  verify:
    description:
      - Read all that the cache holds of this image again, and repair what is damaged.
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
    catalog_api_key: "{{ vault_catalog_api_key }}"
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

- name: Stop the runner, and pull its plug if it has not shut down after ten minutes
  macfleet.parallels.catalog_pull:
    catalog_id: macos-15-runner
    name: runner-01
    state: stopped
    stop_timeout: 600
    force_stop: true

- name: Remove the runner; its image stays in the cache
  macfleet.parallels.catalog_pull:
    catalog_id: macos-15-runner
    name: runner-01
    state: absent

- name: Remove another runner, and all that is cached of its image
  macfleet.parallels.catalog_pull:
    catalog_id: macos-14-runner
    name: runner-02
    state: absent
    purge_cache: true

- name: Have the facts of this host as they are now
  ansible.builtin.set_fact:
    parallels_catalog: "{{ preview.parallels_catalog }}"
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
  description: The virtual machine O(name); empty if there is none, with O(state=cached), and in check mode if it would be made.
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
  description: V(true) if the virtual machine was made of another content than the wanted version has now.
  returned: success
  type: bool
manifest_state:
  description: V(active) if the version may be pulled, else V(tainted) or V(revoked).
  returned: success
  type: str
  sample: active
actions:
  description: What was done, or in check mode would be done, one sentence each. A failure tells what had been done before it.
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
      description: Encoded bytes of chunks and patches that were downloaded.
      type: int
      returned: success
    downloaded_raw:
      description: Raw bytes of the chunks that were downloaded whole.
      type: int
      returned: success
    reused:
      description: Raw bytes that were on the host already, in other cached images or from an interrupted pull.
      type: int
      returned: success
    copied:
      description: The part of RV(bytes.reused) that had to be copied.
      type: int
      returned: success
    patched:
      description: Raw bytes of the chunks that were made by patches from those of a cached image.
      type: int
      returned: success
    index:
      description: Bytes of the index that were downloaded, or of the deltas in its place.
      type: int
      returned: success
    holes:
      description: Bytes of zeros, which take no space.
      type: int
      returned: success
freed_bytes:
  description:
    - With O(purge_cache=true), by how many bytes the free space has grown. Virtual machines that share blocks with an image keep
      them. In check mode, what the file system says that no other file shares, or all where it does not tell.
  returned: success
  type: int
resumed:
  description: V(true) if the pull used what an interrupted one had left, or what was sound in a damaged image.
  returned: success
  type: bool
elapsed:
  description: Seconds that the module worked on the host.
  returned: success
  type: float
  sample: 73.4
parallels_catalog:
  description:
    - The cache and the virtual machines of this host. This is the complete document
      RV(macfleet.parallels.catalog_cache_facts#module:ansible_facts.parallels_catalog).
  returned: success
  type: dict
error_code:
  description: A stable word for what went wrong, for example V(unknown_manifest) or V(disk_full).
  returned: failure
  type: str
  sample: unknown_manifest
hint:
  description: What to do about it.
  returned: failure
  type: str
  sample: Free some space on that volume, for example by removing cached images with catalog_cache, and run the task again.
details:
  description: More about the failure.
  returned: failure
  type: dict
  sample:
    free_bytes: 1073741824
    needed_bytes: 41943040000
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge import boundary, compose, handover, options
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines import power
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull import run, wanted


def pull_spec() -> options.Spec:
    """Return the options of the module."""
    states = [wanted.CACHED, wanted.PRESENT, wanted.STARTED, wanted.STOPPED, wanted.ABSENT]
    return {
        **options.connection_spec(),
        **options.handover_spec(),
        **options.transfer_spec(),
        **options.cache_spec(),
        "catalog_id": {"type": "str", "required": True},
        "version": {"type": "str"},
        "architecture": {"type": "str"},
        "name": {"type": "str"},
        "path": {"type": "path"},
        "state": {"type": "str", "choices": states, "default": wanted.PRESENT},
        "headless": {"type": "bool", "default": True},
        "stop_timeout": {"type": "int", "default": power.STOP_SECONDS},
        "force_stop": {"type": "bool", "default": False},
        "purge_cache": {"type": "bool", "default": False},
        "on_change": {"type": "str", "choices": ["keep"], "default": "keep"},
        "verify": {"type": "bool", "default": False},
    }


def pull_request(params: options.Params) -> wanted.PullRequest:
    """Return what the task asks for."""
    given = handover.handover(params) if params["state"] != wanted.ABSENT else None
    return wanted.PullRequest(
        state=params["state"],
        catalog_url=given.url if given else params["catalog_url"] or "",
        catalog_id=params["catalog_id"],
        version=params["version"],
        architecture=params["architecture"],
        name=params["name"] or params["catalog_id"],
        directory=params["path"],
        verify=params["verify"],
        headless=params["headless"],
        stop_timeout_seconds=_stop_timeout(params),
        force_stop=params["force_stop"],
        purge_cache=params["purge_cache"],
        manifests=given.manifests if given else (),
        blocked=given.blocked if given else None,
    )


def _stop_timeout(params: options.Params) -> float:
    seconds = params["stop_timeout"]
    if seconds < 1:
        raise compose.InvalidOption(
            f"A stop_timeout of {seconds} s is not possible.", "Set stop_timeout to at least 1 second."
        )
    return float(seconds)


def run_module(module: AnsibleModule, before_long: t.Callable[[], None]) -> t.Mapping[str, t.Any]:
    """Return what the module returns."""
    request = pull_request(module.params)
    with _context(module, before_long) as context:
        return run.run(request, context, check_mode=module.check_mode)


def _context(module: AnsibleModule, before_long: t.Callable[[], None]) -> t.ContextManager[Context]:
    doing = f"a pull of {module.params['catalog_id']}"
    if module.params["state"] == wanted.ABSENT:
        # What is to be absent is found on the host alone.
        return compose.host_context(module, doing)
    return compose.transfer_context(module, doing, before_long)


def main() -> None:
    """Run the module."""
    module = boundary.make_module(pull_spec())
    boundary.run_transfer(module, lambda before_long: run_module(module, before_long))


if __name__ == "__main__":
    main()
