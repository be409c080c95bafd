# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the audit log says."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from catalog_server.audit import queries
from catalog_server.identity import queries as people
from catalog_server.models.audit import AuditEntry
from catalog_server.unit_of_work import UnitOfWork

USER = "user"


def entries(
    work: UnitOfWork,
    *,
    actor: str | None = None,
    subject: str | None = None,
    action: str | None = None,
    since: datetime.datetime | None = None,
    before: int | None = None,
    limit: int,
) -> Sequence[AuditEntry]:
    """The newest entries that all filters let pass, the newest first.

    ``actor`` is a user name. ``subject`` is a kind, such as ``user`` or ``manifest``, or a kind, a colon and an id;
    of a user, the user name does as well.
    """
    kind, _colon, name = (subject or "").partition(":")
    if kind == USER and name:
        user = people.user_called(work.session, name)
        name = user.id if user is not None else name
    filters = queries.Filters(actor or None, kind or None, name or None, action or None, since)
    return queries.page(work.session, filters, before, limit)
