# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This doc fragment is private to the collection.

"""How to reach the metadata server; in code, ``_bridge.options``."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of the connection to the metadata server."""

    DOCUMENTATION = r"""
options:
  catalog_url:
    description:
      - Where the metadata server is, for example V(https://catalog.example.com).
      - If it is not set, the environment variable E(MACFLEET_CATALOG_URL) of the controller is used.
    type: str
  catalog_username:
    description:
      - User name or mail address to log in with, together with O(catalog_password).
      - A run of Ansible logs in once for all hosts, and tries a wrong password once.
      - If it is not set, the environment variable E(MACFLEET_CATALOG_USERNAME) of the controller is used.
    type: str
  catalog_password:
    description:
      - Password of O(catalog_username).
      - If it is not set, the environment variable E(MACFLEET_CATALOG_PASSWORD) of the controller is used.
      - It never leaves the controller, and neither do O(catalog_api_key) and O(catalog_token).
    type: str
  catalog_api_key:
    description:
      - API key, written as C(key:secret) or as the base64 text of that. It is the best choice for playbooks.
      - If it is not set, the environment variable E(MACFLEET_CATALOG_API_KEY) of the controller is used.
    type: str
  catalog_token:
    description:
      - Token of an earlier login. It lives for minutes (15 by default), so it is for pipelines that log in themselves.
        Use O(catalog_api_key) in playbooks.
      - If it is not set, the environment variable E(MACFLEET_CATALOG_TOKEN) of the controller is used.
      - O(catalog_token), O(catalog_api_key) and O(catalog_username) exclude each other. Environment variables of
        credentials are looked at only if the task sets none of them, in this order.
    type: str
  validate_certs:
    description:
      - Whether the certificates of the server and of its storage must be valid.
      - Switch it off only where nobody else can listen.
    type: bool
    default: true
  ca_path:
    description:
      - A file on the controller with the certificates (PEM) of the authorities to trust instead of those of the system.
      - What it holds is handed to the managed hosts, so they need no such file.
      - If it is not set, the environment variable E(MACFLEET_CATALOG_CA_PATH) of the controller is used.
    type: path
  client_cert:
    description:
      - A file with the certificate (PEM) to show to the server. It may contain the key as well.
      - It must be at the same place on the controller and on the managed hosts.
    type: path
  client_key:
    description:
      - A file with the key (PEM) of O(client_cert), also at the same place on the controller and on the managed hosts.
    type: path
  timeout:
    description:
      - How many seconds the server or the storage may keep silent before a request counts as failed.
      - A managed host tries such a request again for eight times as long, so that a transfer survives the restart of a
        switch or a server. What cannot be reached at all is reported sooner.
    type: int
    default: 30
  use_proxy:
    description:
      - Whether the proxies that the environment names are used, in E(https_proxy), E(http_proxy) and E(no_proxy).
      - The controller looks at its own environment, a managed host at that of the task (keyword C(environment)).
    type: bool
    default: true
notes:
  - The environment variables are read on the controller, not on the managed hosts.
  - A managed host gets a grant only, a token that opens one image for one transfer and for an hour at a time.
"""

    # For modules that move bytes.
    TRANSFER = r"""
options:
  connections:
    description:
      - How many requests to the storage run at once.
      - The default is 4 at first, and up to 16 as long as more of them move more bytes.
      - A push keeps one segment of 32 MiB in memory for each, 8 at most by default.
    type: int
"""

    # For modules that run on the managed host and talk to the server.
    HANDOVER = r"""
options:
  handover:
    description:
      - What the controller found out for the managed host. It is filled in by the action plugin, not by a play.
    type: dict
    suboptions:
      url:
        description: Where the metadata server is.
        type: str
      grant:
        description: The token of the host for this one transfer.
        type: str
      lifetime_seconds:
        description: For how many seconds the grant is good from now on. The clock of the host does not matter.
        type: float
      manifests:
        description: The manifests that the wanted version means, at most one for each architecture.
        type: list
        elements: dict
      bases:
        description: The manifests whose chunks a push may refer to.
        type: list
        elements: dict
      blocked:
        description: Why the version that was asked for must not be pulled. There is no grant then.
        type: str
        choices:
          - tainted
          - revoked
      blocked_message:
        description: What the server said about O(handover.blocked).
        type: str
      ca_certificates:
        description: The certificates (PEM) that O(ca_path) holds.
        type: str
      progress_path:
        description:
          - Where the module writes how far it has come when it goes to the background.
          - Without it, it stays in the foreground.
        type: path
"""
