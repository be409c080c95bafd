# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who changed what."""

from __future__ import annotations

import typing as t

from fastapi import APIRouter, Query

from catalog_server import access, paging
from catalog_server.audit import service
from catalog_server.audit.schemas import AuditPage, AuditRecord
from catalog_server.errors import BadRequest
from catalog_server.openapi.operation import USERS, operation
from catalog_server.parameters import Moment
from catalog_server.texts import Wanted
from catalog_server.unit_of_work import Context

router = APIRouter(tags=["audit"])

Actor = t.Annotated[Wanted | None, Query(max_length=300, description="Only changes by the user with this user name.")]
Subject = t.Annotated[
    Wanted | None,
    Query(max_length=300, description="Only changes of this: a kind such as `user`, or a kind and an id: `user:ann`."),
]
Action = t.Annotated[Wanted | None, Query(max_length=300, description="Only this action, such as `user.edit`.")]
Since = t.Annotated[Moment | None, Query(description="Only changes from this time on, with its time zone.")]


@router.get("/audit", openapi_extra=operation(USERS))
def list_audit_entries(
    context: Context,
    actor: Actor = None,
    subject: Subject = None,
    action: Action = None,
    since: Since = None,
    limit: paging.Limit = None,
    cursor: paging.Cursor = None,
) -> AuditPage:
    """List who changed what, the newest first, page by page."""
    length = paging.length(context.services.settings, limit)
    before = _number(paging.parts(context.services.keys, cursor, 1)[0]) if cursor is not None else None
    with context.reading(access.AUDIT) as work:
        found = service.entries(
            work, actor=actor, subject=subject, action=action, since=since, before=before, limit=length + 1
        )
        return AuditPage(
            entries=[AuditRecord.of(entry) for entry in found[:length]],
            next=paging.cursor(context.services.keys, str(found[length - 1].id)) if len(found) > length else None,
        )


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadRequest("The cursor is not one that this server gave out.")
    return int(text)
