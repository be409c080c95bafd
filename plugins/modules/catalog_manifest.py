#!/usr/bin/python
# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file holds documentation only; the code is in the action plugin of the same name and in module_utils/_manifests.py.

from __future__ import annotations

DOCUMENTATION = r"""
module: catalog_manifest
short_description: Manage the metadata record of a version in a catalog
version_added: 1.0.0
author:
  - macfleet.parallels contributors (@macfleet)
description:
  - Makes sure that the metadata of a pushed version is as wanted, that nobody can pull it any more, or that it is gone.
  - It cannot make a version; M(macfleet.parallels.catalog_push) does.
extends_documentation_fragment:
  - macfleet.parallels._attributes
  - macfleet.parallels._attributes.action
  - macfleet.parallels._attributes.controller
  - macfleet.parallels._attributes.action_group
  - macfleet.parallels._catalog
attributes:
  check_mode:
    support: full
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
      - The version, for example V(1.4.0). Neither tags nor ranges are accepted.
    type: str
    required: true
  architecture:
    description:
      - The architecture of the image, V(arm64) or V(x86_64). Aliases such as V(aarch64) are understood.
      - The default is every architecture that the version exists for.
    type: str
  state:
    description:
      - With V(present), the record has the fields that the other options set. It must exist.
      - With V(absent), the record does not exist. What is stored for it alone is deleted, too.
    type: str
    choices:
      - present
      - absent
    default: present
  description:
    description:
      - A sentence about the version.
    type: str
  tags:
    description:
      - Names that shall point to this version and to no other version of the same catalog ID and architecture.
      - Tags that are not listed are taken away. The tag V(latest) is moved by pushes, so it stays even if it is not listed.
    type: list
    elements: str
  required_roles:
    description:
      - Only users with one of these roles see the version. An empty list means everyone.
      - It cannot be widened as long as the version shares stored data with others; push it whole then.
    type: list
    elements: str
  required_claims:
    description:
      - Only users with one of these claims see the version. An empty list means everyone.
      - It cannot be widened as long as the version shares stored data with others; push it whole then.
    type: list
    elements: str
  minimum_requirements:
    description:
      - What a Mac must offer to run the virtual machine. What is not set stays as it is.
    type: dict
    suboptions:
      cpu:
        description: Number of processor cores.
        type: int
      memory_mb:
        description: Memory in MiB.
        type: int
      disk_mb:
        description: Free disk space in MiB.
        type: int
  tainted:
    description:
      - Whether the version must not be pulled for now. It takes the claim V(TAINT_CATALOG_MANIFEST).
    type: bool
  revoked:
    description:
      - Whether the version must not be pulled any more. It cannot be undone, so V(false) fails for what is revoked already.
      - It takes the claim V(REVOKE_CATALOG_MANIFEST).
    type: bool
seealso:
  - module: macfleet.parallels.catalog_manifest_info
  - module: macfleet.parallels.catalog_push
"""

EXAMPLES = r"""
- name: Let nobody pull a version that turned out to be broken
  macfleet.parallels.catalog_manifest:
    catalog_url: https://catalog.example.com
    catalog_api_key: "{{ vault_catalog_api_key }}"
    catalog_id: macos-15-runner
    version: 1.4.0
    tainted: true
  run_once: true

- name: Call a version stable, and say what it needs
  macfleet.parallels.catalog_manifest:
    catalog_id: macos-15-runner
    version: 1.4.1
    tags: [stable]
    minimum_requirements:
      memory_mb: 8192
  run_once: true

- name: Delete a version
  macfleet.parallels.catalog_manifest:
    catalog_id: macos-15-runner
    version: 1.3.0
    state: absent
  run_once: true
"""

RETURN = r"""
manifests:
  description:
    - The metadata records as they are now, or in check mode would be, one for each architecture.
    - Empty with O(state=absent).
    - The fields are those of RV(macfleet.parallels.catalog_manifest_info#module:manifests).
  returned: success
  type: list
  elements: dict
  sample:
    - architecture: arm64
      catalog_id: macos-15-runner
      description: macOS 15.7 with Xcode 26
      digest: 9f2b5e2c77d1f3c0a4b86d9e0c1f27a35b48c6d7e8f90a1b2c3d4e5f60718293
      required_roles: []
      tags:
        - stable
      tainted: false
      version: 1.4.1
freed_bytes:
  description:
    - How many bytes in storage nothing uses any more since the versions were deleted.
    - The server removes them when no pull that has begun can need them, a quarter of an hour later at the earliest.
    - A stock server does not say it; then it is 0.
  returned: if a version was deleted
  type: int
  sample: 1572864
error_code:
  description: A stable word for what went wrong, for example V(unknown_manifest) or V(shared_segments).
  returned: failure
  type: str
  sample: unknown_manifest
hint:
  description: What to do about it.
  returned: failure
  type: str
  sample: Check the spelling, and the roles and claims of the user.
details:
  description: More about the failure, such as the status of the reply and the ID of the request.
  returned: failure
  type: dict
  sample:
    attempts: 1
    request_id: 0b7c1f52
    status: 404
"""
