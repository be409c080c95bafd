# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Catalog ids as JSON."""

from __future__ import annotations

import typing as t

from pydantic import BaseModel, ConfigDict, Field

from catalog_server.catalog import catalog_ids
from catalog_server.catalog.schemas import Texts, Timestamp
from catalog_server.identity.schemas import NewNames
from catalog_server.models.catalog import CatalogId
from catalog_server.texts import RequestBody

_MOST_BYTES = (1 << 63) - 1


class Retention(RequestBody):
    """What a clean-up keeps: the newest versions, by number, and those that are younger than so many days."""

    model_config = ConfigDict(extra="forbid")

    keep_versions: t.Annotated[int, Field(ge=1, le=100_000)] | None = None
    keep_days: t.Annotated[int, Field(ge=1, le=36_600)] | None = None


class CatalogIdEdit(RequestBody):
    """What to set of a catalog id; what is left out stays, and is empty in a new one."""

    model_config = ConfigDict(extra="forbid")

    push_roles: Texts | None = None
    push_claims: Texts | None = None
    tag_roles: Texts | None = None
    tag_claims: Texts | None = None
    native_only: bool | None = None
    immutable_tags: bool | None = None
    # Null means: everything is kept.
    retention: Retention | None = None
    # Null means: no limit.
    quota_bytes: t.Annotated[int, Field(ge=0, le=_MOST_BYTES)] | None = None

    def changes(self) -> dict[str, t.Any]:
        """What was sent; null is a value of ``retention`` and ``quota_bytes`` alone."""
        sent = {name: getattr(self, name) for name in self.model_fields_set}
        if self.retention is not None:
            sent["retention"] = self.retention.model_dump()
        return {
            name: value for name, value in sent.items() if value is not None or name in ("retention", "quota_bytes")
        }


class CatalogIdRecord(BaseModel):
    """A catalog id. Without roles and claims for a verb, whoever has the claim for it may that sees every version."""

    name: str
    push_roles: list[str]
    push_claims: list[str]
    tag_roles: list[str]
    tag_claims: list[str]
    native_only: bool
    immutable_tags: bool
    retention: Retention | None
    quota_bytes: int | None
    created_at: Timestamp
    created_by: str

    @classmethod
    def of(cls, row: CatalogId) -> CatalogIdRecord:
        return cls(**_record(row))


class SavedCatalogId(CatalogIdRecord):
    """A catalog id after a change."""

    changed: bool
    created: NewNames

    @classmethod
    def saved(cls, saved: catalog_ids.SavedCatalogId) -> SavedCatalogId:
        return cls(**_record(saved.row), changed=saved.changed, created=NewNames.of(saved.created))


def _record(row: CatalogId) -> dict[str, t.Any]:
    return {
        "name": row.name,
        **catalog_ids.settings_of(row),
        "created_at": row.created_at,
        "created_by": row.created_by,
    }


class CatalogIdPage(BaseModel):
    """Some catalog ids, and where the next page begins."""

    catalog_ids: list[CatalogIdRecord]
    next: str | None
