# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of catalog_pull."""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.addresses import (
    normalise_architecture,
    normalise_catalog_id,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.tokens import MintedGrant
from ansible_collections.macfleet.parallels.plugins.module_utils._api.versions import parse_wanted
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.options import Spec
from ansible_collections.macfleet.parallels.plugins.plugin_utils._transfer import TransferAction


class ActionModule(TransferAction):
    """Resolves the version and mints the grant with one request."""

    spec: t.ClassVar[Spec] = {
        "catalog_id": {"type": "str", "required": True},
        "version": {"type": "str"},
        "architecture": {"type": "str"},
        "state": {"type": "str", "default": "present"},
    }

    def needs_server(self, options: t.Mapping[str, t.Any]) -> bool:
        """What is to be absent is found on the host alone."""
        return bool(options["state"] != "absent")

    def mint(self, client: CatalogClient, options: t.Mapping[str, t.Any]) -> MintedGrant:
        """Ask for the grant; without an architecture, one for each that there is, for the host to choose from."""
        parse_wanted(options["version"])
        architecture = options["architecture"] and normalise_architecture(options["architecture"])
        return client.mint_pull_grant(normalise_catalog_id(options["catalog_id"]), options["version"], architecture)
