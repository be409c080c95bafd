#!/usr/bin/python
# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file holds documentation only; the code is in the action plugin of the same name and in module_utils/_cases.

from __future__ import annotations

DOCUMENTATION = r"""
module: catalog_server_info
short_description: Query the metadata server
version_added: 1.0.0
author:
  - macfleet.parallels contributors (@macfleet)
description:
  - Tells what the server is, and who the user of the task is; on request also its users, roles, claims and catalog IDs.
extends_documentation_fragment:
  - macfleet.parallels._attributes
  - macfleet.parallels._attributes.action
  - macfleet.parallels._attributes.controller
  - macfleet.parallels._attributes.action_group
  - macfleet.parallels._attributes.info
  - macfleet.parallels._catalog
options:
  gather:
    description:
      - What to list. Users, roles and claims need the claim V(MANAGE_USERS) or the role V(SUPER_USER).
      - Of the catalog IDs, those are listed that the user of the task may know.
    type: list
    elements: str
    choices:
      - users
      - roles
      - claims
      - catalog_ids
    default: []
seealso:
  - module: macfleet.parallels.catalog_user
  - module: macfleet.parallels.catalog_role
  - module: macfleet.parallels.catalog_id
"""

EXAMPLES = r"""
- name: Who has which roles
  macfleet.parallels.catalog_server_info:
    catalog_url: https://catalog.example.com
    catalog_api_key: "{{ vault_catalog_api_key }}"
    gather: [users, roles]
  run_once: true
  register: server

- name: What rights and images there are
  macfleet.parallels.catalog_server_info:
    gather: [claims, catalog_ids]
  run_once: true
  register: catalog
"""

RETURN = r"""
server:
  description: What the server says about itself.
  returned: success
  type: dict
  contains:
    name:
      description: What the server is.
      returned: success
      type: str
    version:
      description: The version of the server.
      returned: success
      type: str
    catalog_uuid:
      description: The ID of the catalog, which stays the same after a restore.
      returned: success
      type: str
    api:
      description: The version of its API.
      returned: success
      type: int
    features:
      description: What the server can do.
      returned: success
      type: list
      elements: str
    limits:
      description: Limits that its settings set.
      returned: success
      type: dict
  sample:
    api: 1
    catalog_uuid: 1d2c8f3e-7a64-4a53-9a39-0f3a7f6f5b10
    features:
      - segmented
      - signed
      - grants
      - identity
    limits:
      grant_limit_seconds: 86400
      grant_seconds: 3600
      index_bytes: 134217728
      json_bytes: 1048576
      page: 200
      upload_seconds: 172800
    name: macfleet-catalog
    version: 1.0.0
me:
  description: The user of the task, with its roles and all of its claims.
  returned: success
  type: dict
  contains:
    id:
      description: The ID of the user.
      returned: success
      type: str
    username:
      description: The user name.
      returned: success
      type: str
    roles:
      description: The roles of the user.
      returned: success
      type: list
      elements: str
    claims:
      description: The claims of the user and of its roles.
      returned: success
      type: list
      elements: str
  sample:
    claims: []
    id: 4be09a5b52c54f0f8d7ad3a86b6b8ed2
    roles:
      - SUPER_USER
    username: admin
users:
  description: The users; the fields are those of RV(macfleet.parallels.catalog_user#module:user).
  returned: if O(gather) has V(users)
  type: list
  elements: dict
  sample: []
roles:
  description: The roles; the fields are those of RV(macfleet.parallels.catalog_role#module:role).
  returned: if O(gather) has V(roles)
  type: list
  elements: dict
  sample: []
claims:
  description: The names of the claims.
  returned: if O(gather) has V(claims)
  type: list
  elements: str
  sample:
    - READ_AUDIT
catalog_ids:
  description: The catalog IDs; the fields are those of RV(macfleet.parallels.catalog_id#module:settings).
  returned: if O(gather) has V(catalog_ids)
  type: list
  elements: dict
  sample: []
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
