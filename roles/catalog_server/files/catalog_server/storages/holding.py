# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Locks on the mark of a storage in a directory.

Between a look at the mark and what rests on it, another server may take the storage over. So whoever stores or deletes
something holds the mark, and whoever replaces it waits until nobody holds the old one any more. Whoever comes later
finds the new one.

Where a file system has no locks, that moment stays.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catalog_server.errors import Unavailable

# What takes longest is to delete all objects of a large pack.
_WAIT_SECONDS = 30.0
_PAUSE_SECONDS = 0.02
_ATTEMPTS = 3
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL})


@contextmanager
def held(mark: Path) -> Iterator[None]:
    """Hold a mark while the block lasts. One that is not there holds nothing: a look at it says so.

    :raises Unavailable: it is replaced again and again
    """
    for _attempt in range(_ATTEMPTS):
        descriptor = _opened(mark, os.O_RDONLY)
        if descriptor is None:
            yield
            return
        try:
            _lock(descriptor, fcntl.LOCK_SH)
            if _is_at(descriptor, mark):
                yield
                return
        finally:
            os.close(descriptor)
    raise Unavailable(f"The mark {mark} is being replaced; try again.", retry_after=1)


@contextmanager
def replacing(mark: Path, seconds: float = _WAIT_SECONDS) -> Iterator[None]:
    """Replace a mark in the block, and wait until nobody holds the old one any more.

    :raises Unavailable: somebody has not let go of it in time
    """
    descriptor = _opened(mark, os.O_RDWR)
    try:
        yield
        if descriptor is not None:
            _wait_until_free(descriptor, mark, seconds)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _wait_until_free(descriptor: int, mark: Path, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
        if time.monotonic() >= until:
            raise Unavailable(
                f"The server that the storage of {mark} is taken over from still stores or deletes something there: "
                "stop it, and start this one again."
            )
        time.sleep(_PAUSE_SECONDS)


def _opened(mark: Path, mode: int) -> int | None:
    try:
        return os.open(mark, mode | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None


def _lock(descriptor: int, kind: int) -> bool:
    """Lock an open file; return False if somebody else has it."""
    try:
        fcntl.flock(descriptor, kind)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Return True if a path still leads to an open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
