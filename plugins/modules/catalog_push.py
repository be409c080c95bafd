#!/usr/bin/python

# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: catalog_push
short_description: Push a virtual machine bundle to a catalog as a version
version_added: 1.0.0
author:
  - macfleet.parallels contributors (@macfleet)
description:
  - Makes sure that a version of a catalog ID exists with the content of a bundle on this host.
  - Only chunks that the catalog does not have yet are uploaded. What an interrupted push has uploaded is used by the next
    push of the same version.
  - A version is immutable. Pushing the same content again changes nothing, pushing other content fails unless O(force=true).
  - What describes a version (O(description), O(tags), O(required_roles), O(required_claims), O(minimum_requirements)) is set when
    its content is pushed. If the content is there already it stays as it is, with a warning if the task wants something else.
    M(macfleet.parallels.catalog_manifest) changes it.
  - Where the file system has clones (APFS, XFS, Btrfs) a clone of the bundle is read, so its virtual machine may be started as
    soon as the transfer runs. Elsewhere the bundle must be left alone until the task ends.
  - What belongs to this Mac is left out, for example logs, lock files, backups of settings, the links of C(Windows Disks), and
    what Finder writes.
  - A bundle whose disks are missing, cut short, physical (Boot Camp), or outside of it is refused, since a copy of it would not
    start. A CD or floppy image outside of it is warned of.
extends_documentation_fragment:
  - macfleet.parallels._attributes
  - macfleet.parallels._attributes.action
  - macfleet.parallels._attributes.action_group
  - macfleet.parallels._catalog
  - macfleet.parallels._catalog.handover
  - macfleet.parallels._catalog.transfer
  - macfleet.parallels._cache
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
      - Reads the whole bundle to tell chunks and raw bytes exactly. Encoded bytes and deltas are exact, too, if the cache of
        this host has the bases; otherwise they are an estimate from a sample.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  path:
    description:
      - The bundle, a directory named C(Name.pvm) or C(Name.macvm).
      - Its virtual machine must be stopped. C(prlctl) is asked whether it is. Where it is not installed, a disk image that is
        marked as in use and a lock that a process holds tell that the virtual machine runs; a plain disk has no such mark.
      - A macOS virtual machine of Parallels Desktop 17, which has no C(config.pvs), must be opened once in a newer one.
    type: path
    required: true
  catalog_id:
    description:
      - The name of the image in the catalog.
    type: str
    required: true
  version:
    description:
      - The version to push, for example V(1.4.0).
    type: str
    required: true
  architecture:
    description:
      - The architecture of the virtual machine, V(arm64) or V(x86_64). Aliases such as V(aarch64) are understood.
      - The default is that of this host's hardware.
    type: str
  description:
    description:
      - A sentence about the version.
      - The default is the one of the version that is replaced, if there is one.
    type: str
  tags:
    description:
      - Names that point to this version from now on. They are taken from other versions of the same catalog ID and
        architecture.
      - A version that is replaced keeps the tags that it has.
      - V(latest) follows the newest push by itself.
    type: list
    elements: str
  required_roles:
    description:
      - Only users with one of these roles see the version. An empty list means everyone.
      - The default is the roles of the version that is replaced, if there is one, or else everyone.
      - Chunks are reused from versions with the same required roles and claims only.
    type: list
    elements: str
  required_claims:
    description:
      - Only users with one of these claims see the version. An empty list means everyone.
      - The default is the claims of the version that is replaced, if there is one, or else everyone.
    type: list
    elements: str
  minimum_requirements:
    description:
      - What a Mac must offer to run the virtual machine. M(macfleet.parallels.catalog_pull) refuses a Mac that does not.
      - Without this option the version keeps what it demands if it is replaced, and a new version demands nothing.
      - With it, a suboption that is left out is 0, which demands nothing. It does not keep what the version demanded before.
    type: dict
    suboptions:
      cpu:
        description: Number of processor cores. V(0) demands none.
        type: int
        default: 0
      memory_mb:
        description: Memory in MiB. V(0) demands none.
        type: int
        default: 0
      disk_mb:
        description: Free disk space in MiB. V(0) demands none.
        type: int
        default: 0
  bases:
    description:
      - Versions of the same catalog ID whose chunks may be reused. An empty list means none.
      - The default is the newest version that may be pulled and has the same required roles and claims.
    type: list
    elements: str
  codec:
    description:
      - How chunks are encoded. Every Mac can read V(deflate). V(zstd) needs the Python package C(zstandard) on each host that
        pushes or pulls.
    type: str
    choices: [deflate, zstd, raw]
    default: deflate
  compression_level:
    description:
      - The effort of the codec. A value outside of the range of its implementation is taken as the nearest one inside.
    type: int
    default: 1
  chunk_size:
    description:
      - Bytes of a chunk, a power of two from 65536 to 4194304.
      - The default is that of the version that exists already, or of the base, as long as the bundle fits; or else 262144 up to
        512 GiB, 1048576 up to 2 TiB, and 4194304 for larger bundles.
      - Chunks are reused between versions of the same chunk size only.
    type: int
  force:
    description:
      - Replace a version that exists with other content.
    type: bool
    default: false
  allow_suspended:
    description:
      - Push the bundle of a suspended virtual machine, too, with its memory.
    type: bool
    default: false
  deltas:
    description:
      - Make a delta from each of the first three bases, so that a host that has one of them downloads only the blocks of 4 KiB
        that changed, and not whole chunks.
      - Deltas take some room in storage. Nothing is lost with them.
    type: bool
    default: true
  delta_budget:
    description:
      - How many bytes of bases may be downloaded to compare chunks with, where the cache of this host does not have the base.
      - What does not fit is pushed without a patch. V(0) downloads nothing.
      - The default is at most twice the encoded bytes of the new chunks so far.
    type: int
  keep_in_cache:
    description:
      - Keep the clone of the bundle that is read as an entry of the cache, so that the next push has its base at hand, and a
        pull of this version on this host downloads nothing.
      - It costs no disk space at first, as a clone shares its blocks with the bundle. It needs a file system that has clones,
        and a cache on the same volume as the bundle; otherwise the task only warns.
    type: bool
    default: false
seealso:
  - module: macfleet.parallels.catalog_pull
  - module: macfleet.parallels.catalog_manifest
"""

EXAMPLES = r"""
- name: Publish the image that the build has made
  macfleet.parallels.catalog_push:
    catalog_url: https://catalog.example.com
    catalog_api_key: "{{ vault_catalog_api_key }}"
    path: /Users/build/Parallels/macOS 15 runner.macvm
    catalog_id: macos-15-runner
    version: 1.4.0
    description: macOS 15.7 with Xcode 26
    tags: [stable]
    minimum_requirements:
      cpu: 4
      memory_mb: 8192

- name: Show how much would be uploaded
  macfleet.parallels.catalog_push:
    path: /Users/build/Parallels/macOS 15 runner.macvm
    catalog_id: macos-15-runner
    version: 1.5.0
  check_mode: true
  register: preview

- name: Publish an image for the users of one role only
  macfleet.parallels.catalog_push:
    path: /Users/build/Parallels/Windows 11.pvm
    catalog_id: windows-11-finance
    version: 2026.11.1
    required_roles: [FINANCE]

- name: Publish an update, and keep it so that the next one is compared without a download
  macfleet.parallels.catalog_push:
    path: /Users/build/Parallels/Windows 11.pvm
    catalog_id: windows-11-finance
    version: 2026.12.1
    required_roles: [FINANCE]
    keep_in_cache: true

- name: Replace a version, and upload all of it instead of reusing chunks of other versions
  macfleet.parallels.catalog_push:
    path: /Users/build/Parallels/macOS 15 runner.macvm
    catalog_id: macos-15-runner
    version: 1.4.0
    force: true
    bases: []
"""

RETURN = r"""
manifest:
  description:
    - The metadata record of the version, as far as it is known in check mode.
    - The fields are those of RV(macfleet.parallels.catalog_manifest_info#module:manifests).
  returned: success
  type: dict
  sample:
    catalog_id: macos-15-runner
    version: 1.4.0
    architecture: arm64
    digest: 9f2b...
    chunk_size: 262144
bundle:
  description: The bundle that was pushed.
  returned: success
  type: str
  sample: /Users/build/Parallels/macOS 15 runner.macvm
chunks:
  description: Distinct chunks that are not holes.
  returned: success
  type: dict
  contains:
    new:
      description: Chunks that were uploaded. V(0) if nothing changed.
      type: int
      returned: success
    reused:
      description: Chunks that the catalog had already. All of them if nothing changed.
      type: int
      returned: success
bytes:
  description: Sizes in bytes.
  returned: success
  type: dict
  contains:
    logical:
      description: Sum of the sizes of the files.
      type: int
      returned: success
    new:
      description: Raw bytes of the new chunks.
      type: int
      returned: success
    reused:
      description: Raw bytes of the reused chunks.
      type: int
      returned: success
    encoded:
      description: Encoded bytes of the new chunks, in check mode an estimate.
      type: int
      returned: success
deltas:
  description: The deltas that were made, by which hosts that have a base pull this version.
  returned: success
  type: list
  elements: dict
  contains:
    base:
      description: The version that the delta starts from.
      type: str
      returned: success
    bytes:
      description: Bytes of the delta.
      type: int
      returned: success
    patch_bytes:
      description: Bytes of its patches.
      type: int
      returned: success
encoded_is_estimate:
  description: True if RV(bytes.encoded) and RV(deltas) are estimates.
  returned: success
  type: bool
cloned:
  description: True if a clone of the bundle was read, so that its virtual machine could be started meanwhile.
  returned: success
  type: bool
kept_in_cache:
  description: True if the content is an entry of the cache of this host, because of O(keep_in_cache).
  returned: success
  type: bool
resumed_bytes:
  description: Bytes that an interrupted push had uploaded already.
  returned: success
  type: int
bases:
  description: Versions whose chunks could be reused.
  returned: success
  type: list
  elements: str
elapsed:
  description: Seconds that the module worked on the host.
  returned: success
  type: float
  sample: 73.4
error_code:
  description: A stable word for what went wrong, for example V(version_exists), V(bundle_in_use) or V(unreadable_bundle).
  returned: failure
  type: str
  sample: version_exists
hint:
  description: What to do about it.
  returned: failure
  type: str
  sample: Push the bundle as another version, or set force to true to replace this one.
details:
  description: More about the failure.
  returned: failure
  type: dict
  sample: {}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import MinimumRequirements
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge import boundary, compose, handover, options
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push import run as _push
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push.metadata import PushRequest


def push_spec() -> options.Spec:
    """The options of the module."""
    return {
        **options.connection_spec(),
        **options.handover_spec(),
        **options.transfer_spec(),
        **options.cache_spec(),
        "path": {"type": "path", "required": True},
        "catalog_id": {"type": "str", "required": True},
        "version": {"type": "str", "required": True},
        "architecture": {"type": "str"},
        "description": {"type": "str"},
        "tags": {"type": "list", "elements": "str"},
        "required_roles": {"type": "list", "elements": "str"},
        "required_claims": {"type": "list", "elements": "str"},
        "minimum_requirements": {
            "type": "dict",
            "options": {name: {"type": "int", "default": 0} for name in ("cpu", "memory_mb", "disk_mb")},
        },
        "bases": {"type": "list", "elements": "str"},
        "codec": {"type": "str", "choices": ["deflate", "zstd", "raw"], "default": "deflate"},
        "compression_level": {"type": "int", "default": 1},
        "chunk_size": {"type": "int"},
        "force": {"type": "bool", "default": False},
        "allow_suspended": {"type": "bool", "default": False},
        "deltas": {"type": "bool", "default": True},
        "delta_budget": {"type": "int"},
        "keep_in_cache": {"type": "bool", "default": False},
    }


def push_request(params: options.Params) -> PushRequest:
    """What the task asks for."""
    given = handover.handover(params)
    return PushRequest(
        path=params["path"],
        catalog_id=params["catalog_id"],
        version=params["version"],
        architecture=params["architecture"],
        codec=params["codec"],
        compression_level=params["compression_level"],
        chunk_size=params["chunk_size"],
        description=params["description"],
        tags=params["tags"],
        required_roles=params["required_roles"],
        required_claims=params["required_claims"],
        minimum_requirements=params["minimum_requirements"]
        and MinimumRequirements.from_json(params["minimum_requirements"]),
        force=params["force"],
        allow_suspended=params["allow_suspended"],
        deltas=params["deltas"],
        delta_budget=params["delta_budget"],
        keep_in_cache=params["keep_in_cache"],
        catalog_url=given.url,
        manifests=given.manifests,
        bases=given.bases,
    )


def run_module(module: AnsibleModule, before_long: t.Callable[[], None]) -> t.Mapping[str, t.Any]:
    """Return what the module returns."""
    request = push_request(module.params)
    doing = f"a push of {module.params['catalog_id']}"
    with compose.transfer_context(module, doing, before_long) as context:
        return _push.run(request, context, check_mode=module.check_mode)


def main() -> None:
    """Run the module."""
    module = boundary.make_module(push_spec())
    boundary.run_transfer(module, lambda before_long: run_module(module, before_long))


if __name__ == "__main__":
    main()
