#!/usr/bin/python
# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file holds documentation only; the code is in the action plugin of the same name and in module_utils/_manifests.py.

from __future__ import annotations

DOCUMENTATION = r"""
module: catalog_manifest_info
short_description: Query the metadata records of a catalog
version_added: 1.0.0
author:
  - macfleet.parallels contributors (@macfleet)
description:
  - Lists the metadata records that the user may see, narrowed down by filters and by a JMESPath query.
extends_documentation_fragment:
  - macfleet.parallels._attributes
  - macfleet.parallels._attributes.action
  - macfleet.parallels._attributes.controller
  - macfleet.parallels._attributes.action_group
  - macfleet.parallels._attributes.info
  - macfleet.parallels._catalog
options:
  catalog_id:
    description:
      - Only records of this catalog ID. Upper case and special characters are normalised as the catalog does it, so
        V(Runner X) means V(runner_x).
    type: str
  version:
    description:
      - Only records of this version, or of versions in this range, such as V(1.4.*) or V(>=1.4,<2). For a tag, use O(tag).
      - Unlike M(macfleet.parallels.catalog_pull), a range finds tainted and revoked versions, too.
    type: str
  architecture:
    description:
      - Only records for this architecture, V(arm64) or V(x86_64). Aliases such as V(aarch64) are understood.
    type: str
  tag:
    description:
      - Only records that this tag points to, for example V(latest).
    type: str
  type:
    description:
      - Only records of bundles of this type.
    type: str
    choices:
      - pvm
      - macvm
  tainted:
    description:
      - Only records that are tainted, or that are not.
    type: bool
  revoked:
    description:
      - Only records that are revoked, or that are not.
    type: bool
  query:
    description:
      - A L(JMESPath, https://jmespath.org) expression that is evaluated over RV(manifests).
      - It needs the Python package C(jmespath) on the controller.
    type: str
requirements:
  - jmespath on the controller, for O(query)
seealso:
  - module: macfleet.parallels.catalog_manifest
"""

EXAMPLES = r"""
- name: All versions of an image that may be pulled
  macfleet.parallels.catalog_manifest_info:
    catalog_url: https://catalog.example.com
    catalog_api_key: "{{ vault_catalog_api_key }}"
    catalog_id: macos-15-runner
    tainted: false
    revoked: false
  run_once: true
  register: runners

- name: The addresses of the five images that were downloaded most
  macfleet.parallels.catalog_manifest_info:
    query: "reverse(sort_by(@, &download_count))[:5].{catalog_id: catalog_id, version: version}"
  run_once: true
  register: favourites

- name: Show them
  ansible.builtin.debug:
    var: favourites.result
"""

RETURN = r"""
manifests:
  description: The metadata records, ordered by catalog ID, version and architecture.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The ID of the record.
      type: str
      returned: success
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
    type:
      description: The type of the bundle, V(pvm) or V(macvm).
      type: str
      returned: success
    name:
      description: The name of the directory that was pushed.
      type: str
      returned: success
      sample: macOS 15 runner.macvm
    description:
      description: A sentence about the version.
      type: str
      returned: success
    tags:
      description: The tags that point to the version.
      type: list
      elements: str
      returned: success
      sample: [latest]
    required_roles:
      description: Users need one of these roles to see the version.
      type: list
      elements: str
      returned: success
    required_claims:
      description: Users need one of these claims to see the version.
      type: list
      elements: str
      returned: success
    minimum_requirements:
      description: What a Mac must offer, V(0) for what does not matter.
      type: dict
      returned: success
      sample:
        cpu: 4
        disk_mb: 0
        memory_mb: 8192
    format:
      description: How the bundle lies in storage, V(segmented).
      type: str
      returned: success
    digest:
      description: The identity of the content.
      type: str
      returned: success
    chunk_size:
      description: Bytes of a chunk.
      type: int
      returned: success
    chunks:
      description: Number of chunks.
      type: int
      returned: success
    files:
      description: Number of files.
      type: int
      returned: success
    logical_bytes:
      description: Sum of the sizes of the files.
      type: int
      returned: success
    data_bytes:
      description: Bytes of the distinct chunks that are not zero.
      type: int
      returned: success
    stored_bytes:
      description: Bytes of the same chunks as they are stored.
      type: int
      returned: success
    storage:
      description: The storage that they are in.
      type: str
      returned: success
    tainted:
      description: Whether the version must not be pulled for now.
      type: bool
      returned: success
    tainted_by:
      description: Who tainted it last, V(null) if nobody did.
      type: str
      returned: success
    tainted_at:
      description: When it was tainted last.
      type: str
      returned: success
    untainted_by:
      description: Who took that back last.
      type: str
      returned: success
    revoked:
      description: Whether the version must not be pulled any more.
      type: bool
      returned: success
    revoked_by:
      description: Who revoked it.
      type: str
      returned: success
    revoked_at:
      description: When it was revoked.
      type: str
      returned: success
    download_count:
      description: How often it was pulled.
      type: int
      returned: success
    last_downloaded_at:
      description: When it was pulled last, V(null) if it never was.
      type: str
      returned: success
    last_downloaded_user:
      description: Who pulled it last.
      type: str
      returned: success
    created_at:
      description: When it was pushed first.
      type: str
      returned: success
      sample: '2026-11-23T10:00:00Z'
    updated_at:
      description: When its record or content changed last.
      type: str
      returned: success
    created_by:
      description: Who pushed it.
      type: str
      returned: success
result:
  description: What O(query) found.
  returned: success, and O(query) is set
  type: raw
error_code:
  description: A stable word for what went wrong, for example V(unauthenticated) or V(invalid_option).
  returned: failure
  type: str
  sample: unreachable
hint:
  description: What to do about it.
  returned: failure
  type: str
  sample: Check catalog_url, the network, and that the server runs.
details:
  description: More about the failure, such as the status of the reply and the ID of the request.
  returned: failure
  type: dict
  sample:
    attempts: 4
"""
