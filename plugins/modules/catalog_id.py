#!/usr/bin/python
# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file holds documentation only; the code is in the action plugin of the same name and in module_utils/_cases.

from __future__ import annotations

DOCUMENTATION = r"""
module: catalog_id
short_description: Manage who may push to a catalog ID, and its other settings
version_added: 1.0.0
author:
  - macfleet.parallels contributors (@macfleet)
description:
  - Makes sure that a catalog ID exists with these settings, or does not exist. A push makes one with none of them.
  - Only a catalog ID without versions can be deleted.
  - The task needs the claim V(MANAGE_CATALOG_IDS) or the role V(SUPER_USER). Without the latter, its user must be able to push
    to the catalog ID and to move its tags, and see all of its versions.
extends_documentation_fragment:
  - macfleet.parallels._attributes
  - macfleet.parallels._attributes.action
  - macfleet.parallels._attributes.controller
  - macfleet.parallels._attributes.action_group
  - macfleet.parallels._catalog
  - macfleet.parallels._state
attributes:
  idempotent:
    support: full
options:
  catalog_id:
    description:
      - What the image is called in the catalog. Upper case and special characters are normalised as the catalog does it, so
        V(Runner X) means V(runner_x).
    type: str
    required: true
  push_roles:
    description:
      - Only users with one of these roles may push to the catalog ID, and change, taint, revoke or delete its versions.
      - If this and O(push_claims) are empty, users may push who have V(PUSH_CATALOG_MANIFEST) and see every version.
    type: list
    elements: str
  push_claims:
    description:
      - Only users with one of these claims may push.
    type: list
    elements: str
  tag_roles:
    description:
      - Only users with one of these roles may set tags, take them away, and replace the content of versions that have some.
      - If this and O(tag_claims) are empty, users may who see every version.
    type: list
    elements: str
  tag_claims:
    description:
      - Only users with one of these claims may set tags, take them away, and replace the content of versions that have some.
    type: list
    elements: str
  native_only:
    description:
      - Whether clients of the stock service may not push to it.
    type: bool
  immutable_tags:
    description:
      - Whether a tag stays at the version that got it first, and at its content. V(latest) moves all the same.
    type: bool
  retention:
    description:
      - What a daily clean-up keeps, for each architecture. The others are deleted. V({}) keeps everything.
      - A version is kept if either of the two rules keeps it, and as long as it has a tag, a transfer uses it, or another
        version refers to it.
      - The clean-up begins a day after the rule was set. C(catalog-server job run retention --dry-run) on the server tells
        what it would delete.
    type: dict
    suboptions:
      keep_versions:
        description: So many of the newest versions that are neither tainted nor revoked, and what is newer than they are.
        type: int
      keep_days:
        description: Versions that are younger than so many days.
        type: int
      expire_tags:
        description:
          - Tags that do not hold a version, such as V(nightly-*). An asterisk stands for any text.
          - Needs O(retention.keep_versions) or O(retention.keep_days).
        type: list
        elements: str
  quota_bytes:
    description:
      - How many bytes its versions may take in storage at most. V(-1) is no limit.
    type: int
seealso:
  - module: macfleet.parallels.catalog_manifest
  - module: macfleet.parallels.catalog_role
"""

EXAMPLES = r"""
- name: Only one team publishes the image of the runners
  macfleet.parallels.catalog_id:
    catalog_url: https://catalog.example.com
    catalog_api_key: "{{ vault_catalog_api_key }}"
    catalog_id: macos-15-runner
    push_roles: [TEAM_A]
    immutable_tags: true
    retention:
      keep_versions: 10
      keep_days: 30
      expire_tags: [nightly-*]
  run_once: true
"""

RETURN = r"""
settings:
  description: The catalog ID as it is now, or in check mode would be; null if there is none.
  returned: success
  type: dict
  contains:
    name:
      description: The catalog ID.
      returned: success
      type: str
    push_roles:
      description: The roles of which one is needed for a push.
      returned: success
      type: list
      elements: str
    push_claims:
      description: The claims of which one is needed for a push.
      returned: success
      type: list
      elements: str
    tag_roles:
      description: The roles of which one is needed to set a tag.
      returned: success
      type: list
      elements: str
    tag_claims:
      description: The claims of which one is needed to set a tag.
      returned: success
      type: list
      elements: str
    native_only:
      description: Whether clients of the stock service may not push to it.
      returned: success
      type: bool
    immutable_tags:
      description: Whether a tag stays at the version that got it first.
      returned: success
      type: bool
    retention:
      description: What a clean-up keeps; null if it keeps everything.
      returned: success
      type: dict
    quota_bytes:
      description: How many bytes its versions may take in storage; null is no limit.
      returned: success
      type: int
    created_at:
      description: When it was made.
      returned: when it exists
      type: str
    created_by:
      description: The user who made it.
      returned: when it exists
      type: str
  sample:
    created_at: '2026-05-04T08:00:00.000Z'
    created_by: admin
    immutable_tags: true
    name: macos-15-runner
    native_only: false
    push_claims: []
    push_roles:
      - TEAM_A
    quota_bytes: null
    retention:
      expire_tags:
        - nightly-*
      keep_days: 30
      keep_versions: 10
    tag_claims: []
    tag_roles: []
created:
  description:
    - Names of roles and claims that nobody had used before, so that a misspelt name is seen. There is a warning, too.
    - Always empty in check mode.
  returned: success
  type: dict
  sample:
    claims: []
    roles:
      - TEAM_A
error_code:
  description: A stable word for what went wrong, for example V(forbidden).
  returned: failure
  type: str
  sample: forbidden
hint:
  description: What to do about it.
  returned: failure
  type: str
  sample: Ask the administrator of the catalog for the right to do this.
details:
  description: More about the failure, such as the status of the reply and the ID of the request.
  returned: failure
  type: dict
  sample:
    attempts: 1
    request_id: 0b7c1f52
    status: 403
"""
