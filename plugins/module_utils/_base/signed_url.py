# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""A URL that opens one object for a while, as the server sends it and a storage takes it."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SignedUrl:
    """A secret that is good for ``lifetime_seconds`` after its receipt; ``headers`` must be sent with it.

    It is a length of time, not a point in time, since the clock of a host may be wrong by years.
    """

    url: str = field(repr=False)
    lifetime_seconds: float
    headers: t.Mapping[str, str] = field(default_factory=dict, repr=False)
