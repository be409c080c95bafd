# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Where a transfer reads the objects of packs from, and where it writes them to.

A source or sink hides how it is done: by signed URLs, or by a provider directly. Both retry by themselves, and both
may be used from several threads at once.
"""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import ObjectRef

Buffer = t.Union[bytes, bytearray, memoryview]


Ref_co = t.TypeVar("Ref_co", bound=ObjectRef, covariant=True)


class Source(t.Protocol):
    """Reads objects of packs, of one kind."""

    def fetch(self, item: ObjectRef, offset: int, length: int) -> Buffer:
        """Return exactly ``length`` bytes of an object, from ``offset`` on.

        :raises StorageError: they cannot be read
        """
        ...  # pylint: disable=unnecessary-ellipsis

    def cancel(self) -> None:
        """Have the calls that run in other threads end soon, with whatever error: the transfer has failed."""
        ...  # pylint: disable=unnecessary-ellipsis


class Sink(t.Protocol[Ref_co]):
    """Stores objects of one kind in the pack of an upload."""

    def put(self, data: bytes) -> Ref_co:
        """Store an object durably; return what names it.

        :raises StorageError: it cannot be stored
        """
        ...  # pylint: disable=unnecessary-ellipsis

    def cancel(self) -> None:
        """See ``Source``."""
        ...  # pylint: disable=unnecessary-ellipsis
