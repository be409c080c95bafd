#!/usr/bin/python
# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file holds documentation only; the code is in the action plugin of the same name and in module_utils/_cases.

from __future__ import annotations

DOCUMENTATION = r"""
module: catalog_role
short_description: Manage a role of the metadata server
version_added: 1.0.0
author:
  - macfleet.parallels contributors (@macfleet)
description:
  - Makes sure that a role exists with these claims, or does not exist. A role that is deleted is taken from everybody who has it.
  - The task needs the role V(SUPER_USER).
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
  name:
    description:
      - The name of the role. It is written in capitals, with C(_) for special characters.
    type: str
    required: true
  description:
    description:
      - What the role is for.
    type: str
  claims:
    description:
      - The claims that whoever has the role has, and no others.
    type: list
    elements: str
seealso:
  - module: macfleet.parallels.catalog_user
  - module: macfleet.parallels.catalog_server_info
"""

EXAMPLES = r"""
- name: A role for auditors
  macfleet.parallels.catalog_role:
    catalog_url: https://catalog.example.com
    catalog_api_key: "{{ vault_catalog_api_key }}"
    name: AUDITOR
    description: Reads the audit log
    claims: [READ_AUDIT]
  run_once: true
"""

RETURN = r"""
role:
  description: The role as it is now, or in check mode would be; null if there is none.
  returned: success
  type: dict
  contains:
    name:
      description: The name of the role.
      returned: success
      type: str
    description:
      description: What the role is for.
      returned: success
      type: str
    internal:
      description: Whether the role is always there and cannot be changed.
      returned: success
      type: bool
    claims:
      description: The claims that whoever has the role has.
      returned: success
      type: list
      elements: str
  sample:
    claims:
      - READ_AUDIT
    description: Reads the audit log
    internal: false
    name: AUDITOR
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
