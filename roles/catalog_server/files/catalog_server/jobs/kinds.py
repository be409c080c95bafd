# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All jobs, by their names."""

from __future__ import annotations

from catalog_server.jobs import gc, housekeeping, outbox
from catalog_server.jobs.runner import JobKind

_HOUR = 3600.0

KINDS = (
    JobKind("outbox", "write the state of packs into storage", 0, outbox.work, outbox.has_work),
    JobKind("housekeeping", "close what has expired, forget what is too old", _HOUR, housekeeping.work),
    JobKind("gc", "remove stored objects that nothing uses any more", _HOUR, gc.work),
)
