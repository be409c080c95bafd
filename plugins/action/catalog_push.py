# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of catalog_push."""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.addresses import (
    normalise_architecture,
    normalise_catalog_id,
    normalise_version,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.tokens import MintedGrant
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.options import Spec
from ansible_collections.macfleet.parallels.plugins.plugin_utils._transfer import TransferAction


class ActionModule(TransferAction):
    """Finds what is there at the address, and mints the grant, with one request."""

    spec: t.ClassVar[Spec] = {
        "catalog_id": {"type": "str", "required": True},
        "version": {"type": "str", "required": True},
        "architecture": {"type": "str"},
        "bases": {"type": "list", "elements": "str"},
        "required_roles": {"type": "list", "elements": "str"},
        "required_claims": {"type": "list", "elements": "str"},
    }

    def mint(self, client: CatalogClient, options: t.Mapping[str, t.Any]) -> MintedGrant:
        """Ask for the grant; without an architecture, the host reads it from its hardware."""
        return client.mint_push_grant(
            normalise_catalog_id(options["catalog_id"]),
            normalise_version(options["version"]),
            options["architecture"] and normalise_architecture(options["architecture"]),
            options["bases"],
            options["required_roles"],
            options["required_claims"],
        )
