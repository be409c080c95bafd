#!/usr/bin/python
# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file holds documentation only; the code is in the action plugin of the same name and in module_utils/_cases.

from __future__ import annotations

DOCUMENTATION = r"""
module: catalog_user
short_description: Manage a user of the metadata server
version_added: 1.0.0
author:
  - macfleet.parallels contributors (@macfleet)
description:
  - Makes sure that a user exists with these roles and claims, is disabled or enabled, or does not exist.
  - The task needs the claim V(MANAGE_USERS) or the role V(SUPER_USER). Without the latter, it manages only users who have no
    role and no claim that its own user does not have.
extends_documentation_fragment:
  - macfleet.parallels._attributes
  - macfleet.parallels._attributes.action
  - macfleet.parallels._attributes.controller
  - macfleet.parallels._attributes.action_group
  - macfleet.parallels._catalog
  - macfleet.parallels._state
attributes:
  idempotent:
    support: partial
    details:
      - With O(update_password=always), the password is set each time, since it cannot be compared.
options:
  username:
    description:
      - The user name. Upper case means lower case.
    type: str
    required: true
  email:
    description:
      - The mail address. The default of a new user is its user name at C(localhost).
    type: str
  name:
    description:
      - How the user is called.
    type: str
  roles:
    description:
      - The roles that the user has, and no others. A new user has V(USER) if neither roles nor claims are set.
      - V(READER), V(PUBLISHER), V(MANAGER) and V(SUPER_USER) are always there. Other names are free.
    type: list
    elements: str
  claims:
    description:
      - The claims that the user has itself, and no others.
    type: list
    elements: str
  disabled:
    description:
      - Whether nobody can act as this user, by whatever credential. Its tokens and grants end at once.
    type: bool
  password:
    description:
      - The password. Without one, a new user acts by API keys alone.
      - Unless the user of the task has the role V(SUPER_USER), the password opens at most what that user may do now.
      - The user of the task cannot change its own password in this way.
    type: str
  update_password:
    description:
      - When the password is set. With V(always), the task is changed each time, and all logins of the user end.
    type: str
    choices:
      - on_create
      - always
    default: on_create
seealso:
  - module: macfleet.parallels.catalog_role
  - module: macfleet.parallels.catalog_api_key
"""

EXAMPLES = r"""
- name: Let a build server publish images
  macfleet.parallels.catalog_user:
    catalog_url: https://catalog.example.com
    catalog_api_key: "{{ vault_catalog_api_key }}"
    username: ci
    roles: [PUBLISHER, TEAM_A]
  run_once: true

- name: Somebody has left
  macfleet.parallels.catalog_user:
    username: ann
    disabled: true
  run_once: true
"""

RETURN = r"""
user:
  description: The user as it is now, or in check mode would be; null if there is none.
  returned: success
  type: dict
  contains:
    id:
      description: The ID of the user.
      returned: when it exists
      type: str
    username:
      description: The user name.
      returned: success
      type: str
    email:
      description: The mail address.
      returned: success
      type: str
    name:
      description: How the user is called.
      returned: success
      type: str
    roles:
      description: The roles that the user has.
      returned: success
      type: list
      elements: str
    claims:
      description: The claims that the user has itself.
      returned: success
      type: list
      elements: str
    disabled:
      description: Whether nobody can act as this user.
      returned: success
      type: bool
    has_password:
      description: Whether the user can log in by a password.
      returned: success
      type: bool
    password_limited:
      description:
        - Whether the password was set by a user without the role V(SUPER_USER). It opens at most what that user could do then,
          also when this user gets more roles and claims later.
      returned: success
      type: bool
    created_at:
      description: When the user was made.
      returned: when it exists
      type: str
    updated_at:
      description: When the user was changed last.
      returned: when it exists
      type: str
  sample:
    claims: []
    created_at: '2026-05-04T08:00:00.000Z'
    disabled: false
    email: ci@localhost
    has_password: false
    id: 4be09a5b52c54f0f8d7ad3a86b6b8ed2
    name: ''
    password_limited: false
    roles:
      - PUBLISHER
      - TEAM_A
    updated_at: '2026-05-04T08:00:00.000Z'
    username: ci
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
