# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Finds out if a process holds a lock on a file, without changing the file.

A lock file outlives its process; a lock does not.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys

# struct flock of Darwin (bsd/sys/fcntl.h): start, length, pid, type, whence. That of Linux on 64 bits
# (asm-generic/fcntl.h): type, whence, start, length, pid. "q" is aligned by itself.
_DARWIN_FLOCK = struct.Struct("@qqihh")
_LINUX_FLOCK = struct.Struct("@hhqqi4x")


def is_held(path: str) -> bool:
    """Returns True if another process holds a lock on the file, by flock(2) or by fcntl(2).

    A file that is not there, or that cannot be opened or asked for its locks, has no holder that is known of.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _has_flock(descriptor) or _has_record_lock(descriptor)
    finally:
        os.close(descriptor)


def _has_flock(descriptor: int) -> bool:
    # A shared lock, and only until the descriptor is closed: it hinders nobody but one who takes an exclusive one now.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        # The file system has no locks.
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def _has_record_lock(descriptor: int) -> bool:
    """Ask which lock would stand against one on the whole file; nothing is locked by that."""
    try:
        if sys.platform == "darwin":
            asked = _DARWIN_FLOCK.pack(0, 0, 0, fcntl.F_WRLCK, os.SEEK_SET)
            return _DARWIN_FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))[3] != fcntl.F_UNLCK
        asked = _LINUX_FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        return _LINUX_FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))[0] != fcntl.F_UNLCK
    except OSError:
        return False
