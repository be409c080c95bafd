# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Where a transfer reads segments from, and where it writes them to.

A source or sink hides how it is done: by signed URLs, or by a provider directly. Both retry by themselves, and both
may be used from several threads at once.
"""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import SegmentRef

Buffer = t.Union[bytes, bytearray, memoryview]


class SegmentSource(t.Protocol):
    """Reads segments."""

    def fetch(self, segment: SegmentRef, offset: int, length: int) -> Buffer:
        """Return exactly ``length`` bytes of a segment, from ``offset`` on.

        :raises StorageError: they cannot be read
        """
        ...  # pylint: disable=unnecessary-ellipsis

    def cancel(self) -> None:
        """Have the calls that run in other threads end soon, with whatever error: the transfer has failed."""
        ...  # pylint: disable=unnecessary-ellipsis


class SegmentSink(t.Protocol):
    """Stores segments."""

    def put(self, data: bytes) -> SegmentRef:
        """Store a segment durably; return what names it.

        :raises StorageError: it cannot be stored
        """
        ...  # pylint: disable=unnecessary-ellipsis

    def cancel(self) -> None:
        """See ``SegmentSource``."""
        ...  # pylint: disable=unnecessary-ellipsis
