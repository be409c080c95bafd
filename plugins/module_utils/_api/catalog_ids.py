# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Catalog ids: who may push to each, and what holds for its versions."""

from __future__ import annotations

import dataclasses
import typing as t
from dataclasses import dataclass
from urllib.parse import quote

from ansible_collections.macfleet.parallels.plugins.module_utils._api import paged
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Missing, StockServer
from ansible_collections.macfleet.parallels.plugins.module_utils._api.http import Http
from ansible_collections.macfleet.parallels.plugins.module_utils._api.json_reader import JsonReader
from ansible_collections.macfleet.parallels.plugins.module_utils._api.saved import Json, NewNames


@dataclass(frozen=True)
class CatalogId:
    """The settings of a catalog id. ``retention`` None keeps everything, ``quota_bytes`` None is no limit."""

    name: str
    push_roles: t.Tuple[str, ...] = ()
    push_claims: t.Tuple[str, ...] = ()
    tag_roles: t.Tuple[str, ...] = ()
    tag_claims: t.Tuple[str, ...] = ()
    native_only: bool = False
    immutable_tags: bool = False
    retention: t.Optional[t.Mapping[str, t.Any]] = None
    quota_bytes: t.Optional[int] = None
    created_at: t.Optional[str] = None
    created_by: t.Optional[str] = None

    @classmethod
    def from_json(cls, data: t.Any) -> CatalogId:
        """Read what the server sent."""
        reader = JsonReader(data, "catalog id")
        retention = reader.object("retention")
        if not isinstance(retention, (dict, type(None))):
            raise reader.wrong("retention")
        return cls(
            name=reader.text("name"),
            push_roles=reader.texts("push_roles"),
            push_claims=reader.texts("push_claims"),
            tag_roles=reader.texts("tag_roles"),
            tag_claims=reader.texts("tag_claims"),
            native_only=reader.truth("native_only"),
            immutable_tags=reader.truth("immutable_tags"),
            retention=retention,
            quota_bytes=None if reader.object("quota_bytes") is None else reader.number("quota_bytes"),
            created_at=reader.optional_text("created_at"),
            created_by=reader.optional_text("created_by"),
        )

    def to_json(self) -> Json:
        """Return the same as JSON."""
        data = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in data.items()}


class CatalogIdClient:
    """The calls about catalog ids."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def all(self) -> t.List[CatalogId]:
        """Return the catalog ids that exist for the caller."""
        found = paged.items(self._http, "catalog_ids", "catalog_ids", "list the catalog ids")
        return [CatalogId.from_json(one) for one in found]

    def find(self, name: str) -> t.Optional[CatalogId]:
        """Return one catalog id, or None if there is none of that name for the caller."""
        try:
            return CatalogId.from_json(self._http.json("GET", _of(name), f"read the catalog id {name!r}"))
        except StockServer:
            raise
        except Missing:
            return None

    def put(self, name: str, changes: t.Mapping[str, t.Any]) -> t.Tuple[CatalogId, NewNames]:
        """Make a catalog id, or set something of it."""
        reply = self._http.json("PUT", _of(name), f"save the catalog id {name!r}", body=dict(changes))
        return CatalogId.from_json(reply), NewNames.from_json(JsonReader(reply, "catalog id").object("created"))

    def delete(self, name: str) -> None:
        """Delete a catalog id that has no versions."""
        self._http.json("DELETE", _of(name), f"delete the catalog id {name!r}")


def _of(name: str) -> str:
    return f"catalog_ids/{quote(name, safe='')}"
