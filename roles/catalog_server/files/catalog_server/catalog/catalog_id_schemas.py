# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Catalog ids as JSON."""

from __future__ import annotations

import typing as t

from pydantic import ConfigDict, Field

from catalog_server.bodies import RequestBody, ResponseBody
from catalog_server.catalog import catalog_ids
from catalog_server.catalog.schemas import Text, Timestamp
from catalog_server.identity.role_schemas import NewNames
from catalog_server.models.catalog import CatalogId
from catalog_server.names import MAX_LIST, RequiredRights

# Up to here, numbers of JSON are exact for everybody who reads them (RFC 8259, section 6).
_MOST_BYTES = (1 << 53) - 1


class RetentionEdit(RequestBody):
    """What a clean-up keeps: versions that either of these names, or that have a tag. Without both, everything."""

    model_config = ConfigDict(extra="forbid")

    keep_versions: t.Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Number of the newest versions that are kept."""
    keep_days: t.Annotated[int, Field(ge=1, le=36_600)] | None = None
    """Versions younger than this number of days are kept."""
    expire_tags: t.Annotated[list[Text], Field(max_length=MAX_LIST)] = []
    """Tags that do not keep the version that has them; `*` stands for any text, as in `nightly-*`."""


class CatalogIdEdit(RequestBody):
    """What to set of a catalog id; what is left out stays as it is, and is empty in a new one."""

    model_config = ConfigDict(extra="forbid")

    push_roles: RequiredRights | None = None
    """Roles of which a user must have one to push to it, and to change its versions."""
    push_claims: RequiredRights | None = None
    """Claims of which a user must have one to push to it, and to change its versions."""
    tag_roles: RequiredRights | None = None
    """Roles of which a user must have one to move its tags."""
    tag_claims: RequiredRights | None = None
    """Claims of which a user must have one to move its tags."""
    native_only: bool | None = None
    """Whether only clients of this API may push to it, and no clients of the stock service."""
    immutable_tags: bool | None = None
    """Whether a tag stays at the version that got it first; `latest` moves nevertheless."""
    retention: RetentionEdit | None = None
    """What a clean-up keeps; null keeps everything."""
    quota_bytes: t.Annotated[int, Field(ge=0, le=_MOST_BYTES)] | None = None
    """Bytes that its versions may take in storage; null is no limit."""

    def changes(self) -> dict[str, t.Any]:
        """What was sent; null is a value of ``retention`` and ``quota_bytes`` alone."""
        sent = {name: getattr(self, name) for name in self.model_fields_set}
        if self.retention is not None:
            sent["retention"] = self.retention.model_dump()
        return {
            name: value for name, value in sent.items() if value is not None or name in ("retention", "quota_bytes")
        }


class Retention(ResponseBody):
    """What a clean-up keeps: versions that either of these names, or that have a tag."""

    keep_versions: int | None
    """Number of the newest versions that are kept; null if their number does not matter."""
    keep_days: int | None
    """Versions younger than this number of days are kept; null if their age does not matter."""
    expire_tags: list[str]
    """Tags that do not keep the version that has them; `*` stands for any text."""


class CatalogIdRecord(ResponseBody):
    """A catalog id. Where it names no roles and claims, a user may who has the claim for it and sees every version."""

    name: str
    """The catalog id, in lower case."""
    push_roles: list[str]
    """Roles of which a user must have one to push to it, and to change its versions."""
    push_claims: list[str]
    """Claims of which a user must have one to push to it, and to change its versions."""
    tag_roles: list[str]
    """Roles of which a user must have one to move its tags."""
    tag_claims: list[str]
    """Claims of which a user must have one to move its tags."""
    native_only: bool
    """Whether only clients of this API may push to it, and no clients of the stock service."""
    immutable_tags: bool
    """Whether a tag stays at the version that got it first; `latest` moves nevertheless."""
    retention: Retention | None
    """What a clean-up keeps; null if it keeps everything."""
    quota_bytes: int | None
    """Bytes that its versions may take in storage; null if there is no limit."""
    created_at: Timestamp
    """When it was made."""
    created_by: str
    """User name of whoever made it."""

    @classmethod
    def of(cls, row: CatalogId) -> CatalogIdRecord:
        return cls(**_record(row))


class SavedCatalogId(CatalogIdRecord):
    """A catalog id after a change."""

    changed: bool
    """Whether anything was changed."""
    created: NewNames
    """Roles and claims that nobody had used before."""

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


class CatalogIdPage(ResponseBody):
    """Some catalog ids, and where the next page begins."""

    catalog_ids: list[CatalogIdRecord]
    """The catalog ids of this page, ordered by name."""
    next: str | None
    """Cursor of the next page; null on the last one."""
