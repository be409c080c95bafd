# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of a commit, one after the other."""

from __future__ import annotations

import typing as t

from catalog_server import access
from catalog_server.catalog.schemas import ManifestRecord
from catalog_server.errors import Unavailable
from catalog_server.transfers import leftovers, service
from catalog_server.transfers.commit.draft import committable, draft
from catalog_server.transfers.commit.prepare import prepare
from catalog_server.transfers.commit.settle import Overtaken, settle
from catalog_server.unit_of_work import RequestContext

# How often a version may come into being, and go, between a draft and its transaction.
_DRAFTS = 5


def check(context: RequestContext, upload_id: str, revision: str) -> str:
    """Check, before the body is read, that the caller may commit an upload as the begin of a revision said.

    Returns the id of the user.
    """
    with context.reading(access.TRANSFER_IN) as work:
        committable(work, upload_id, revision)
        return work.caller.user_id or ""


def run(context: RequestContext, upload_id: str, revision: str, index: t.IO[bytes]) -> ManifestRecord:
    """Make a manifest of an upload; return its record.

    :raises Unavailable: others push and delete the same version all the time
    """
    for _draft in range(_DRAFTS):
        try:
            return _attempt(context, upload_id, revision, index)
        except Overtaken:
            continue
    raise Unavailable("The version is pushed by others at the same time; try again.", retry_after=1)


def _attempt(context: RequestContext, upload_id: str, revision: str, index: t.IO[bytes]) -> ManifestRecord:
    services = context.services
    with context.reading(access.TRANSFER_IN) as work:
        made = draft(work, upload_id, revision)
    index.seek(0)
    try:
        prepared = prepare(services, made, index.read())
        return context.write(
            access.TRANSFER_IN,
            lambda work: ManifestRecord.of(settle(work, prepared)),
            locks=lambda work: service.locks(work, upload_id),
        )
    finally:
        if made.is_open:
            leftovers.discard(services, [upload_id])
