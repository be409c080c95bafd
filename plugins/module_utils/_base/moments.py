# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The one way to write a timestamp: UTC to the second, as in ``2026-11-23T08:15:00Z``."""

from __future__ import annotations

import datetime

# The clock of a host, and the time of a file, may be wrong by any amount.
_FIRST_SECOND = datetime.datetime.min.replace(tzinfo=datetime.timezone.utc).timestamp()
_LAST_SECOND = datetime.datetime.max.replace(microsecond=0, tzinfo=datetime.timezone.utc).timestamp()


def utc_text(seconds: float) -> str:
    """Returns seconds since the epoch as text. Outside of the years 1 to 9999, the nearest second in them."""
    seconds = min(max(seconds, _FIRST_SECOND), _LAST_SECOND)
    when = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).replace(tzinfo=None)
    # strftime(3) does not pad the year everywhere.
    return f"{when.isoformat(timespec='seconds')}Z"
