# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""How each operation on an entry holds its lock.

Exclusive locks are for changing files. Counting a use, marking a state and reading need a shared one, so a cached
image can be used while a newer version is downloaded from it. Records are changed under a lock of their own.

Nobody is served in turn: whoever wants a lock exclusive waits until no other holds it, also those that came later. That
is meant so. A download holds its seeds for hours, and if others had to queue behind somebody who wants to repair or
remove such an image, none could use it meanwhile. The wait is bounded, and its error names a holder.
"""

from __future__ import annotations

import typing as t

SHARED = "shared"
EXCLUSIVE = "exclusive"

USE = "use"
READ = "read"
MARK = "mark"
FILL = "fill"
TIDY = "tidy"
REMOVE = "remove"

LOCK_MODES: t.Mapping[str, str] = {
    # Count a use, and make virtual machines of it.
    USE: SHARED,
    # Hash it, or take chunks from it as a seed.
    READ: SHARED,
    # Change its record alone: verified, tainted, an address less.
    MARK: SHARED,
    # Download it, repair it, publish it.
    FILL: EXCLUSIVE,
    # Remove what does not belong to it, put links and directories back.
    TIDY: EXCLUSIVE,
    # Take it, or its partial image, out of the cache.
    REMOVE: EXCLUSIVE,
}


def may_overlap(one: str, other: str) -> bool:
    """Return True if two operations may work on one entry at the same time."""
    return LOCK_MODES[one] == LOCK_MODES[other] == SHARED
