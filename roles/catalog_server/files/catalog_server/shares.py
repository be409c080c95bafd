# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How workers share what the settings limit.

Each worker gets an equal part, and what is left over goes to the first ones, one each. So the parts of all workers are
together what the setting says. Each gets one at least, so with more workers than the setting says there are as many as
workers.
"""

from __future__ import annotations

from catalog_server.settings import Settings

_LIMITS = (
    "max_connections",
    "max_connections_each",
    "commits_at_once",
    "login_burst",
    "threads",
    "writers",
    "object_threads",
    "receivers",
    "receivers_each",
    "receive_bytes",
)


def share(whole: int, workers: int, number: int) -> int:
    """Return the part of ``whole`` that worker ``number`` of ``workers`` gets; they are counted from 0."""
    return max(1, whole // workers + (number < whole % workers))


def of_one_worker(settings: Settings, number: int) -> Settings:
    """Return the settings of the worker of that number."""
    workers = settings.workers
    limits = {name: getattr(settings, name) for name in _LIMITS}
    shares = {name: share(limit, workers, number) for name, limit in limits.items() if limit is not None}
    return settings.model_copy(update={**shares, "logins_per_minute": settings.logins_per_minute / workers})
