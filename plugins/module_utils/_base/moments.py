# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The one way to write a timestamp: UTC to the second, as in ``2026-11-23T08:15:00Z``."""

from __future__ import annotations

import datetime


def utc_text(seconds: float) -> str:
    """Returns seconds since the epoch as text."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
