# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What a server is, who asks it, and what it has. Runs on the controller."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog_ids import CatalogIdClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.http import Http
from ansible_collections.macfleet.parallels.plugins.module_utils._api.roles import RoleClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.saved import Json
from ansible_collections.macfleet.parallels.plugins.module_utils._api.users import UserClient


def query(http: Http, gather: t.Sequence[str]) -> Json:
    """Return the result of ``catalog_server_info``; ``gather`` names the lists that are asked for."""
    server = dataclasses.asdict(CatalogClient(http).server_info())
    server["features"] = list(server["features"])
    found: Json = {"changed": False, "server": server, "me": UserClient(http).me()}
    if "users" in gather:
        found["users"] = [user.to_json() for user in UserClient(http).all()]
    if "roles" in gather:
        found["roles"] = [role.to_json() for role in RoleClient(http).all()]
    if "claims" in gather:
        found["claims"] = RoleClient(http).claims()
    if "catalog_ids" in gather:
        found["catalog_ids"] = [row.to_json() for row in CatalogIdClient(http).all()]
    return found
