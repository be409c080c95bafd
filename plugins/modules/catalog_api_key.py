#!/usr/bin/python
# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file holds documentation only; the code is in the action plugin of the same name and in module_utils/_cases.

from __future__ import annotations

DOCUMENTATION = r"""
module: catalog_api_key
short_description: Manage an API key of a user of the metadata server
version_added: 1.0.0
author:
  - macfleet.parallels contributors (@macfleet)
description:
  - Makes sure that a user has an API key of this name that is neither revoked nor expired, or has none.
  - With O(state=absent), all keys of that name are revoked, and everything that was obtained with them ends.
  - The secret is returned by the run that makes the key, and never again. That task is then treated as if it had C(no_log), so
    the secret appears in no output; register the result, and store the secret in a vault.
  - The task needs the claim V(MANAGE_USERS) or the role V(SUPER_USER), or a login of the user itself with its password.
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
  username:
    description:
      - The user that the key acts as.
    type: str
    required: true
  name:
    description:
      - What the key is for. It identifies the key of this user.
    type: str
    required: true
  expires_days:
    description:
      - For how many days a new key is valid. A key that has expired is replaced by the next run.
      - With O(state=present), either this or O(never_expires) is required.
    type: float
  never_expires:
    description:
      - Whether a new key is valid until it is revoked.
    type: bool
    default: false
seealso:
  - module: macfleet.parallels.catalog_user
"""

EXAMPLES = r"""
- name: A key for the build server
  macfleet.parallels.catalog_api_key:
    catalog_url: https://catalog.example.com
    catalog_username: admin
    catalog_password: "{{ vault_catalog_password }}"
    username: ci
    name: build server
    expires_days: 90
  run_once: true
  register: key

- name: Revoke it
  macfleet.parallels.catalog_api_key:
    username: ci
    name: build server
    state: absent
  run_once: true
"""

RETURN = r"""
api_key:
  description: The key, without its secret; null if there is none.
  returned: success
  type: dict
  contains:
    key:
      description: The public part of the key, which identifies it.
      returned: success
      type: str
    name:
      description: What the key is for.
      returned: success
      type: str
    created_at:
      description: When the key was made.
      returned: success
      type: str
    expires_at:
      description: When the key expires; null if it never does.
      returned: success
      type: str
    last_used_at:
      description: When the key was last used, to the minute; null if it never was.
      returned: success
      type: str
    revoked_at:
      description: Null, since a key that was revoked cannot be used.
      returned: success
      type: str
    limited:
      description:
        - Whether the key opens at most what whoever made it could do then, also when its user gets more roles and claims later.
      returned: success
      type: bool
  sample:
    created_at: '2026-05-04T08:00:00.000Z'
    expires_at: '2026-08-02T08:00:00.000Z'
    key: 8F7D0C0F6B5E4A21
    last_used_at: '2026-05-11T06:30:12.000Z'
    limited: false
    name: build server
    revoked_at: null
secret:
  description: The secret, as the option C(catalog_api_key) takes it. It is shown in no output.
  returned: when the key was made
  type: str
  sample: OEY3RDBDMEY2QjVFNEEyMTrigKY=
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
