# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What a metadata server says about itself."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api.json_reader import JsonReader


@dataclass(frozen=True)
class ServerInfo:
    """What a server says about itself to anybody."""

    name: str
    version: str
    catalog_uuid: str
    api: int
    features: tuple[str, ...]
    limits: t.Mapping[str, t.Any]

    @classmethod
    def from_json(cls, data: t.Any) -> ServerInfo:
        """Read what the server sent."""
        reader = JsonReader(data, "server info")
        limits = reader.object("limits")
        return cls(
            name=reader.text("name", ""),
            version=reader.text("version", ""),
            catalog_uuid=reader.text("catalog_uuid", ""),
            api=reader.number("api"),
            features=reader.texts("features"),
            limits=limits if isinstance(limits, t.Mapping) else {},
        )
