# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Files of a bundle that are written to, with few descriptors: a Mac gives a process 256 unless it asks for more."""

from __future__ import annotations

import contextlib
import os
import typing as t
from collections import OrderedDict

# Neighbouring chunks of a pack lie in few files, so more descriptors would save nothing.
MOST_OPEN = 8


def open_file(root: str, path: str, flags: int) -> int:
    """Return a descriptor of the file ``path`` below ``root``; a symbolic link is refused."""
    return os.open(os.path.join(root, path), flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)


@contextlib.contextmanager
def opened(root: str, path: str, flags: int) -> t.Iterator[int]:
    """Give a descriptor of the file ``path`` below ``root``, and close it afterwards."""
    descriptor = open_file(root, path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class OpenFiles:
    """Descriptors to write to the files below a directory; those used last stay open. For one thread."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._descriptors: OrderedDict[str, int] = OrderedDict()

    def descriptor(self, path: str) -> int:
        """Return the descriptor of a file, which is valid until the next call."""
        if path in self._descriptors:
            self._descriptors.move_to_end(path)
            return self._descriptors[path]
        if len(self._descriptors) >= MOST_OPEN:
            _path, oldest = self._descriptors.popitem(last=False)
            os.close(oldest)
        self._descriptors[path] = open_file(self._root, path, os.O_RDWR)
        return self._descriptors[path]

    def close(self) -> None:
        """Close all of them."""
        while self._descriptors:
            _path, descriptor = self._descriptors.popitem()
            os.close(descriptor)
