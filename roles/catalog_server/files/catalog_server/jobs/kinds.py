# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All jobs, by their names."""

from __future__ import annotations

from catalog_server.errors import NotFound
from catalog_server.jobs import gc, housekeeping, outbox, retention
from catalog_server.jobs.runner import JobKind

_HOUR = 3600.0
_DAY = 24 * _HOUR

KINDS = (
    JobKind("outbox", "write the state of packs into storage", 0, outbox.work, outbox.has_work),
    JobKind("housekeeping", "close what has expired, forget what is too old", _HOUR, housekeeping.work, deletes=True),
    JobKind(
        "retention",
        "delete versions that their catalog id does not keep any more",
        _DAY,
        retention.work,
        require_allowed=gc.require_enabled,
        deletes=True,
    ),
    JobKind(
        "gc",
        "remove stored objects that nothing uses any more",
        _HOUR,
        gc.work,
        require_allowed=gc.require_enabled,
        deletes=True,
    ),
)


def kind_called(name: str) -> JobKind:
    """Returns a job by its name.

    :raises NotFound: there is none
    """
    found = next((kind for kind in KINDS if kind.name == name), None)
    if found is None:
        raise NotFound(f"There is no job {name!r}. The jobs are {', '.join(kind.name for kind in KINDS)}.")
    return found
